"""Run a Telegram bot against a fake Bot API. Arguments: its URL, then the bot."""

import runpy
import sys

from aiogram.client.telegram import PRODUCTION, TelegramAPIServer

url, bot = sys.argv[1:]
vars(PRODUCTION).update(vars(TelegramAPIServer.from_base(url)))
runpy.run_path(bot, run_name="__main__")
