"""File objects and streams as inputs: read once, hashed, sent again after a failure, cleaned up."""

import asyncio
import gc
import hashlib
import io
import os
import socket
import tempfile
import threading
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, cast

import aiohttp
import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict, CIMultiDictProxy
from starlette.datastructures import UploadFile

from a2e_async._core.files import open_file
from a2e_async._core.files.local_file import LocalUpload, prepare_upload
from a2e_async._core.files.open_file import held_files
from a2e_async._core.files.upload import Uploader
from a2e_async._core.schema.inputs import check_media
from a2e_async._core.schema.media_input import OpenFile
from a2e_async.errors import InvalidInput, TransferError
from a2e_async.models import MediaType

from .conftest import Fault, Kit, Store, content, open_files_below

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
WAV = b"RIFF\x24\0\0\0WAVEfmt " + content(2 * MIB + 99)
DIGEST = hashlib.sha256(WAV).hexdigest()
ANY: tuple[MediaType, ...] = ("audio", "video", "image")


@pytest.fixture(autouse=True)
def spools(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of temporary files."""
    directory = tmp_path_factory.mktemp("spools")
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture
def django_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django's defaults, without configuring Django for other tests of this process."""
    conf: Any = import_module("django.conf")
    defaults = conf.UserSettingsHolder(conf.global_settings)
    monkeypatch.setitem(vars(conf.settings), "_wrapped", defaults)


async def ready(source: Any, allowed: tuple[MediaType, ...] = ANY) -> LocalUpload:
    return await prepare_upload(source, allowed=allowed, field="source_url", max_bytes=None)


async def refused(source: Any) -> str:
    with pytest.raises(InvalidInput) as caught:
        await ready(source)
    assert caught.value.field == "source_url"
    return str(caught.value)


async def chunks(data: bytes = WAV, size: int = 70_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


class Stream(io.RawIOBase):
    """A binary stream that cannot seek and returns a few bytes at a time."""

    def __init__(self, data: bytes, error: Exception | None = None) -> None:
        self._left = io.BytesIO(data)
        self._error = error

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        block = self._left.read(min(size, 50_000))
        if not block and self._error is not None:
            raise self._error
        return block


# -- what is accepted ------------------------------------------------------------------------


def opened(path: Path) -> Iterator[Any]:
    """Yield the content as every object that libraries hand out for a seekable file."""
    yield io.BytesIO(WAV)
    yield path.open("rb")
    yield path.open("rb", buffering=0)
    yield path.open("r+b")
    written: tuple[Any, ...] = (
        tempfile.SpooledTemporaryFile(max_size=99),  # noqa: SIM115
        tempfile.NamedTemporaryFile(),  # noqa: SIM115
    )
    for file in written:
        file.write(WAV)
        file.seek(0)
        yield file
    packed = path.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("talk.wav", WAV)
    with zipfile.ZipFile(packed) as archive, archive.open("talk.wav") as member:
        yield member
    yield UploadFile(io.BytesIO(WAV), filename="talk.wav")
    headers = CIMultiDictProxy(CIMultiDict[str]())
    yield web.FileField("file", "talk.wav", io.BufferedReader(io.BytesIO(WAV)), "", headers)
    django: Any = import_module("django.core.files.uploadedfile")
    size = len(WAV)
    yield django.InMemoryUploadedFile(io.BytesIO(WAV), "file", "a.wav", "audio/wav", size, None)
    uploaded = django.TemporaryUploadedFile("talk.wav", "audio/wav", size, None)
    uploaded.write(WAV)
    uploaded.seek(0)
    yield uploaded
    yield bytearray(WAV)
    yield memoryview(WAV)
    yield memoryview(bytes(b for byte in WAV[:9000] for b in (byte, 0)))[::2]


def close(source: Any) -> None:
    file = getattr(source, "file", source)
    if hasattr(file, "close"):
        file.close()


@pytest.mark.usefixtures("django_settings")
async def test_seekable_files_are_read_in_place(
    store: Store, kit: Kit, tmp_path: Path, spools: Path
) -> None:
    """Their position stays, so the same object can be used for the next start."""
    path = tmp_path / "talk.wav"
    path.write_bytes(WAV)
    up = Uploader(kit.files)
    for source in opened(path):
        checked = check_media("source_url", source)
        first, second = await ready(checked), await ready(source)
        data = WAV[:9000] if isinstance(source, memoryview) and len(source) == 9000 else WAV
        assert first.digest == second.digest == hashlib.sha256(data).hexdigest(), source
        assert (first.size, first.content_type) == (len(data), "audio/wav")
        up._entries.clear()
        store.faults.append(Fault(status=503))
        await up.upload(first, presigner(store))
        assert [seen.body for seen in store.seen] == [data, data], source
        store.seen.clear()
        inner = getattr(source, "file", source)
        assert not hasattr(inner, "tell") or inner.tell() == 0
        close(source)
    assert open_files_below(spools) == []
    assert open_file._shared == {}


def streams(path: Path) -> Iterator[Callable[[], Any]]:
    """Yield functions that open the content as a stream which can be read once."""
    yield chunks
    yield lambda: Stream(WAV)
    yield lambda: pipe(WAV)

    def reader() -> asyncio.StreamReader:
        made = asyncio.StreamReader(limit=4 * MIB)
        made.feed_data(WAV)
        made.feed_eof()
        return made

    yield reader


def pipe(data: bytes) -> IO[bytes]:
    there, here = os.pipe()

    def write() -> None:
        with os.fdopen(here, "wb") as out:
            out.write(data)

    threading.Thread(target=write).start()
    return os.fdopen(there, "rb")


def presigner(store: Store) -> Callable[[Any], Any]:
    async def presign(body: Any) -> Any:
        return {
            "uploadUrl": f"{store.url}/{body['key']}",
            "cdnUrl": f"https://cdn.example/{body['key']}",
        }

    return presign


async def test_streams_are_kept_until_released(
    store: Store, kit: Kit, tmp_path: Path, spools: Path
) -> None:
    for open_stream in streams(tmp_path):
        source = open_stream()
        checked = check_media("source_url", source)
        with held_files([checked]):
            first, second = await asyncio.gather(ready(checked), ready(checked))
            assert first.digest == second.digest == DIGEST
            store.faults.append(Fault(status=503))
            up = Uploader(kit.files)
            await up.upload(first, presigner(store))
            assert [seen.body for seen in store.seen] == [WAV, WAV]
            store.seen.clear()
            assert len(open_files_below(spools)) == 1
        assert open_files_below(spools) == []
        assert "A stream can be read once" in await refused(checked)
        close(source)


async def test_async_files_and_multipart_parts(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(WAV)
    async with await anyio.open_file(path, "rb") as file:
        assert (await ready(file)).digest == DIGEST
    digests: list[str] = []

    async def receive(request: web.Request) -> web.Response:
        part = await (await request.multipart()).next()
        digests.append((await ready(part)).digest)
        return web.Response()

    async def receive_form(request: web.Request) -> web.Response:
        digests.append((await ready((await request.post())["file"])).digest)
        return web.Response()

    app = web.Application(client_max_size=2**30)
    app.router.add_post("/part", receive)
    app.router.add_post("/form", receive_form)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        for where in ("/part", "/form"):
            form = aiohttp.FormData()
            form.add_field("file", io.BytesIO(WAV), filename="talk.wav")
            async with session.post(server.make_url(where), data=form) as response:
                assert response.status == 200
    assert digests == [DIGEST, DIGEST]


async def test_the_position_counts() -> None:
    file = io.BytesIO(b"garbage" + WAV)
    file.seek(7)
    assert (await ready(file)).digest == DIGEST
    assert file.tell() == 7
    file.seek(0, os.SEEK_END)
    assert "call .seek(0) first" in await refused(file)
    assert "is empty" in await refused(io.BytesIO())
    assert "is empty" in await refused(bytearray())


async def test_concurrent_passes_over_one_file(store: Store, kit: Kit, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(WAV)
    with path.open("rb") as file:
        prepared = await asyncio.gather(*(ready(file) for _ in range(6)))
        assert {one.digest for one in prepared} == {DIGEST}
        uploaders = [Uploader(kit.files) for _ in prepared]
        await asyncio.gather(
            *(
                up.upload(one, presigner(store))
                for up, one in zip(uploaders, prepared, strict=True)
            ),
            *(ready(file) for _ in range(3)),
        )
        assert {seen.body for seen in store.seen} == {WAV}
        assert file.tell() == 0


# -- what is refused -------------------------------------------------------------------------


class Picture:
    """What a PIL image looks like from outside."""

    __module__ = "PIL.Image"

    def save(self) -> None: ...


class Array:
    def __array__(self) -> None: ...


async def test_unusable_objects(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(WAV)
    closed = path.open("rb")
    closed.close()
    with path.open() as text, (tmp_path / "new").open("wb") as writing:
        named = tempfile.NamedTemporaryFile("w")  # noqa: SIM115
        for source, said in (
            (text, "text mode. Open it in binary mode: open(path, 'rb')"),
            (io.StringIO("RIFF"), "text mode"),
            (named, "text mode"),
            (writing, "for writing only"),
            (closed, "the file object is closed"),
            (Picture(), "PIL image, not a file: buffer = io.BytesIO(); image.save(buffer, 'PNG')"),
            (Array(), "is an array, not a file"),
            (object(), "a file opened in binary mode"),
            (io.BytesIO, "a file opened in binary mode"),
            ((chunk for chunk in [WAV]), "a file opened in binary mode"),
        ):
            with pytest.raises(InvalidInput, match="source_url") as caught:
                check_media("source_url", source)
            assert said in str(caught.value), source
        named.close()


async def test_content_is_checked_as_in_files() -> None:
    jpeg = UploadFile(io.BytesIO(b"hello there, this is text"), filename="cat.jpg")
    assert "does not match its file extension: it is a text" in await refused(jpeg)
    with pytest.raises(InvalidInput, match=r"is audio/wav; image is required"):
        await ready(io.BytesIO(WAV), ("image",))
    with pytest.raises(InvalidInput, match="at most 1,000 are allowed"):
        await prepare_upload(chunks(), allowed=ANY, field="f", max_bytes=1000)
    with pytest.raises(InvalidInput, match="at most 1,000 are allowed"):
        await prepare_upload(io.BytesIO(WAV), allowed=ANY, field="f", max_bytes=1000)


async def test_a_stream_of_another_type_is_refused_at_its_beginning() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            assert read < 99
            yield WAV[: MIB // 2]

    with pytest.raises(InvalidInput, match=r"the stream is audio/wav; image is required"):
        await ready(endless(), ("image",))


async def test_streams_that_fail_or_are_cut(spools: Path) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield WAV[:MIB]
        yield WAV[MIB : 2 * MIB]
        raise ConnectionError("peer left https://x.example/?X-Amz-Signature=s3cret")

    async def texts() -> AsyncIterator[Any]:
        yield "RIFF"

    for source, said in (
        (failing(), "cannot be read to its end: peer left"),
        (Stream(WAV, OSError("disk on fire")), "cannot be read to its end: disk on fire"),
        (texts(), "open(path, 'rb')"),
        (Stream(b""), "the stream is empty"),
        (chunks(b""), "the stream is empty"),
    ):
        text = await refused(source)
        assert said in text
        assert "s3cret" not in text
        assert open_files_below(spools) == []


async def test_a_response_that_ends_early(spools: Path) -> None:
    """The standard library's HTTP response returns what has arrived without an error."""
    from urllib.request import urlopen

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + WAV)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, family=socket.AF_INET)
    async with server:
        port = server.sockets[0].getsockname()[1]
        response = await asyncio.to_thread(urlopen, f"http://127.0.0.1:{port}/")
        with response:
            assert "bytes too early" in await refused(response)
    assert open_files_below(spools) == []


async def test_truncated_media_is_refused() -> None:
    """Its own structure says how long it is."""
    boxes = b"\0\0\0\x14ftypisom\0\0\0\0isom\0\0\0\x08moov\0\0\x40\0mdat"
    whole = boxes + bytes(0x4000 - 8)
    assert (await ready(io.BytesIO(whole))).media == "video"
    for source in (whole[:-1], io.BytesIO(whole[:-1]), chunks(whole[:-1])):
        assert "is truncated" in await refused(source)


async def test_a_stream_read_in_part_is_never_used_again(spools: Path) -> None:
    """What is left of it is not the file that its owner meant."""
    gate = asyncio.Event()

    class Slow:
        def __aiter__(self) -> "Slow":
            return self

        async def __anext__(self) -> bytes:
            await gate.wait()
            raise StopAsyncIteration

    for source in (Slow(), chunks()):
        task = asyncio.create_task(ready(source))
        for _ in range(3):
            await asyncio.sleep(0)
        assert "A stream can be read once" in await refused(source)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "A stream can be read once" in await refused(source)
        assert open_files_below(spools) == []


async def test_cancelled_at_every_step(spools: Path) -> None:
    for step in (*range(1, 30), 60, 120):
        task = asyncio.create_task(ready(chunks()))
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        del task
    async with asyncio.timeout(60):
        while open_files_below(spools):  # a thread may still write, and then closes its file
            await asyncio.sleep(0.01)


async def test_changed_between_hash_and_upload(store: Store, kit: Kit, tmp_path: Path) -> None:
    up = Uploader(kit.files)
    buffer, file = bytearray(WAV), io.BytesIO(WAV)
    path = tmp_path / "talk.wav"
    path.write_bytes(WAV)
    opened_file = path.open("rb")
    changed = [await ready(source) for source in (buffer, file, opened_file)]
    buffer[-1] ^= 1
    file.truncate(MIB)
    opened_file.close()
    for prepared, said in zip(changed, ("changed since", "became shorter", "closed"), strict=True):
        with pytest.raises(TransferError, match=said):
            await up.upload(prepared, presigner(store))
    assert store.stored == {}
    assert open_file._shared == {}


async def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, spools: Path) -> None:
    class Full(io.BytesIO):
        def write(self, _: Any, /) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda **_: Full())
    with pytest.raises(TransferError, match=r"No space left on device.*TMPDIR"):
        await ready(chunks())


@pytest.mark.skipif(
    tuple(map(int, version("anyio").split(".")[:2])) < (4, 16),
    reason="an older anyio keeps the input; its file disappears with the process",
)
def test_dropped_inputs_delete_their_files(spools: Path) -> None:
    """Such as those of a batch that is never run to its end."""

    async def read() -> OpenFile:
        checked = cast("OpenFile", check_media("source_url", chunks()))
        await ready(checked)
        return checked

    checked = [asyncio.run(read())]
    assert len(open_files_below(spools)) == 1
    checked.clear()
    gc.collect()
    assert open_files_below(spools) == []


# -- memory ----------------------------------------------------------------------------------


async def test_memory_does_not_grow_with_the_file(kit: Kit, tmp_path: Path, spools: Path) -> None:
    """Three uploads of 95 MiB at once: from a file object, a stream and an async iterator."""
    size, block = 95 * MIB, content(MIB)
    received: list[int] = []

    async def take(request: web.Request) -> web.Response:
        count = 0
        async for data in request.content.iter_any():
            count += len(data)
        received.append(count)
        return web.Response()

    class Numbered(io.RawIOBase):
        """A WAV file of the size that differs in its first bytes."""

        def __init__(self, number: int, *, can_seek: bool) -> None:
            self._at, self._head = 0, b"RIFF\x24\0\0\0WAVEfmt %d" % number
            self._can_seek = can_seek

        def readable(self) -> bool:
            return True

        def seekable(self) -> bool:
            return self._can_seek

        def seek(self, offset: int, whence: int = 0, /) -> int:
            self._at = offset
            return offset

        def tell(self) -> int:
            return self._at

        def read(self, wanted: int = -1, /) -> bytes:
            wanted = min(wanted, size - self._at)
            start = self._at % MIB
            data = self._head if not self._at else block[start : start + wanted]
            self._at += len(data[:wanted])
            return data[:wanted]

    async def iterate() -> AsyncIterator[bytes]:
        source = Numbered(3, can_seek=True)
        while data := source.read(MIB):
            yield data

    sources = [Numbered(1, can_seek=True), Numbered(2, can_seek=False), iterate()]
    app = web.Application()
    app.router.add_put("/{path:.*}", take)
    up = Uploader(kit.files)
    async with TestServer(app) as server:
        base = str(server.make_url("")).rstrip("/")

        async def presign(body: Any) -> Any:
            return {"uploadUrl": f"{base}/{body['key']}", "cdnUrl": f"https://h/{body['key']}"}

        async def send(source: Any) -> None:
            checked = check_media("source_url", source)
            with held_files([checked]):
                await up.upload(await ready(checked), presign)

        await send(WAV)  # imports and pools
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await asyncio.gather(*(send(source) for source in sources))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert received[1:] == [size] * 3
    assert peak - before < 40 * MIB
    assert open_files_below(spools) == []


def test_a_second_pass_waits_for_the_position() -> None:
    """It must not take the file's beginning for the user's position while ``tell`` runs."""
    telling, gate = threading.Event(), threading.Event()

    class SlowFile(io.BytesIO):
        def tell(self) -> int:
            telling.set()
            assert gate.wait(30)
            return super().tell()

    file = SlowFile(WAV)
    file.seek(44)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(open_file.share, file)
        assert telling.wait(30)
        second = pool.submit(open_file.share, file)
        while open_file._shared[id(file)].users < 2:
            pass
        wait([second], timeout=0.05)
        gate.set()
        passes = [first.result(), second.result()]
    assert [one.start for one in passes] == [44, 44]
    for one in passes:
        one.release()
    assert id(file) not in open_file._shared
