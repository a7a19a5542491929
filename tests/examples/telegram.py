"""A local stand-in of Telegram's Bot API: one chat, what a bot sent to it, updates told until
they are confirmed."""

import asyncio
import json
from typing import Any

from aiohttp import web

from .standin import StandIn

CHAT = {"id": 1001, "type": "private"}
USER = {"id": 1001, "is_bot": False, "first_name": "Somebody"}
BOT = {"id": 4242, "is_bot": True, "first_name": "Dub", "username": "dub_bot"}
TOKEN = "4242:stand-in"


class Telegram(StandIn):
    """Telegram as a bot sees it."""

    def __init__(self, voice: bytes) -> None:
        super().__init__()
        self.voice = voice
        self.messages: dict[int, dict[str, Any]] = {}
        """The bot's messages in their current form, by id."""
        self.edits: list[str] = []
        """What was done to the bot's messages, in order."""
        self.refusals: list[tuple[int, dict[str, Any]]] = []
        """Status and parameters of the next refusals of editMessageMedia."""
        self.silent = False
        """Whether the response to editMessageMedia is lost after the edit is applied."""
        self.blocked = False
        """Whether the user has blocked the bot."""
        self._updates: dict[int, dict[str, Any]] = {}
        self._ids = 100

    def send_voice(self, caption: str) -> dict[str, Any]:
        """Send a voice message as a user; return the update, which `deliver` can deliver again."""
        self._ids += 1
        message = {
            "message_id": self._ids,
            "date": 1_700_000_000,
            "chat": CHAT,
            "from": USER,
            "voice": {"file_id": "v", "file_unique_id": "v", "duration": 3},
            "caption": caption,
            "caption_entities": [{"type": "bot_command", "offset": 0, "length": 4}],
        }
        return self.deliver(message)

    def deliver(self, message: dict[str, Any]) -> dict[str, Any]:
        """Deliver an update of the message to the bot until it confirms it."""
        self._ids += 1
        self._updates[self._ids] = {"update_id": self._ids, "message": message}
        return message

    @property
    def pending(self) -> bool:
        """Whether an update is not confirmed."""
        return bool(self._updates)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(f"/bot{TOKEN}/{{method}}", self._answer),
            web.get(f"/file/bot{TOKEN}/voice.oga", self._file),
        ]

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=self.voice)

    async def _answer(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        method = request.match_info["method"]
        handle = getattr(self, f"_{method}", None)
        if handle is None:
            return web.json_response({"ok": True, "result": True})
        result = await handle(form)
        if isinstance(result, web.Response):
            return result
        return web.json_response({"ok": True, "result": result})

    async def _getMe(self, form: Any) -> Any:
        return BOT

    async def _getFile(self, form: Any) -> Any:
        return {"file_id": "v", "file_unique_id": "v", "file_path": "voice.oga"}

    async def _getUpdates(self, form: Any) -> Any:
        offset = int(form.get("offset", 0))
        for id in [id for id in self._updates if id < offset]:
            del self._updates[id]
        for _ in range(50):  # the long poll, shortened
            if self._updates:
                break
            await asyncio.sleep(0.02)
        return list(self._updates.values())

    async def _sendMessage(self, form: Any) -> Any:
        self._ids += 1
        self.messages[self._ids] = {"text": form["text"]}
        return self._message(self._ids)

    async def _editMessageText(self, form: Any) -> Any:
        id, new = int(form["message_id"]), {"text": form["text"]}
        if self.blocked:
            return refusal(403, "Forbidden: bot was blocked by the user")
        if self.messages[id] == new:
            return refusal(400, "Bad Request: message is not modified")
        self.messages[id] = new
        self.edits.append(form["text"])
        return self._message(id)

    async def _editMessageMedia(self, form: Any) -> Any:
        if self.blocked:
            return refusal(403, "Forbidden: bot was blocked by the user")
        if self.refusals:
            status, parameters = self.refusals.pop(0)
            return refusal(status, "Refused", parameters)
        media = json.loads(form["media"])
        file = form[media["media"].removeprefix("attach://")]
        self.messages[int(form["message_id"])] = {media["type"]: file.file.read()}
        self.edits.append(media["type"])
        while self.silent:
            await asyncio.sleep(0.02)
        return self._message(int(form["message_id"]))

    def _message(self, id: int) -> dict[str, Any]:
        text = self.messages[id].get("text", "")
        return {"message_id": id, "date": 1_700_000_000, "chat": CHAT, "from": BOT, "text": text}


def refusal(status: int, why: str, parameters: dict[str, Any] | None = None) -> web.Response:
    """Return an error as the Bot API does."""
    body = {"ok": False, "error_code": status, "description": why, "parameters": parameters or {}}
    return web.json_response(body, status=status)
