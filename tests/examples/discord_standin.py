"""A fake Discord server: the gateway, and the REST calls of a slash command."""

import asyncio
import json
from typing import Any

from aiohttp import WSMsgType, web

from .standin import StandIn

BOT = {"id": "4242", "username": "dub", "discriminator": "0", "avatar": None, "bot": True}
USER = {"id": "1001", "username": "somebody", "discriminator": "0", "avatar": None}
APP = {
    "id": "4242",
    "name": "dub",
    "icon": None,
    "description": "",
    "verify_key": "",
    "bot_public": False,
    "bot_require_code_grant": False,
    "owner": USER,
    "flags": 0,
    "summary": "",
}
CHANNEL = "77"


class Discord(StandIn):
    """Discord as a bot sees it, with one channel."""

    def __init__(self, recording: bytes) -> None:
        super().__init__()
        self.recording = recording
        self.messages: dict[str, dict[str, Any]] = {}
        """The bot's messages in their current form, by id."""
        self.edits: list[str] = []
        """What was done to the bot's messages, in order."""
        self.commands: list[dict[str, Any]] = []
        """What the bot registered."""
        self.silent = False
        """Whether the response to an edit with a file is lost after the edit is applied."""
        self.file_refusals = 0
        """How many edits with a file are refused as too large."""
        self._sockets: list[web.WebSocketResponse] = []
        self._ids = 100

    def routes(self) -> list[web.RouteDef]:
        api = "/api"
        return [
            web.get("/gateway", self._gateway),
            web.get("/file", self._file),
            web.get(f"{api}/users/@me", self._told(BOT)),
            web.get(f"{api}/oauth2/applications/@me", self._told(APP)),
            web.get(f"{api}/applications/@me", self._told(APP)),
            web.put(f"{api}/applications/4242/commands", self._register),
            web.post(f"{api}/interactions/{{id}}/{{token}}/callback", self._respond),
            web.get(f"{api}/webhooks/4242/{{id}}/messages/@original", self._original),
            web.patch(f"{api}/webhooks/4242/{{id}}/messages/@original", self._edit),
            web.patch(f"{api}/channels/{CHANNEL}/messages/{{id}}", self._edit),
        ]

    @property
    def connected(self) -> bool:
        """Whether a bot listens."""
        return any(not socket.closed for socket in self._sockets)

    def use_command(self, language: str) -> None:
        """Send the slash command with a recording, as a user."""
        asyncio.run_coroutine_threadsafe(self._use_command(language), self.loop).result()

    async def _use_command(self, language: str) -> None:
        self._ids += 1
        file = {
            "id": "9",
            "filename": "talk.wav",
            "size": len(self.recording),
            "url": f"{self.url}/file",
            "proxy_url": f"{self.url}/file",
        }
        options = [
            {"name": "file", "type": 11, "value": "9"},
            {"name": "language", "type": 3, "value": language},
        ]
        await self._dispatch(
            "INTERACTION_CREATE",
            {
                "id": str(self._ids),
                "application_id": "4242",
                "type": 2,
                "token": f"t{self._ids}",
                "version": 1,
                "channel_id": CHANNEL,
                "channel": {"id": CHANNEL, "type": 1},
                "user": USER,
                "entitlements": [],
                "attachment_size_limit": 10 * 2**20,
                "data": {
                    "id": "5",
                    "name": "dub",
                    "type": 1,
                    "options": options,
                    "resolved": {"attachments": {"9": file}},
                },
            },
        )

    async def _dispatch(self, event: str, data: dict[str, Any]) -> None:
        payload = {"op": 0, "t": event, "s": 1, "d": data}
        await next(socket for socket in self._sockets if not socket.closed).send_json(payload)

    async def _gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": 10, "d": {"heartbeat_interval": 40_000}})
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                break
            message = json.loads(frame.data)
            if message["op"] == 1:
                await socket.send_json({"op": 11})
            elif message["op"] == 2:
                self._sockets.append(socket)
                ready = {
                    "v": 10,
                    "user": BOT,
                    "guilds": [],
                    "session_id": "s",
                    "resume_gateway_url": f"{self.url}/gateway".replace("http", "ws", 1),
                    "application": {"id": "4242", "flags": 0},
                }
                await self._dispatch("READY", ready)
        return socket

    def _told(self, value: Any) -> Any:
        async def answer(request: web.Request) -> web.Response:
            return _json(value)

        return answer

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=self.recording)

    async def _register(self, request: web.Request) -> web.Response:
        self.commands = await request.json()
        given = {"id": "5", "application_id": "4242", "version": "1", "type": 1}
        return _json([{**command, **given} for command in self.commands])

    async def _respond(self, request: web.Request) -> web.Response:
        id = request.match_info["token"]
        self.messages[id] = {"content": (await _payload(request))["data"]["content"]}
        answer = {"interaction": {"id": "1", "type": 2}}
        return _json(answer)

    async def _original(self, request: web.Request) -> web.Response:
        return _json(self._message(request.match_info["id"]))

    async def _edit(self, request: web.Request) -> web.Response:
        # The first answer of an interaction is known by its token, too.
        id = f"t{request.match_info['id'].removeprefix('9000').removeprefix('t')}"
        form = dict(await request.post()) if "multipart" in request.content_type else {}
        if form and self.file_refusals:
            self.file_refusals -= 1
            refusal = {"code": 40005, "message": "Request entity too large"}
            return web.json_response(refusal, status=413)
        payload = json.loads(form["payload_json"]) if form else await request.json()
        self.messages[id] = {"content": payload["content"]}
        if form:
            self.messages[id]["file"] = form["files[0]"].file.read()
        self.edits.append("file" if form else payload["content"])
        while form and self.silent:
            await asyncio.sleep(0.02)
        return _json(self._message(id))

    def _message(self, id: str) -> dict[str, Any]:
        return {
            "id": f"9000{id.removeprefix('t')}",
            "channel_id": CHANNEL,
            "author": BOT,
            "content": self.messages[id]["content"],
            "timestamp": "2026-01-01T00:00:00+00:00",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [],
            "embeds": [],
            "pinned": False,
            "type": 20,
        }


async def _payload(request: web.Request) -> dict[str, Any]:
    if "multipart" not in request.content_type:
        return dict(await request.json())
    return dict(json.loads(str((await request.post())["payload_json"])))


def _json(value: Any) -> web.Response:
    # discord.py takes nothing else for JSON, not even with a charset.
    body = json.dumps(value).encode()
    return web.Response(body=body, headers={"Content-Type": "application/json"})
