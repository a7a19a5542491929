"""A Discord bot that dubs recordings: A2E_API_KEY=… BOT_TOKEN=… python examples/discord_bot.py"""

import asyncio
import io
import logging
import os
import signal
from contextlib import suppress
from typing import Any

import aiohttp
import discord
from discord import Attachment, Interaction, app_commands

from a2e_async import A2E, A2EError, Task, errors

bot, a2e = discord.Client(intents=discord.Intents.none()), A2E(journal="bot.db")
logging.basicConfig()  # prints warnings
commands = app_commands.CommandTree(bot)


@commands.command(description="Translate a recording, in the same voice")
async def dub(interaction: Interaction, file: Attachment, language: str = "en") -> None:
    await interaction.response.send_message("Dubbing…")
    status = await interaction.original_response()
    job = {"key": str(interaction.id), "meta": {"channel": status.channel.id, "id": status.id}}
    try:
        async with aiohttp.request("GET", file.url) as response:
            await a2e.dubbing.start(source_url=response.content, target_lang=language, **job)
    except (A2EError, aiohttp.ClientError) as error:
        logging.getLogger("bot").warning("%s", error)
        lost = isinstance(error, errors.StartOutcomeUnknown)  # the client searches for it
        await status.edit(content="It may come later." if lost else "It was not started.")


async def deliver(task: Task[Any]) -> None:
    channel = bot.get_partial_messageable(task.meta["channel"])
    message = channel.get_partial_message(task.meta["id"])
    try:
        output = (await task).output
        sound = io.BytesIO(await output.read(max_bytes=10 * 2**20))
        await message.edit(content="Dubbed:", attachments=[discord.File(sound, "dubbed.mp3")])
    except errors.TaskFailed:
        await message.edit(content="That did not work, sorry.")
    except (errors.OutputTooLarge, discord.HTTPException):
        await message.edit(content=f"It does not fit into a message: {output.url}")


async def main() -> None:
    async with bot, a2e:
        await bot.login(os.environ["BOT_TOKEN"])
        await commands.sync()
        a2e.follow_all(on_end=deliver, undeliverable=(discord.Forbidden, discord.NotFound))
        await bot.connect()


signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
with suppress(KeyboardInterrupt):
    asyncio.run(main())
