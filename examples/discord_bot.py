"""A Discord bot that dubs recordings: `/dub file: … language: es`.

    pip install -e ".[examples]"
    A2E_API_KEY=… BOT_TOKEN=… python examples/discord_bot.py

The bot sends one message per command, edits it to show the progress, and finally puts the result
into it. An edit can be repeated safely, so the result appears exactly once, even after a crash.
"""

import asyncio
import io
import logging
import os
import signal
from contextlib import suppress
from typing import Any

import discord
from discord import app_commands

from a2e_async import A2E, A2EError, Output, Status, Task, errors

LARGEST = 10 * 2**20  # bytes that a bot may send
log = logging.getLogger("bot")


class Bot(discord.Client):
    """Puts each result into the message that was sent for its command."""

    def __init__(self) -> None:
        super().__init__(intents=discord.Intents.none())
        self.tree = app_commands.CommandTree(self)
        self.a2e = A2E(journal="bot.db")

    async def setup_hook(self) -> None:
        await self.tree.sync()
        self.a2e.follow_all(on_end=self.deliver, on_update=self.show)

    async def close(self) -> None:  # may be called in another task than setup_hook
        await self.a2e.aclose()
        await super().close()

    def message(self, task: Task[Any]) -> discord.PartialMessage:
        # An interaction's token expires after 15 minutes; the bot can always edit its own message.
        meta = task.meta or {}
        return self.get_partial_messageable(meta["channel"]).get_partial_message(meta["message"])

    async def show(self, task: Task[Any]) -> None:
        progress = task.record.progress if task.record else None
        with suppress(discord.HTTPException):
            text = "Dubbing…" if progress is None else f"Dubbing {progress:.0%}…"
            await self.message(task).edit(content=text)

    async def deliver(self, task: Task[Any]) -> None:
        """Put the result into the message. What this raises makes the client call it again."""
        message = self.message(task)
        try:
            if task.record is None or task.status is Status.FAILED:
                await message.edit(content="That did not work, sorry.")
                return
            output = task.record.output
            if (sound := await read(output)) is None:
                await message.edit(content=f"Too large for Discord: {output.url}")
            else:
                file = discord.File(io.BytesIO(sound), "dubbed.mp3")
                await message.edit(content="Here it is:", attachments=[file])
        except discord.NotFound:
            log.warning("cannot be delivered: message %s was deleted", message.id)


async def read(output: Output) -> bytes | None:
    """Return the sound, None if it is too large for a message."""
    sound = bytearray()
    async with output.open() as chunks:
        async for chunk in chunks:
            sound += chunk
            if len(sound) > LARGEST:
                return None
    return bytes(sound)


bot = Bot()


@bot.tree.command(description="Translate a recording, in the same voice")
@app_commands.describe(file="A recording", language="Of the result, such as es")
async def dub(
    interaction: discord.Interaction, file: discord.Attachment, language: str = "en"
) -> None:
    await interaction.response.send_message("Listening…")
    status = await interaction.original_response()
    try:
        await bot.a2e.dubbing.start(
            source_url=await file.read(),
            target_lang=language,
            key=str(interaction.id),
            meta={"channel": status.channel.id, "message": status.id},
        )
    except errors.StartOutcomeUnknown as error:
        log.warning("%s", error)  # the client searches for it again
        await status.edit(content="The service did not respond. The result may arrive later.")
    except (A2EError, discord.HTTPException) as error:
        log.warning("%s", error)
        await status.edit(content="That did not work, sorry. The task was not started.")


async def main() -> None:
    def stop() -> None:
        closing.append(asyncio.ensure_future(bot.close()))

    closing: list[asyncio.Future[None]] = []
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    async with bot:
        await bot.start(os.environ["BOT_TOKEN"])
    await asyncio.gather(*closing)


if __name__ == "__main__":
    discord.utils.setup_logging(level=logging.WARNING)
    asyncio.run(main())
