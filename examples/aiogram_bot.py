"""A Telegram bot that dubs: A2E_API_KEY=… BOT_TOKEN=… python examples/aiogram_bot.py"""

import asyncio
import logging
import os
from tempfile import TemporaryFile
from typing import Any

from aiogram import Bot, Dispatcher, F, exceptions
from aiogram.filters import Command, CommandObject
from aiogram.types import BufferedInputFile, InputMediaAudio, Message

from a2e_async import A2E, A2EError, Task, errors

bot, dispatcher, a2e = Bot(os.environ["BOT_TOKEN"]), Dispatcher(), A2E(journal="bot.db")
logging.basicConfig()  # prints warnings
REFUSALS = exceptions.TelegramBadRequest, exceptions.TelegramForbiddenError


@dispatcher.message(Command("dub"), F.voice)  # a voice message with the caption "/dub es"
async def dub(message: Message, command: CommandObject) -> None:
    key = f"{message.chat.id}:{message.message_id}"
    if (known := await a2e.journal.get(key)) and known.sent_at:
        return  # Telegram repeats updates that a killed process has not confirmed
    status = await message.reply("Listening…")
    job = {"key": key, "meta": {"chat_id": message.chat.id, "message_id": status.message_id}}
    try:
        with TemporaryFile() as sound:
            await bot.download(message.voice, sound)
            await a2e.dubbing.start(source_url=sound, target_lang=command.args or "en", **job)
    except (A2EError, exceptions.TelegramAPIError) as error:
        logging.getLogger("bot").warning("%s", error)
        lost = isinstance(error, errors.StartOutcomeUnknown)  # the client searches for it
        await status.edit_text("The result may come later." if lost else "It was not started.")


async def show(task: Task[Any]) -> None:
    await bot.edit_message_text(f"Dubbing: {task.status}…", **task.meta)


async def deliver(task: Task[Any]) -> None:
    try:
        output = (await task).output
        sound = BufferedInputFile(await output.read(max_bytes=50_000_000), "dubbed.mp3")
        await bot.edit_message_media(InputMediaAudio(media=sound), **task.meta)
    except errors.TaskFailed:
        await bot.edit_message_text("That did not work, sorry.", **task.meta)
    except (errors.OutputTooLarge, exceptions.TelegramEntityTooLarge, *REFUSALS):
        await bot.edit_message_text(f"It does not fit into a message: {output.url}", **task.meta)


async def main() -> None:
    async with bot, a2e:
        a2e.follow_all(on_end=deliver, on_update=show, undeliverable=REFUSALS)
        await dispatcher.start_polling(bot, close_bot_session=False)


asyncio.run(main())
