"""A service with its file store on loopback, written only from the API's documentation."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from attrs import define, field

ID = "66ea4dd80000000000000001"


def box(kind: bytes, data: bytes) -> bytes:
    return (8 + len(data)).to_bytes(4, "big") + kind + data


def mp4(size: int = 100_000, fill: bytes = b"\x01\x02\x03") -> bytes:
    """Return a file with the boxes of an MP4 (not playable)."""
    body = (fill * (size // len(fill) + 1))[:size]
    return (
        box(b"ftyp", b"isom\0\0\2\0isomiso2")
        + box(b"free", b"")
        + box(b"mdat", body)
        + box(b"moov", box(b"mvhd", bytes(100)))
    )


def png(size: int = 5000) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + b"crc!"

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", bytes(13))
        + chunk(b"IDAT", b"\x05" * size)
        + chunk(b"IEND", b"")
    )


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@define
class Service:
    """A service with two finished dubbing tasks; ``files`` maps store paths to responses."""

    files: dict[str, Handler] = field(factory=dict[str, Handler])
    results: list[str] = field(factory=list[str])
    """Result URLs in the record, one per request; the last one is repeated."""
    kind_field: tuple[str, str] = ("userDubbing", "result_url")
    requests: list[str] = field(factory=list[str])
    """Raw targets of the requests to the store."""
    paid: list[str] = field(factory=list[str])
    presign: dict[str, Any] = field(factory=dict[str, Any])
    stored: dict[str, bytes] = field(factory=dict[str, bytes])
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if request.method == "PUT":
            self.requests.append(request.raw_path)
            handler = self.files.get(path)
            if handler is not None:
                return await handler(request)
            self.stored[path] = await request.read()
            return web.Response()
        if path == "/api/v1/r2/upload-presigned-url":
            self.paid.append("presign")
            body = await request.json()
            made = {"uploadUrl": f"{self.url}/up/{body['key']}?sig=1", "key": body["key"]}
            cdn = {"cdnUrl": f"https://cdn.example/{body['key']}"}
            return web.json_response({"code": 0, "data": made | cdn | self.presign})
        if path.startswith("/api/"):
            return self._api(request)
        self.requests.append(request.raw_path)
        handler = self.files.get(path)
        return web.Response(status=404) if handler is None else await handler(request)

    def _api(self, request: web.Request) -> web.Response:
        if request.method == "POST" and "batch" not in request.path:
            self.paid.append(request.path)
        url = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        record = {
            "_id": ID,
            "name": "n",
            "current_status": "completed",
            self.kind_field[1]: [url] if self.kind_field[1].endswith("s") else url,
        }
        many = "batch" in request.path or "all" in request.path
        return web.json_response({"code": 0, "data": [record] if many else record})

    def give(self, path: str, body: bytes, *, status: int = 200, **headers: str) -> str:
        """Make a store path respond with ``body``; in header names, ``_`` becomes ``-``."""
        spelled = {name.replace("_", "-"): value for name, value in headers.items()}

        async def handler(request: web.Request) -> web.StreamResponse:
            return web.Response(body=body, status=status, headers=spelled)

        self.files[path] = handler
        return self.url + path


@asynccontextmanager
async def serving() -> AsyncIterator[Service]:
    service = Service()
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", service.handle)
    async with TestServer(app) as server:
        service.url = str(server.make_url("")).rstrip("/")
        service.results = [f"{service.url}/files/out.mp4"]
        yield service


@asynccontextmanager
async def raw_server(*responses: bytes, reset: bool = False) -> AsyncIterator[str]:
    """Serve these bytes, one item per connection (repeating the last); then close or reset."""
    remaining = list(responses)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(remaining.pop(0) if len(remaining) > 1 else remaining[0])
        await writer.drain()
        if reset:
            await asyncio.sleep(0.05)  # the bytes must be read before the reset drops them
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
