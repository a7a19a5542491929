"""A bot that makes images, at most two at a time for each user. It can be restarted."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from a2e_async import A2E, A2EError, Task, errors

Send = Callable[[str, str | bytes], Awaitable[None]]
"""Sends a text or an image to a chat."""


class Bot:
    def __init__(self, a2e: A2E, send: Send) -> None:
        self._a2e = a2e
        self._send = send

    async def resume(self) -> None:
        """Deliver what an earlier process has started."""
        async for task in self._a2e.unfinished():
            await self._deliver(task)

    async def on_message(self, user: str, chat: str, message: int, prompt: str) -> None:
        """Answer a message. The chat may send it twice: its id is the key."""
        mine = self._a2e.for_caller(user, max_unfinished=2, max_wait=0)
        try:
            task = await mine.text_to_image.start(
                prompt=prompt, key=f"{chat}:{message}", meta={"chat": chat}
            )
        except errors.TooBusy as error:
            await self._send(chat, f"Wait for your {error.max_unfinished} other images.")
        except errors.InvalidInput as error:
            await self._send(chat, str(error))
        except errors.StartOutcomeUnknown:
            await self._send(chat, "The service did not respond. The image may arrive later.")
        except A2EError as error:
            print(error)
            await self._send(chat, "That did not work. Nothing was started.")
        else:
            await self._deliver(task)

    async def _deliver(self, task: Task[Any]) -> None:
        chat = str((task.meta or {})["chat"])
        try:
            record = await task
        except errors.TaskFailed as error:
            await self._send(chat, f"Failed: {error.record.failure}")
        else:
            await self._send(chat, await record.output.read(max_bytes=10_000_000))
            await task.ack()


async def main() -> None:
    sent: list[tuple[str, str | bytes]] = []

    async def send(chat: str, what: str | bytes) -> None:
        sent.append((chat, what))

    async with A2E(journal="bot.db") as a2e:
        bot = Bot(a2e, send)
        await bot.resume()
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(bot.on_message("ann", "ann", number, f"tree {number}"))
            group.create_task(bot.on_message("bob", "bob", 0, "a cat"))
    images = [chat for chat, what in sent if isinstance(what, bytes)]
    assert sorted(images) == ["ann", "ann", "bob"]
    assert ("ann", "Wait for your 2 other images.") in sent


if __name__ == "__main__":
    asyncio.run(main())
