"""A local file store that fails as a test configures it."""

import asyncio
import hashlib
import os
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from attrs import define, field

from a2e_async._core.files.download import Downloader, FileSession
from a2e_async.events import Event
from a2e_async.models import MediaType, Output

FDS = Path("/proc/self/fd")
REF = "dubbing:66ea4dd8aa"


def content(size: int, seed: int = 7) -> bytes:
    """Bytes without repeating sections."""
    return random.Random(seed).randbytes(size)


@define
class Fault:
    """What goes wrong with one request."""

    status: int | None = None
    headers: dict[str, str] = field(factory=dict)
    body: bytes = b""
    cut: int | None = None
    """Close the connection after this many bytes of the response."""
    ignore_range: bool = False
    etag: str | None = None
    data: bytes | None = None
    """Serve this instead."""
    hang: bool = False


@define
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@define
class Store:
    files: dict[str, bytes] = field(factory=dict)
    types: dict[str, str] = field(factory=dict)
    faults: deque[Fault | None] = field(factory=deque)
    always: Fault | None = None
    seen: list[Seen] = field(factory=list)
    stored: dict[str, bytes] = field(factory=dict)
    ranges: bool = True
    no_length: bool = False
    on_put: Callable[[], None] | None = None
    release: asyncio.Event = field(factory=asyncio.Event)
    url: str = ""

    def put(self, path: str, data: bytes, mime: str = "video/mp4") -> str:
        self.files[path], self.types[path] = data, mime
        return self.url + path

    async def handle(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(request.method, request.path_qs, dict(request.headers))
        self.seen.append(seen)
        fault = (self.faults.popleft() if self.faults else self.always) or Fault()
        if request.method == "PUT":
            return await self._take(request, seen, fault)
        if fault.hang:
            await self.release.wait()
        if fault.status:
            return web.Response(status=fault.status, headers=fault.headers, body=fault.body)
        if request.path not in self.files:
            return web.Response(status=404)
        return await self._give(request, fault)

    async def _give(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        data = self.files[request.path] if fault.data is None else fault.data
        etag = fault.etag or f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        start, status, headers = 0, 200, {"ETag": etag, "Content-Type": self.types[request.path]}
        requested_range = request.headers.get("Range")
        if_range = request.headers.get("If-Range", etag)
        if requested_range and self.ranges and not fault.ignore_range and if_range == etag:
            start = int(requested_range.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        answer = web.StreamResponse(status=status, headers=headers | fault.headers)
        if not self.no_length:
            answer.content_length = len(data) - start
        await answer.prepare(request)
        stop = len(data) if fault.cut is None else min(len(data), start + fault.cut)
        for at in range(start, stop, 65536):
            await answer.write(data[at : min(stop, at + 65536)])
        if fault.cut is not None and stop < len(data):
            await asyncio.sleep(0.02)  # lets the bytes leave before the break
            assert request.transport is not None
            request.transport.abort()
        return answer

    async def _take(self, request: web.Request, seen: Seen, fault: Fault) -> web.StreamResponse:
        if fault.hang:
            await self.release.wait()
        if fault.cut is not None:
            await request.content.readexactly(fault.cut)
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        body = await request.read()
        seen.body = body
        if self.on_put:
            self.on_put()
        if fault.status:
            return web.Response(status=fault.status, headers=fault.headers, body=fault.body)
        self.stored[request.path] = body
        return web.Response()


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    made = Store()
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", made.handle)
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made
        made.release.set()


@define
class Kit:
    """A file session without real pauses, and the events it emitted."""

    files: FileSession
    events: list[Event]
    pauses: list[float]
    renewed: list[str]
    fresh: list[Any]

    async def renew(self, output: Output) -> Output:
        self.renewed.append(output.url)
        following = self.fresh.pop(0)
        if isinstance(following, Exception):
            raise following
        return Output(url=following, media=output.media, ref=output.ref)

    @property
    def down(self) -> Downloader:
        return Downloader(self.files, self.renew)


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    events: list[Event] = []
    pauses: list[float] = []

    async def nap(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    files = FileSession(emit=events.append, sleep=nap, rng=lambda: 1.0, stall_timeout=20)
    yield Kit(files, events, pauses, [], [])
    await files.aclose()


def out(url: str, media: MediaType = "video", ref: str | None = REF, index: int = 0) -> Output:
    return Output(url=url, media=media, ref=ref, index=index)


def parts(directory: Path) -> list[Path]:
    return sorted(p for p in directory.iterdir() if p.name.endswith(".part"))


def open_files_below(directory: Path) -> list[str]:
    """Files of this process that are open and lie there (Linux only; else none)."""
    found: list[str] = []
    for fd in os.listdir(FDS) if FDS.is_dir() else ():  # noqa: PTH208  # closes what it lists
        try:
            opened = str((FDS / fd).readlink())
        except OSError:
            continue
        if opened.startswith(str(directory)):
            found.append(opened)
    return found
