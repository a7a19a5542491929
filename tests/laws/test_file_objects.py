"""Law 1: half a file never leads to a charge; equal content is one start, however it is given."""

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Job
from a2e_async._core.files import open_file
from a2e_async.errors import ClientClosed, InvalidInput, KeyConflict
from tests.files.conftest import open_files_below

from .journal_server import AccountServer
from .test_journal_uploads import client, server, sound

__all__ = ["server"]

SOUND = sound(7) + bytes(2 * 1024 * 1024)  # large enough for a temporary file


@pytest.fixture(autouse=True)
def spools(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path_factory.mktemp("spools")
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


async def stream(data: bytes = SOUND, *, fails: bool = False) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 300_000):
        yield data[start : start + 300_000]
    if fails:
        raise ConnectionResetError("the sender is gone")


class Upload(io.RawIOBase):
    """A file that cannot seek, such as a pipe."""

    def __init__(self, data: bytes = SOUND) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(size)


def paid(server: AccountServer) -> int:
    return len(server.tasks) + len(server.presigned)


@pytest.mark.parametrize("journal", [True, False])
async def test_a_stream_that_fails_costs_nothing(
    server: AccountServer, tmp_path: Path, spools: Path, journal: bool
) -> None:
    async with client(server, tmp_path / "jobs.db" if journal else None) as a2e:
        sources: list[Any] = [stream(fails=True), Upload(b""), stream(b"")]
        for source in (*sources, io.BytesIO(), io.StringIO("")):
            with pytest.raises(InvalidInput):
                await a2e.dubbing.start(source_url=source, target_lang="es", key="k")
        # The second input fails: the first, which is complete, is not uploaded.
        with pytest.raises(InvalidInput):
            await a2e.talking_photo.start(
                image_url=b"\x89PNG\r\n\x1a\n" + bytes(99),
                audio_url=stream(fails=True),
                prompt="p",
                negative_prompt="n",
            )
        assert paid(server) == 0
        assert open_files_below(spools) == []
        await a2e.dubbing.start(source_url=stream(), target_lang="es", key="k")
    assert open_files_below(spools) == []
    assert (len(server.tasks), len(server.presigned)) == (1, 1)


async def test_equal_content_is_one_start(
    server: AccountServer, tmp_path: Path, spools: Path
) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(SOUND)
    with path.open("rb") as file:  # read in worker threads
        sources: list[Any] = [
            file,
            file,
            path,
            SOUND,
            bytearray(SOUND),
            io.BytesIO(SOUND),
            Upload(),
            stream(),
        ]
        async with client(server, tmp_path / "jobs.db") as a2e:
            started = await asyncio.gather(
                *(
                    a2e.dubbing.start(source_url=source, target_lang="es", key="k")
                    for source in sources
                )
            )
            assert len({task.ref for task in started}) == 1
            with pytest.raises(KeyConflict):
                await a2e.dubbing.start(source_url=stream(sound(8)), target_lang="es", key="k")
        async with client(server, tmp_path / "jobs.db") as a2e:
            again = await a2e.dubbing.start(source_url=stream(), target_lang="es", key="k")
            assert again.ref == started[0].ref
        assert file.tell() == 0
    assert (len(server.tasks), len(server.presigned)) == (1, 1)
    assert open_files_below(spools) == []
    assert open_file._shared == {}


async def until_closed(spools: Path) -> None:
    """Wait until no temporary file is open: a thread may still write to one, and then closes it."""
    async with asyncio.timeout(60):
        while open_files_below(spools):
            await asyncio.sleep(0.001)


async def test_a_cancelled_or_closed_start_cleans_up(
    server: AccountServer, tmp_path: Path, spools: Path
) -> None:
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield SOUND
        await gate.wait()

    a2e = client(server, tmp_path / "jobs.db")
    start = asyncio.create_task(a2e.dubbing.start(source_url=slow(), target_lang="es", key="k"))
    while not open_files_below(spools):
        await asyncio.sleep(0.001)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await until_closed(spools)
    start = asyncio.create_task(a2e.dubbing.start(source_url=slow(), target_lang="es", key="k"))
    while not open_files_below(spools):
        await asyncio.sleep(0.001)
    await a2e.aclose()
    gate.set()
    with pytest.raises(ClientClosed):
        await start
    await until_closed(spools)
    assert paid(server) == 0


async def test_batches_read_a_stream_once(
    server: AccountServer, tmp_path: Path, spools: Path
) -> None:
    """For the key, for the start, and in a dry run before; a later batch says that it is read."""

    def jobs(a2e: A2E) -> list[Job[Any]]:
        inputs: list[Any] = [stream(sound(n) + bytes(2**21)) for n in range(3)]
        return [a2e.dubbing.job(source_url=each, target_lang="es") for each in (*inputs, inputs[0])]

    async with client(server, tmp_path / "jobs.db") as a2e:
        server.finish()
        made = jobs(a2e)
        planned = [each async for each in a2e.batch(made, dry_run=True, limit=1)]
        assert [each.plan.step for each in planned if each.plan] == ["start"] * 3
        assert paid(server) == 0
        ran = [each async for each in a2e.batch(made, limit=2)]
        errors = [each.error for each in ran if each.error is not None]
        assert [type(error) for error in errors] == [InvalidInput]  # the same stream twice
        assert (len(server.tasks), len(server.presigned)) == (3, 3)
        assert open_files_below(spools) == []
        again = [each async for each in a2e.batch(made[:1])]
        assert "A stream can be read once" in str(again[0].error)
    assert (len(server.tasks), len(server.presigned)) == (3, 3)


async def test_other_methods_take_files(server: AccountServer, spools: Path) -> None:
    async with client(server, None) as a2e:
        urls = {
            await a2e.files.upload(source)
            for source in (SOUND, io.BytesIO(SOUND), Upload(), stream())
        }
        assert len(urls) == len(server.presigned) == 1
        assert await a2e.files.upload("https://h.example/a b.mp4") == "https://h.example/a%20b.mp4"
        with pytest.raises(InvalidInput, match="image is required"):
            await a2e.backgrounds.add(stream())
        with pytest.raises(InvalidInput, match="cannot be read"):
            await a2e.files.upload("no/such/file.mp4")
    assert len(server.presigned) == 1
    assert open_files_below(spools) == []
