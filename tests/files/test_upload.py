"""Uploads: checked first, charged once, sent unchanged."""

import asyncio
import contextlib
import errno
import hashlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from a2e_async._core.files.local_file import UploadSource
from a2e_async._core.files.upload import LocalUpload, Uploader, next_step, prepare_upload
from a2e_async.errors import ClientClosed, DecodeError, InvalidInput, TransferError
from a2e_async.events import Transfer
from a2e_async.models import MediaType

from .conftest import Fault, Kit, Store, content, open_files_below

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
WAV = b"RIFF\x24\0\0\0WAVEfmt " + content(2 * MIB + 99)
ANY: tuple[MediaType, ...] = ("audio", "video", "image")


@define
class Presigner:
    """The charged call, counted."""

    store: Store
    calls: list[Mapping[str, Any]] = field(factory=list)
    answers: list[Any] = field(factory=list)
    gate: asyncio.Event | None = None

    async def __call__(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        self.calls.append(body)
        if self.gate:
            await self.gate.wait()
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            given: Mapping[str, Any] = answer
            return given
        key = f"u1/{body['key']}"
        return {
            "uploadUrl": f"{self.store.url}/{key}?sig=s{len(self.calls)}",
            "cdnUrl": f"https://cdn.example/{key}",
            "key": key,
        }


@define
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@define
class Bench:
    presign: Presigner
    clock: Clock
    up: Uploader


@pytest.fixture
def bench(store: Store, kit: Kit) -> Bench:
    presign, clock = Presigner(store), Clock()
    return Bench(presign, clock, Uploader(kit.files, clock=clock))


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(WAV)
    return path


async def ready(source: Any, allowed: tuple[MediaType, ...] = ANY) -> LocalUpload:
    return await prepare_upload(source, allowed=allowed, field="source_url", max_bytes=None)


def puts(store: Store) -> int:
    return sum(s.method == "PUT" for s in store.seen)


# -- looking ---------------------------------------------------------------------------------


async def test_prepare(talk: Path) -> None:
    for source in (talk, str(talk), WAV):
        made = await ready(source)
        assert made.digest == hashlib.sha256(WAV).hexdigest()
        assert (made.size, made.content_type, made.media) == (len(WAV), "audio/wav", "audio")
    assert "RIFF" not in repr(made)


async def test_prepare_refuses(tmp_path: Path, talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.wav").touch()
    os.mkfifo(tmp_path / "fifo.wav")
    (tmp_path / "page.png").write_bytes(b"\n<!DOCTYPE html><html>")
    (tmp_path / "what.xyz").write_bytes(b"????????????")
    listener = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    listener.bind("socket.wav")
    listener.close()
    for source, said in (
        (tmp_path / "none.wav", "No such file"),
        (tmp_path, "is a directory"),
        (tmp_path / "empty.wav", "is empty"),
        (tmp_path / "fifo.wav", "not a regular file"),
        (tmp_path / "socket.wav", "cannot be read"),
        (tmp_path / "page.png", "does not match its file extension: it is a web page"),
        (tmp_path / "what.xyz", "unknown type"),
        (b"", "is empty"),
        ("nul\0byte", "NUL"),
    ):
        with pytest.raises(InvalidInput, match=said) as caught:
            await ready(source)
        assert caught.value.field == "source_url"
        assert "source_url" in str(caught.value)
    with pytest.raises(InvalidInput, match=r"is audio/wav; image is required here \(png, "):
        await ready(talk, ("image",))
    with pytest.raises(InvalidInput, match="at most 1,000 are allowed"):
        await prepare_upload(talk, allowed=ANY, field="f", max_bytes=1000)
    assert (await ready(tmp_path / "what.xyz", ("file",))).media == "file"


# -- sending ---------------------------------------------------------------------------------


async def test_upload_sends_the_bytes_as_they_are(
    store: Store, kit: Kit, bench: Bench, talk: Path
) -> None:
    digest = hashlib.sha256(WAV).hexdigest()
    url = await bench.up.upload(await ready(talk), bench.presign)
    assert url == f"https://cdn.example/u1/a2e-async/{digest}.wav"
    assert bench.presign.calls == [
        {
            "key": f"a2e-async/{digest}.wav",
            "contentType": "audio/wav",
            "contentLength": len(WAV),
            "expiresIn": 3600,
        }
    ]
    [seen] = store.seen
    assert seen.body == WAV
    headers = {k.lower(): v for k, v in seen.headers.items()}
    assert headers["content-length"] == str(len(WAV))
    assert headers["content-type"] == "audio/wav"
    assert not headers.keys() & {"authorization", "cookie", "transfer-encoding", "x-lang"}
    moves = [(e.direction, e.done, e.total) for e in kit.events if isinstance(e, Transfer)]
    assert moves[-1] == ("up", len(WAV), len(WAV))
    assert open_files_below(talk.parent) == []


async def test_same_content_once(store: Store, bench: Bench, talk: Path) -> None:
    prepared = [await ready(talk), await ready(WAV)]
    urls = await asyncio.gather(
        *(bench.up.upload(prepared[n % 2], bench.presign) for n in range(30))
    )
    assert len(set(urls)) == 1
    assert (len(bench.presign.calls), puts(store)) == (1, 1)
    bench.clock.now += 23.9 * 3600
    await bench.up.upload(prepared[0], bench.presign)
    assert puts(store) == 1
    bench.clock.now += 3600
    await bench.up.upload(prepared[0], bench.presign)
    assert (len(bench.presign.calls), puts(store)) == (2, 2)
    assert len(bench.up._entries) == 1


async def test_cancelled_uploader_is_followed_by_another(
    store: Store, bench: Bench, talk: Path
) -> None:
    prepared = await ready(talk)
    bench.presign.gate = asyncio.Event()
    first, *others = [
        asyncio.create_task(bench.up.upload(prepared, bench.presign)) for _ in range(5)
    ]
    while not bench.presign.calls:
        await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    bench.presign.gate.set()
    store.faults.append(Fault(hang=True))
    while not puts(store):
        await asyncio.sleep(0)
    others[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await others[0]
    await asyncio.gather(*others[1:])
    assert (len(bench.presign.calls), puts(store)) == (1, 2)


async def test_cancelled_at_every_step_pays_once(
    store: Store, bench: Bench, kit: Kit, talk: Path
) -> None:
    prepared = await ready(talk)
    step, ended = 0, False
    while not ended:
        task = asyncio.create_task(bench.up.upload(prepared, bench.presign))
        for _ in range(step):
            if task.done():
                break
            await asyncio.sleep(0)
        ended = not task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert open_files_below(talk.parent) == []
        assert kit.files.transfer_slots._value == kit.files.max_parallel
        step += 1 if step < 60 else 9
        assert step < 20000
    await bench.up.upload(prepared, bench.presign)
    assert len(bench.presign.calls) == 1
    assert set(store.stored.values()) == {WAV}
    assert [e.user_count for e in bench.up._entries.values()] == [0]


async def test_a_failed_presign_raises_in_all_waiters(
    store: Store, bench: Bench, talk: Path
) -> None:
    bench.presign.gate = asyncio.Event()
    bench.presign.answers = [ClientClosed("no")]
    prepared = await ready(talk)
    tasks = [asyncio.create_task(bench.up.upload(prepared, bench.presign)) for _ in range(4)]
    while not bench.presign.calls:
        await asyncio.sleep(0)
    bench.presign.gate.set()
    failures = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(f) for f in failures] == [ClientClosed] * 4
    assert len(bench.presign.calls) == 1
    await bench.up.upload(prepared, bench.presign)
    assert len(bench.presign.calls) == 2


@pytest.mark.parametrize(
    "answer", [{"uploadUrl": "https://x/"}, {"cdnUrl": "https://x/"}, [], {"uploadUrl": 3}]
)
async def test_damaged_presign(store: Store, bench: Bench, answer: Any) -> None:
    bench.presign.answers = [answer]
    with pytest.raises(DecodeError, match="no usable"):
        await bench.up.upload(await ready(WAV), bench.presign)
    assert store.seen == []


async def test_free_to_repeat(store: Store, kit: Kit, bench: Bench, talk: Path) -> None:
    store.faults.extend(
        [Fault(status=503), Fault(cut=MIB), Fault(status=429, headers={"Retry-After": "9"})]
    )
    await bench.up.upload(await ready(talk), bench.presign)
    assert kit.pauses == [0.5, 1.0, 9.0]
    assert (len(bench.presign.calls), puts(store)) == (1, 4)
    assert set(store.stored.values()) == {WAV}


async def test_five_tries_and_the_presign_is_kept(store: Store, bench: Bench) -> None:
    store.always = Fault(status=500)
    prepared = await ready(WAV)
    with pytest.raises(TransferError, match="5 attempts: HTTP 500") as caught:
        await bench.up.upload(prepared, bench.presign)
    assert "sig=" not in str(caught.value) + str(caught.value.url)
    assert puts(store) == 5
    store.always = None
    await bench.up.upload(prepared, bench.presign)
    assert len(bench.presign.calls) == 1


async def test_cut_uploads_are_counted_by_the_wire(store: Store, bench: Bench) -> None:
    store.always = Fault(cut=10)
    with pytest.raises(TransferError, match="5 attempts"):
        await bench.up.upload(await ready(WAV), bench.presign)
    assert puts(store) == 5


async def test_stalled_upload_is_tried_again(store: Store, kit: Kit, bench: Bench) -> None:
    kit.files.stall_timeout = 0.05
    store.faults.append(Fault(hang=True))
    await bench.up.upload(await ready(WAV[:2000]), bench.presign)
    assert puts(store) == 2


@pytest.mark.parametrize(
    ("size", "seconds", "following"),
    [(64, 0.01, 128), (1024, 0.01, 1024), (1024, 0.06, 64), (64, 50.0, 64)],
)
def test_a_slow_connection_gets_small_steps(size: int, seconds: float, following: int) -> None:
    """Else no step would be over within the time after which a connection is given up."""
    assert next_step(size * 1024, seconds) == following * 1024


async def test_refused_by_the_store(store: Store, bench: Bench) -> None:
    body = b"<Error><Code>SignatureDoesNotMatch</Code><StringToSign>s3cret</StringToSign></Error>"
    store.always = Fault(status=403, body=body)
    with pytest.raises(TransferError, match="SignatureDoesNotMatch") as caught:
        await bench.up.upload(await ready(WAV), bench.presign)
    assert caught.value.http_status == 403
    assert "s3cret" not in str(caught.value)
    assert (len(bench.presign.calls), puts(store)) == (1, 1)


async def test_refused_because_its_time_is_over(store: Store, bench: Bench) -> None:
    store.faults.append(Fault(status=403))
    store.on_put = lambda: setattr(bench.clock, "now", bench.clock.now + 3600)
    prepared = await ready(WAV)
    await bench.up.upload(prepared, bench.presign)
    assert len(bench.presign.calls) == 2
    bench.clock.now += 25 * 3600
    store.always = Fault(status=403)
    with pytest.raises(TransferError, match="before its upload URLs expired"):
        await bench.up.upload(prepared, bench.presign)
    assert len(bench.presign.calls) == 4


async def test_too_many_open_files_is_tried_again(
    store: Store, kit: Kit, bench: Bench, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = await ready(talk)
    real, refused = os.open, list[Any]()

    def crowded(path: Any, *args: Any) -> int:
        if path == prepared.source and not refused:
            refused.append(path)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *args)

    monkeypatch.setattr(os, "open", crowded)
    await bench.up.upload(prepared, bench.presign)
    assert refused == [talk]
    assert kit.pauses == [0.5]
    assert puts(store) == 1


async def test_changed_before_sending(store: Store, bench: Bench, talk: Path) -> None:
    prepared = await ready(talk)
    talk.write_bytes(WAV + b"more")
    with pytest.raises(TransferError, match="changed since"):
        await bench.up.upload(prepared, bench.presign)
    assert store.seen == []
    talk.unlink()
    with pytest.raises(TransferError, match="can no longer be read"):
        await bench.up.upload(prepared, bench.presign)


async def test_changed_while_sending(store: Store, bench: Bench, talk: Path) -> None:
    prepared = await ready(talk)
    store.on_put = lambda: os.utime(talk, ns=(1, 1))
    with pytest.raises(TransferError, match="changed since"):
        await bench.up.upload(prepared, bench.presign)
    assert [e.url for e in bench.up._entries.values()] == [None]
    assert open_files_below(talk.parent) == []


async def test_shortened_while_sending(
    store: Store, bench: Bench, talk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = await ready(talk)
    opened = UploadSource.open

    def shorten_after(source: UploadSource) -> None:
        opened(source)
        os.truncate(talk, MIB + 5)

    monkeypatch.setattr(UploadSource, "open", shorten_after)
    with pytest.raises(TransferError, match="became shorter"):
        await bench.up.upload(prepared, bench.presign)
    assert (puts(store), store.stored) == (1, {})
    assert open_files_below(talk.parent) == []


async def test_closing_ends_a_presign(store: Store, bench: Bench) -> None:
    bench.presign.gate = asyncio.Event()
    task = asyncio.create_task(bench.up.upload(await ready(WAV), bench.presign))
    while not bench.presign.calls:
        await asyncio.sleep(0)
    await bench.up.aclose(timeout=0)
    with pytest.raises(ClientClosed):
        await task
