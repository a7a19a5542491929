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

from a2e_async import A2E, A2EError, Status, Task, errors

LARGEST = 10 * 2**20  # bytes that a bot may send
log = logging.getLogger("bot")


class Bot(discord.Client):
    """Puts each result into the message that was sent for its command."""

    def __init__(self) -> None:
        super().__init__(intents=discord.Intents.none())
        self.tree = app_commands.CommandTree(self)
        self.a2e = A2E(journal="bot.db")
        self._running: set[asyncio.Task[None]] = set()

    async def setup_hook(self) -> None:
        await self.tree.sync()
        self._keep(self._resume())

    async def close(self) -> None:  # may be called in another task than setup_hook
        for running in self._running:
            running.cancel()  # the next process continues
        await asyncio.gather(*self._running, return_exceptions=True)
        await self.a2e.aclose()
        await super().close()

    def begin(self, task: Task[Any]) -> None:
        self._keep(self._deliver(task, **task.meta or {}))

    def _keep(self, work: Any) -> None:
        running = asyncio.create_task(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def _resume(self) -> None:
        async for task in self.a2e.unfinished():  # tasks that an earlier process started
            self.begin(task)

    async def _deliver(self, task: Task[Any], channel: int, message: int) -> None:
        # An interaction's token expires after 15 minutes; the bot can always edit its own message.
        place = self.get_partial_messageable(channel).get_partial_message(message)
        try:
            async for record in task.updates():
                if not record.done:
                    share = "" if record.progress is None else f" {record.progress:.0%}"
                    with suppress(discord.HTTPException):
                        await place.edit(content=f"Dubbing{share}…")
            if task.status is Status.FAILED:
                await place.edit(content="That did not work, sorry.")
            else:
                record = await task
                sound = await record.output.read(max_bytes=LARGEST)
                file = discord.File(io.BytesIO(sound), "dubbed.mp3")
                await place.edit(content="Here it is:", attachments=[file])
                await task.ack()  # delivered, although not saved as a file
        except discord.NotFound:
            log.warning("cannot be delivered: message %s was deleted", message)
            await task.ack()
        except (A2EError, discord.HTTPException) as error:
            log.warning("%s", error)  # retried at the next start


bot = Bot()


@bot.tree.command(description="Translate a recording, in the same voice")
@app_commands.describe(file="A recording", language="Of the result, such as es")
async def dub(
    interaction: discord.Interaction, file: discord.Attachment, language: str = "en"
) -> None:
    await interaction.response.send_message("Listening…")
    status = await interaction.original_response()
    try:
        task = await bot.a2e.dubbing.start(
            source_url=await file.read(),
            target_lang=language,
            key=str(interaction.id),
            meta={"channel": status.channel.id, "message": status.id},
        )
    except errors.StartOutcomeUnknown as error:
        log.warning("%s", error)  # _resume searches for it again
        await status.edit(content="The service did not respond. The result may arrive later.")
    except (A2EError, discord.HTTPException) as error:
        log.warning("%s", error)
        await status.edit(content="That did not work, sorry. The task was not started.")
    else:
        bot.begin(task)


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
