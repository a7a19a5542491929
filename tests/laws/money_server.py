"""A small simulator of the service in which tests choose every price and delay.

It is independent of the package's sandbox. Starts are dubbings that finish at once; `Service.paid`
lists all accepted paid calls.
"""

import asyncio
import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer

KEY = "sk_test_0123456789"
DUB = {"source_url": "https://media.example/talk.wav", "target_lang": "es"}
START = "/api/v1/userDubbing/startDubbing"


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


TELL_NOTHING = _Nothing()
"""Marks a value that the response omits."""


class Service:
    """A service with one account.

    ``quote`` is the response to a quote, ``price`` the ``coins`` in the response to a start
    (omitted for `TELL_NOTHING`); both may be functions of the body. ``gate`` delays the response
    to each accepted start. ``lose`` is the number of starts to accept without a response.
    """

    def __init__(self) -> None:
        self.quote: Any = 1
        self.price: Any = 1
        self.gate: asyncio.Event | None = None
        self.upload_gate: asyncio.Event | None = None
        self.lose = 0
        self.refuse = 0
        self.refuse_upload = 0
        self.no_coins = False
        """Whether all starts are refused because the account has no coins left."""
        self.finish_later: dict[str, Any] | None = None
        """The fields of a record when polled; the response to a start says that it is running."""
        self.paid: list[str] = []
        self.calls: Counter[str] = Counter()
        self.records: dict[str, dict[str, Any]] = {}
        self.lost: dict[str, dict[str, Any]] = {}
        """Tasks of lost starts, not listed until `show_lost` is called."""
        self.base_url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**26)
        app.router.add_post(START, self._start)
        app.router.add_post("/api/v1/generation/quote", self._quote)
        app.router.add_post("/api/v1/r2/upload-presigned-url", self._presign)
        app.router.add_put("/store/{name}", self._put)
        app.router.add_post("/api/v1/video/send_tts", self._speech)
        app.router.add_get("/api/v1/userDubbing/{tail:.*}", self._read)
        app.router.add_get("/files/{name}", self._file)
        self._server = TestServer(app)
        await self._server.start_server()
        self.base_url = str(self._server.make_url("/")).rstrip("/")
        return self

    async def __aexit__(self, *_: object) -> None:
        for gate in (self.gate, self.upload_gate):
            if gate is not None:
                gate.set()
        await self._server.close()

    def starts(self) -> int:
        """Return the number of accepted starts."""
        return self.paid.count("start")

    def show_lost(self) -> None:
        """List the tasks of lost starts from now on."""
        self.records |= self.lost

    async def _start(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.calls["start"] += 1
        if self.refuse:
            self.refuse -= 1
            return web.json_response({"code": 1, "msg": "no"}, status=400)
        if self.no_coins:
            return web.json_response({"code": 1, "msg": "insufficient coins"}, status=402)
        id = f"{int(time.time()):08x}{len(self.paid):016x}"
        self.paid.append("start")
        record = {
            "_id": id,
            "name": body.get("name"),
            "createdAt": datetime.now(UTC).isoformat(),
            "current_status": "completed",
            "result_url": f"{self.base_url}/files/{id}.mp4",
        }
        price = self.price(body) if callable(self.price) else self.price
        if price is not TELL_NOTHING:
            record["coins"] = price
        self.records[id] = record
        if self.finish_later is not None:
            self.records[id] = {**record, **self.finish_later}
            record["current_status"] = "processing"
        if self.lose:
            self.lose -= 1
            self.lost[id] = self.records.pop(id)
            if self.gate is not None:
                await self.gate.wait()
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.gate is not None:
            await self.gate.wait()
        return _ok(record)

    async def _quote(self, request: web.Request) -> web.Response:
        body = (await request.json())["requestBody"]
        self.calls["quote"] += 1
        quote = self.quote(body) if callable(self.quote) else self.quote
        return _ok({} if quote is TELL_NOTHING else {"coins": quote})

    async def _presign(self, request: web.Request) -> web.Response:
        request_body = await request.json()
        if self.refuse_upload:
            self.refuse_upload -= 1
            return web.json_response({"code": 1, "msg": "no"}, status=400)
        self.paid.append("upload")
        if self.upload_gate is not None:
            await self.upload_gate.wait()
        name = request_body["key"].rsplit("/", 1)[1]
        there = f"{self.base_url}/store/{name}"
        return _ok(
            {"uploadUrl": there, "cdnUrl": there, "key": request_body["key"], "expiresIn": 3600}
        )

    async def _put(self, request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    async def _speech(self, request: web.Request) -> web.Response:
        await request.read()
        self.paid.append("speech")
        if self.gate is not None:
            await self.gate.wait()
        return _ok(f"{self.base_url}/files/speech.mp3")

    async def _read(self, request: web.Request) -> web.Response:
        name = request.path.rsplit("/", 1)[1]
        if name in self.records:
            return _ok(self.records[name])
        if name in ("allRecords", "allProcessing", "processing"):
            return _ok([row for id, row in self.records.items() if id in self.lost])
        return web.json_response({"code": 404, "msg": "no such task"}, status=404)

    async def _file(self, _: web.Request) -> web.Response:
        mp4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(500)
        return web.Response(body=mp4, content_type="video/mp4")


def _ok(data: Any) -> web.Response:
    # By hand: a test may order a NaN, which aiohttp's encoder writes as well.
    text = json.dumps({"code": 0, "data": data, "trace_id": "t"})
    return web.Response(text=text, content_type="application/json")
