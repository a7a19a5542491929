"""Run a Discord bot against a fake server. Arguments: its URL, then the bot."""

import runpy
import sys

import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

url, bot = sys.argv[1:]
Route.BASE = f"{url}/api"
DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(f"{url}/gateway".replace("http", "ws", 1))
runpy.run_path(bot, run_name="__main__")
