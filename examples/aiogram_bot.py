"""A Telegram bot that dubs voice messages: send it one with the caption `/dub es`.

    pip install -e ".[examples]"
    A2E_API_KEY=… BOT_TOKEN=… python examples/aiogram_bot.py

The bot sends one message per command, edits it to show the progress, and finally puts the result
into it. An edit can be repeated safely, so the result appears exactly once, even after a crash.
"""

import asyncio
import logging
import os
from typing import Any

from aiogram import Bot, Dispatcher, F
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
from aiogram.exceptions import TelegramAPIError, TelegramBadRequest, TelegramForbiddenError
from aiogram.filters import Command, CommandObject
from aiogram.types import BufferedInputFile, InputMediaAudio, Message, Voice

from a2e_async import A2E, A2EError, Status, Task, errors

LARGEST = 50_000_000  # bytes that a bot may send
dispatcher = Dispatcher()
log = logging.getLogger("bot")


class Deliveries:
    """Puts each result into the message that was sent for its command."""

    def __init__(self, a2e: A2E, bot: Bot) -> None:
        self.a2e = a2e
        self._bot = bot
        self._running: set[asyncio.Task[None]] = set()

    async def resume(self) -> None:
        async for task in self.a2e.unfinished():  # tasks that an earlier process started
            self.begin(task)

    def begin(self, task: Task[Any]) -> None:
        running = asyncio.create_task(self._deliver(task, **task.meta or {}))
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    async def stop(self) -> None:
        for running in self._running:
            running.cancel()  # the next process continues
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _deliver(self, task: Task[Any], chat: int, message: int) -> None:
        try:
            async for record in task.updates():
                if not record.done:
                    share = "" if record.progress is None else f" {record.progress:.0%}"
                    await self._say(f"Dubbing{share}…", chat, message)
            if task.status is Status.FAILED:
                await self._say("That did not work, sorry.", chat, message)
            else:
                record = await task
                sound = await record.output.read(max_bytes=LARGEST)
                audio = InputMediaAudio(media=BufferedInputFile(sound, "dubbed.mp3"))
                await self._send(audio, chat, message)
                await task.ack()  # delivered, although not saved as a file
        except A2EError as error:
            log.warning("%s", error)

    async def _say(self, text: str, chat: int, message: int) -> None:
        try:
            await self._bot.edit_message_text(text, chat_id=chat, message_id=message)
        except TelegramAPIError as error:  # unchanged text, or Telegram is busy
            log.info("%s", error)

    async def _send(self, audio: InputMediaAudio, chat: int, message: int) -> None:
        while True:
            try:
                await self._bot.edit_message_media(audio, chat_id=chat, message_id=message)
            except (TelegramBadRequest, TelegramForbiddenError) as error:
                return log.warning("cannot be delivered: %s", error)  # the message was deleted
            except TelegramAPIError as error:  # flood control, or the network
                await asyncio.sleep(getattr(error, "retry_after", 5))
            else:
                return None


@dispatcher.message(Command("dub"), F.voice.as_("voice"))
async def dub(
    message: Message, command: CommandObject, voice: Voice, bot: Bot, deliveries: Deliveries
) -> None:
    journal, key = deliveries.a2e.journal, f"{message.chat.id}:{message.message_id}"
    known = await journal.get(key) if journal else None
    if known and known.sent_at:
        return  # Telegram repeats updates that a killed process has not confirmed
    status = await message.reply("Listening…")
    try:
        sound = await bot.download(voice)
        task = await deliveries.a2e.dubbing.start(
            source_url=sound.read() if sound else b"",
            target_lang=command.args or "en",
            key=key,
            meta={"chat": message.chat.id, "message": status.message_id},
        )
    except errors.StartOutcomeUnknown as error:
        log.warning("%s", error)  # resume() searches for it again
        await status.edit_text("The service did not respond. The result may arrive later.")
    except (A2EError, TelegramAPIError) as error:
        log.warning("%s", error)
        await status.edit_text("That did not work, sorry. The task was not started.")
    else:
        deliveries.begin(task)


async def main() -> None:
    server = TelegramAPIServer.from_base(url) if (url := os.environ.get("BOT_API")) else PRODUCTION
    bot = Bot(os.environ["BOT_TOKEN"], session=AiohttpSession(api=server))
    async with A2E(journal="bot.db") as a2e:
        deliveries = Deliveries(a2e, bot)
        resuming = asyncio.create_task(deliveries.resume())
        await dispatcher.start_polling(bot, deliveries=deliveries, close_bot_session=False)
        resuming.cancel()
        await deliveries.stop()
    await bot.session.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main())
