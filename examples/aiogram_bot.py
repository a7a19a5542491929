"""A Telegram bot that dubs voice messages: send it one with the caption `/dub es`.

    pip install -e ".[examples]"
    A2E_API_KEY=… BOT_TOKEN=… python examples/aiogram_bot.py

The bot sends one message per command, edits it to show the progress, and finally puts the result
into it. An edit can be repeated safely, so the result appears exactly once, even after a crash.
"""

import asyncio
import logging
import os
from contextlib import suppress
from functools import partial
from typing import Any

from aiogram import Bot, Dispatcher, F
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
from aiogram.exceptions import TelegramAPIError, TelegramBadRequest, TelegramForbiddenError
from aiogram.filters import Command, CommandObject
from aiogram.types import BufferedInputFile, InputMediaAudio, Message, Voice

from a2e_async import A2E, A2EError, Output, Status, Task, errors

LARGEST = 50_000_000  # bytes that a bot may send
dispatcher = Dispatcher()
log = logging.getLogger("bot")


async def show(bot: Bot, task: Task[Any]) -> None:
    """Show the progress in the message that was sent for the command."""
    progress = task.record.progress if task.record else None
    text = "Dubbing…" if progress is None else f"Dubbing {progress:.0%}…"
    with suppress(TelegramAPIError):  # unchanged text, or Telegram is busy
        await bot.edit_message_text(text, **address(task))


async def deliver(bot: Bot, task: Task[Any]) -> None:
    """Put the result into that message. What this raises makes the client call it again."""
    try:
        if task.record is None or task.status is Status.FAILED:
            await bot.edit_message_text("That did not work, sorry.", **address(task))
            return
        output = task.record.output
        if (sound := await read(output)) is None:
            await bot.edit_message_text(f"Too large for Telegram: {output.url}", **address(task))
        else:
            audio = InputMediaAudio(media=BufferedInputFile(sound, "dubbed.mp3"))
            await bot.edit_message_media(audio, **address(task))
    except (TelegramBadRequest, TelegramForbiddenError) as error:
        log.warning("cannot be delivered: %s", error)  # the message was deleted


async def read(output: Output) -> bytes | None:
    """Return the sound, None if it is too large for a message."""
    sound = bytearray()
    async with output.open() as chunks:
        async for chunk in chunks:
            sound += chunk
            if len(sound) > LARGEST:
                return None
    return bytes(sound)


def address(task: Task[Any]) -> dict[str, Any]:
    meta = task.meta or {}
    return {"chat_id": meta["chat"], "message_id": meta["message"]}


@dispatcher.message(Command("dub"), F.voice.as_("voice"))
async def dub(message: Message, command: CommandObject, voice: Voice, bot: Bot, a2e: A2E) -> None:
    journal, key = a2e.journal, f"{message.chat.id}:{message.message_id}"
    known = await journal.get(key) if journal else None
    if known and known.sent_at:
        return  # Telegram repeats updates that a killed process has not confirmed
    status = await message.reply("Listening…")
    try:
        sound = await bot.download(voice)
        await a2e.dubbing.start(
            source_url=sound.read() if sound else b"",
            target_lang=command.args or "en",
            key=key,
            meta={"chat": message.chat.id, "message": status.message_id},
        )
    except errors.StartOutcomeUnknown as error:
        log.warning("%s", error)  # the client searches for it again
        await status.edit_text("The service did not respond. The result may arrive later.")
    except (A2EError, TelegramAPIError) as error:
        log.warning("%s", error)
        await status.edit_text("That did not work, sorry. The task was not started.")


async def main() -> None:
    server = TelegramAPIServer.from_base(url) if (url := os.environ.get("BOT_API")) else PRODUCTION
    bot = Bot(os.environ["BOT_TOKEN"], session=AiohttpSession(api=server))
    async with A2E(journal="bot.db") as a2e:
        a2e.follow_all(on_end=partial(deliver, bot), on_update=partial(show, bot))
        await dispatcher.start_polling(bot, a2e=a2e, close_bot_session=False)
    await bot.session.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main())
