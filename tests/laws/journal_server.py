"""A service with separate accounts, written only from the API's documentation."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

WAV = (
    b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00"
)
MP3 = b"\xff\xfb\x90\x00" + bytes(4096)


class AccountServer:
    """Dubbing tasks and uploads for any API key. A task is visible only to its own key."""

    def __init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = {}
        """All accepted starts by task id, each with the ``key`` that was charged."""
        self.presigned: list[str] = []
        """API keys that requested an upload URL."""
        self.lose_presigned = False
        """Whether the responses to requests for an upload URL are lost."""
        self.presign_delay = 0.0
        """Seconds until the response to a request for an upload URL."""
        self.stored: dict[str, bytes] = {}
        self.record: Mapping[str, Any] = {}
        """The fields of each record besides id and name."""
        self.coins = "7"
        """The price in the response to a start, as JSON text."""
        self.gone = False
        """Whether the service has lost all its tasks."""
        app = web.Application(client_max_size=2**26)
        app.router.add_post("/api/v1/userDubbing/startDubbing", self._start)
        app.router.add_get("/api/v1/userDubbing/allRecords", self._list)
        app.router.add_get("/api/v1/userDubbing/allProcessing", self._list)
        app.router.add_get("/api/v1/userDubbing/{id}", self._detail)
        app.router.add_post("/api/v1/r2/upload-presigned-url", self._presign)
        app.router.add_post("/api/v1/r2/get_upload_presigned_url", self._presign)
        app.router.add_post("/api/v1/generation/quote", self._quote)
        app.router.add_put("/bucket/{name:.+}", self._put)
        app.router.add_get("/bucket/{name:.+}", self._get)
        self._server = TestServer(app)

    async def __aenter__(self) -> "AccountServer":
        await self._server.start_server()
        self.url = f"http://127.0.0.1:{self._server.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    def paid(self, key: str) -> int:
        """Return the number of starts charged to this API key."""
        return sum(task["key"] == key for task in self.tasks.values())

    def finish(self) -> None:
        """Complete all tasks, with a result."""
        self.record = {"current_status": "completed", "result_url": f"{self.url}/bucket/out.mp3"}
        self.stored["out.mp3"] = MP3

    def _row(self, id: str) -> dict[str, Any]:
        return {
            "_id": id,
            "name": self.tasks[id]["name"],
            "current_status": "processing",
            **self.record,
        }

    async def _start(self, request: web.Request) -> web.Response:
        id = f"66ea4dd8{len(self.tasks):016x}"
        body = await request.json()
        self.tasks[id] = {"key": _key(request), "name": body.get("name"), "body": body}
        text = json.dumps(self._row(id))[:-1] + f', "coins": {self.coins}}}'
        return web.Response(text=f'{{"code": 0, "data": {text}}}', content_type="application/json")

    async def _list(self, request: web.Request) -> web.Response:
        rows = [self._row(id) for id in self._seen(request)]
        return web.json_response({"code": 0, "data": {"rows": rows, "count": len(rows)}})

    async def _detail(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        if id not in self._seen(request):
            return web.json_response({"code": 404, "msg": "no such task"}, status=404)
        return web.json_response({"code": 0, "data": self._row(id)})

    def _seen(self, request: web.Request) -> list[str]:
        mine = [id for id, task in self.tasks.items() if task["key"] == _key(request)]
        return [] if self.gone else mine[::-1]

    async def _quote(self, request: web.Request) -> web.Response:
        return web.json_response({"code": 0, "data": {"coins": 7}})

    async def _presign(self, request: web.Request) -> web.Response:
        self.presigned.append(_key(request))
        await asyncio.sleep(self.presign_delay)
        if self.lose_presigned:
            return web.Response(status=502, text="bad gateway")
        place = f"{self.url}/bucket/{len(self.presigned)}.wav"
        urls = {"uploadUrl": f"{place}?X-Amz-Signature=5ecret", "cdnUrl": place}
        return web.json_response({"code": 0, "data": urls})

    async def _put(self, request: web.Request) -> web.Response:
        self.stored[request.match_info["name"]] = await request.read()
        return web.Response()

    async def _get(self, request: web.Request) -> web.Response:
        return web.Response(body=self.stored[request.match_info["name"]], content_type="audio/mpeg")


def _key(request: web.Request) -> str:
    return request.headers["Authorization"].removeprefix("Bearer ")
