"""Transfers in a process with a low limit of open files."""

import asyncio
import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from a2e_async._core.files.part_file import PartFile
from a2e_async.errors import TransferError

from .conftest import Fault, Kit, Store, content, open_files_below, out, parts

pytestmark = pytest.mark.anyio

DATA = content(100_000)
SCRIPT = """
import asyncio, pathlib, resource, sys
from a2e_async._core.files.download import Downloader, FileSession
from a2e_async.models import Output

async def main():
    files = FileSession()
    down = Downloader(files, None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    names = [f"{n}.mp4" for n in range(100)]
    outputs = [Output(url=f"{sys.argv[1]}/{n}", source=down) for n in names]
    saves = [out.save(pathlib.Path(sys.argv[2], name)) for out, name in zip(outputs, names)]
    done = await asyncio.gather(*saves, return_exceptions=True)
    await files.aclose()
    for error in [each for each in done if isinstance(each, Exception)]:
        print(error)

asyncio.run(main())
"""


def fails(monkeypatch: pytest.MonkeyPatch, times: int, code: int) -> list[PartFile]:
    """Let the first ``times`` parts fail to open; return those that were tried."""
    real, tried = PartFile.open, list[PartFile]()

    def open_part(part: PartFile, **options: Any) -> None:
        tried.append(part)
        if len(tried) <= times:
            raise OSError(code, os.strerror(code))
        real(part, **options)

    monkeypatch.setattr(PartFile, "open", open_part)
    return tried


@pytest.mark.skipif(sys.platform == "win32", reason="needs a process with a limit of files")
async def test_many_saves_and_few_files(store: Store, tmp_path: Path) -> None:
    for n in range(100):
        store.put(f"/{n}.mp4", DATA)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, store.url, tmp_path, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    assert said.decode() == ""
    assert child.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"{n}.mp4" for n in range(100)}


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
async def test_too_many_open_files_is_tried_again(
    store: Store, kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    url = store.put("/a.mp4", DATA)
    fails(monkeypatch, 2, code)
    await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert (tmp_path / "a.mp4").read_bytes() == DATA
    assert kit.pauses == [0.5, 1.0]


async def test_too_many_open_files_ends_some_time(
    store: Store, kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = store.put("/a.mp4", DATA)
    tried = fails(monkeypatch, 100, errno.EMFILE)
    with pytest.raises(TransferError, match=os.strerror(errno.EMFILE)) as caught:
        await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert caught.value.path == str(tmp_path / "a.mp4")
    assert len(tried) == 6
    assert store.seen == []
    assert kit.files.transfer_slots._value == kit.files.max_parallel


async def test_no_more_parts_are_open_than_transfers(
    store: Store, kit: Kit, tmp_path: Path
) -> None:
    store.always = Fault(hang=True)
    kit.files.transfer_slots = asyncio.Semaphore(3)
    url = store.put("/a.mp4", DATA)
    saves = [
        asyncio.create_task(kit.down.save(out(url), tmp_path / str(n), directory=False))
        for n in range(9)
    ]
    while len(store.seen) < 3:
        await asyncio.sleep(0)
    assert len(parts(tmp_path)) == 3
    store.release.set()
    await asyncio.gather(*saves)
    assert len(list(tmp_path.iterdir())) == 9
    assert open_files_below(tmp_path) == []
