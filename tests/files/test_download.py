"""Downloads from a store that truncates, misreports, expires and changes files."""

import asyncio
import contextlib
import errno
import gzip
import os
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from a2e_async._core.files import part_file
from a2e_async._core.files.download import Downloader, FileSession
from a2e_async.errors import (
    ClientClosed,
    ConfigurationError,
    InvalidInput,
    OutputTooLarge,
    TransferError,
)
from a2e_async.events import Saved, Transfer
from a2e_async.models import Output

from .conftest import Fault, Kit, Store, content, open_files_below, out, parts

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
DATA = content(3 * MIB + 777)


async def fetch(kit: Kit, url: str, path: str | os.PathLike[str]) -> Path:
    """Download a URL that belongs to no task."""
    return await Output(url=url, source=kit.down).save(path)


def ranges(store: Store) -> list[str | None]:
    return [s.headers.get("Range") for s in store.seen]


async def test_save_writes_all_and_reports(store: Store, kit: Kit, tmp_path: Path) -> None:
    url = store.put("/a.mp4", DATA)
    target = tmp_path / "new" / "er" / "a.mp4"
    assert await kit.down.save(out(url), target, directory=False) == target
    assert target.read_bytes() == DATA
    assert parts(target.parent) == []
    moves = [e for e in kit.events if isinstance(e, Transfer)]
    assert (moves[-1].done, moves[-1].total, moves[-1].name) == (len(DATA), len(DATA), "a.mp4")
    assert [m.done for m in moves] == sorted({m.done for m in moves})
    assert len(moves) <= len(DATA) // (256 * 1024) + 1
    assert kit.events[-1] == Saved(path=str(target), size=len(DATA), ref="dubbing:66ea4dd8aa")


async def test_nothing_of_the_user_leaves(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    store.put("/b", DATA)
    store.faults.extend(
        [Fault(status=302, headers={"Location": "/b?x=1", "Set-Cookie": "a=b"}), None]
    )
    url = store.put("/a", DATA).replace("http://", "http://me:secret@")
    files = FileSession(trust_env=True)
    assert await Downloader(files, None).read(out(url), 2**30) == DATA
    await files.aclose()
    assert [s.path for s in store.seen] == ["/a", "/b?x=1"]
    for seen in store.seen:
        names = {n.lower() for n in seen.headers}
        assert not names & {"authorization", "cookie", "x-lang"}


async def test_too_many_redirects(store: Store, kit: Kit) -> None:
    url = store.put("/a", DATA)
    store.always = Fault(status=302, headers={"Location": "/a"})
    with pytest.raises(TransferError, match="redirects more than 5 times"):
        await kit.down.read(out(url), 2**30)
    assert len(store.seen) == 6


async def test_the_url_is_sent_as_spelled(store: Store, kit: Kit) -> None:
    store.put("/a b", b"\0")
    await kit.down.read(out(f"{store.url}/a%20b?sig=a%2Fb%7E+c"), 10)
    assert store.seen[0].path == "/a%20b?sig=a%2Fb%7E+c"


async def test_cut_many_times_resumes_at_the_byte(store: Store, kit: Kit, tmp_path: Path) -> None:
    url = store.put("/a.mp4", DATA)
    store.faults.extend(Fault(cut=MIB // 4) for _ in range(9))
    target = await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert target.read_bytes() == DATA
    offsets = [int(r.removeprefix("bytes=")[:-1]) for r in ranges(store)[1:] if r]
    assert offsets == [MIB // 4 * n for n in range(1, 10)]
    assert all("If-Range" in s.headers for s in store.seen[1:])


async def test_no_progress_gives_up_after_six_and_keeps_the_part(
    store: Store, kit: Kit, tmp_path: Path
) -> None:
    url = store.put("/a.mp4", DATA)
    store.faults.append(Fault(cut=MIB))
    store.always = Fault(cut=0)
    with pytest.raises(TransferError, match="6 failed attempts in a row") as caught:
        await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert caught.value.done == MIB
    assert kit.pauses == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert [p.stat().st_size for p in parts(tmp_path)] == [MIB]
    assert open_files_below(tmp_path) == []
    store.always = None
    await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert (tmp_path / "a.mp4").read_bytes() == DATA
    assert ranges(store)[-1] == f"bytes={MIB}-"


async def test_server_without_ranges_starts_over(store: Store, kit: Kit, tmp_path: Path) -> None:
    url = store.put("/a.mp4", DATA)
    store.ranges = False
    store.faults.extend([Fault(cut=2 * MIB), Fault(cut=MIB)])
    target = await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert target.read_bytes() == DATA


async def test_a_server_that_always_cuts_there_ends(store: Store, kit: Kit) -> None:
    url = store.put("/a.mp4", DATA)
    store.ranges, store.always = False, Fault(cut=MIB)
    with pytest.raises(TransferError, match="6 failed attempts"):
        await kit.down.read(out(url), 2**30)
    assert len(store.seen) == 6


@pytest.mark.parametrize("honest", [True, False])
async def test_changed_in_the_middle_is_never_mixed(
    store: Store, kit: Kit, tmp_path: Path, honest: bool
) -> None:
    url = store.put("/a.mp4", DATA)
    new = content(3 * MIB, seed=8)
    store.faults.append(Fault(cut=2 * MIB))
    if not honest:  # ignores If-Range and sends the rest of another file
        store.faults.append(
            Fault(
                status=206,
                headers={
                    "Content-Range": f"bytes {2 * MIB}-{3 * MIB - 1}/{3 * MIB}",
                    "ETag": '"new"',
                    "Content-Type": "video/mp4",
                },
                body=new[2 * MIB :],
            )
        )
    store.always = Fault(data=new, etag='"new"')
    target = await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert target.read_bytes() == new


@pytest.mark.parametrize("said", ["bytes 5-9/10", "bytes x", "", "bytes 0-99/100"])
async def test_wrong_range_is_not_appended(
    store: Store, kit: Kit, tmp_path: Path, said: str
) -> None:
    url = store.put("/a.mp4", DATA)
    headers = {"Content-Range": said, "Content-Type": "video/mp4"}
    store.faults.extend([Fault(cut=MIB), Fault(status=206, headers=headers, body=b"junk!")])
    target = await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert target.read_bytes() == DATA
    assert ranges(store)[-1] is None


async def test_expired_is_renewed_and_goes_on(store: Store, kit: Kit, tmp_path: Path) -> None:
    url = store.put("/a.mp4", DATA)
    store.faults.extend([Fault(cut=MIB), Fault(status=403)])
    kit.fresh = [url + "?sig=2"]
    target = await kit.down.save(out(url + "?sig=1"), tmp_path / "a.mp4", directory=False)
    assert target.read_bytes() == DATA
    assert kit.renewed == [url + "?sig=1"]
    assert (store.seen[-1].path, ranges(store)[-1]) == ("/a.mp4?sig=2", f"bytes={MIB}-")


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_gone_for_good(store: Store, kit: Kit, status: int) -> None:
    url = store.put("/a.mp4", DATA)
    store.always = Fault(status=status, body=b"<Error><Code>NoSuchKey</Code><Sign>s3cret</Sign>")
    kit.fresh = [url + "?sig=1"]
    with pytest.raises(TransferError, match=r"no longer available.*NoSuchKey") as caught:
        await kit.down.read(out(url + "?sig=1"), 2**30)
    assert (caught.value.http_status, caught.value.url) == (status, url)
    assert "s3cret" not in str(caught.value)
    assert "sig" not in str(caught.value)


async def test_at_most_three_renewals(store: Store, kit: Kit) -> None:
    url = store.put("/a.mp4", DATA)
    store.always = Fault(status=403)
    kit.fresh = [f"{url}?{n}" for n in range(9)]
    with pytest.raises(TransferError, match="3 fresh URLs were refused"):
        await kit.down.read(out(url), 2**30)
    assert (len(kit.renewed), len(store.seen)) == (3, 4)


async def test_errors_of_the_renewal_pass(store: Store, kit: Kit, tmp_path: Path) -> None:
    store.always = Fault(status=403)
    kit.fresh = [ClientClosed("closed")]
    with pytest.raises(ClientClosed):
        await kit.down.save(out(store.url + "/a"), tmp_path / "a", directory=False)
    assert list(tmp_path.iterdir()) == []


async def test_busy_store(store: Store, kit: Kit) -> None:
    url = store.put("/a.mp4", DATA)
    store.faults.extend(
        [
            Fault(status=503),
            Fault(status=429, headers={"Retry-After": "7"}),
            Fault(status=500, headers={"Retry-After": "9999"}),
        ]
    )
    assert await kit.down.read(out(url), 2**30) == DATA
    assert kit.pauses == [0.5, 7.0, 60.0]


async def test_a_pause_may_be_asked_for_until_a_date(store: Store, kit: Kit) -> None:
    url = store.put("/a.mp4", DATA)
    dates = {
        "Date": "Mon, 12 Jan 2026 08:00:00 GMT",
        "Retry-After": "Mon, 12 Jan 2026 08:00:07 GMT",
    }
    store.faults.append(Fault(status=503, headers=dates))
    assert await kit.down.read(out(url), 2**30) == DATA
    assert kit.pauses == [7.0]


async def test_web_page_for_media(store: Store, kit: Kit, tmp_path: Path) -> None:
    url = store.put("/a.mp4", b"<html>sign in</html>", "text/html; charset=utf-8")
    kit.fresh = [url]
    with pytest.raises(TransferError, match="web page where a video was expected"):
        await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert list(tmp_path.iterdir()) == []
    page = store.put("/a.html", b"<html>sign in</html>", "text/html")
    assert await kit.down.read(out(page, "file"), 99) == b"<html>sign in</html>"


@pytest.mark.parametrize("chunked", [True, False])
async def test_empty_is_refused(store: Store, kit: Kit, tmp_path: Path, chunked: bool) -> None:
    url = store.put("/a.mp4", b"")
    store.no_length = chunked
    kit.fresh = [url]
    with pytest.raises(TransferError, match="is empty"):
        await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert list(tmp_path.iterdir()) == []


async def test_without_a_length(store: Store, kit: Kit) -> None:
    url = store.put("/a.mp4", DATA)
    store.no_length = True
    store.faults.append(Fault(cut=MIB))
    assert await kit.down.read(out(url), 2**30) == DATA


@pytest.mark.parametrize("outcome", ["saved", "early sync fails", "cut off"])
async def test_a_large_file_is_flushed_to_disk_while_it_is_read(
    store: Store, kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """And no thread uses the file any more when the download has ended."""
    monkeypatch.setattr("a2e_async._core.files.download._SYNC_EVERY", MIB)
    data, fsync, synced = content(6 * MIB), os.fsync, list[int]()
    url = store.put("/out.mp4", data)

    def sync(fd: int) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            synced.append(fd)
            if outcome == "early sync fails" and len(synced) == 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", sync)
    if outcome == "cut off":
        store.always = Fault(cut=5 * MIB, headers={"ETag": ""}, ignore_range=True)
    save = kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    if outcome == "saved":
        assert (await save).read_bytes() == data
        assert len(synced) >= 2, "not only at the end"
    else:
        with pytest.raises(TransferError):
            await save
        assert not (tmp_path / "a.mp4").exists()
    assert synced
    assert open_files_below(tmp_path) == []


async def test_stalled_answers_are_tried_again(store: Store, kit: Kit) -> None:
    url = store.put("/a.mp4", DATA)
    kit.files.stall_timeout = 0.05
    store.faults.append(Fault(hang=True))
    assert await kit.down.read(out(url), 2**30) == DATA
    assert len(store.seen) == 2


async def test_store_that_encodes_anyway(store: Store, kit: Kit, tmp_path: Path) -> None:
    packed = gzip.compress(bytes(3 * MIB) + DATA, 1)
    url = store.put("/a.mp4", packed)
    store.faults.append(Fault(cut=MIB, headers={"Content-Encoding": "gzip"}))
    store.always = Fault(headers={"Content-Encoding": "gzip"})
    target = await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert target.read_bytes() == bytes(3 * MIB) + DATA
    store.always = Fault(headers={"Content-Encoding": "gzip"}, data=packed[:-9])
    kit.fresh = [url]
    with pytest.raises(TransferError, match="damaged"):
        await kit.down.save(out(url), tmp_path / "b.mp4", directory=False)
    assert parts(tmp_path) == []


async def test_read_is_bounded(store: Store, kit: Kit) -> None:
    url = store.put("/a.mp4", DATA)
    with pytest.raises(OutputTooLarge, match="more than 1,000 bytes"):
        await kit.down.read(out(url), 1000)
    store.no_length = True
    with pytest.raises(OutputTooLarge, match="more than 1,000 bytes"):
        await kit.down.read(out(url), 1000)
    assert kit.files.transfer_slots._value == kit.files.max_parallel


async def test_open_repairs_cuts_even_without_ranges(store: Store, kit: Kit) -> None:
    url = store.put("/a.mp4", DATA)
    for with_ranges in (True, False):
        store.ranges = with_ranges
        store.faults.extend([Fault(cut=MIB), Fault(cut=2 * MIB)])
        got = bytearray()
        async with kit.down.open(out(url)) as chunks:
            async for chunk in chunks:
                got += chunk
        assert bytes(got) == DATA


async def test_open_never_mixes_two_files(store: Store, kit: Kit) -> None:
    url = store.put("/a.mp4", DATA)
    for with_ranges in (True, False):
        store.ranges = with_ranges
        store.faults.extend([Fault(cut=MIB), Fault(data=content(3 * MIB, 9))])
        async with kit.down.open(out(url)) as chunks:
            with pytest.raises(TransferError, match="changed while it was being read"):
                [chunk async for chunk in chunks]


async def test_open_does_not_hold_a_place(store: Store, kit: Kit) -> None:
    url = store.put("/a.mp4", DATA)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(kit.files.max_parallel + 2):
            await stack.enter_async_context(kit.down.open(out(url)))
        assert await kit.down.read(out(url), 2**30) == DATA


# -- parts and targets -----------------------------------------------------------------------


async def test_a_later_client_resumes(store: Store, kit: Kit, tmp_path: Path) -> None:
    url = store.put("/a.mp4", DATA)
    store.faults.append(Fault(cut=2 * MIB))
    store.always = Fault(cut=0)
    with pytest.raises(TransferError):
        await kit.down.save(out(url + "?sig=1"), tmp_path / "a.mp4", directory=False)
    store.always = None
    other = FileSession()
    target = await Downloader(other, None).save(
        out(url + "?sig=2"), tmp_path / "a.mp4", directory=False
    )
    await other.aclose()
    assert target.read_bytes() == DATA
    assert ranges(store)[-1] == f"bytes={2 * MIB}-"
    assert parts(tmp_path) == []


def _leave_part(directory: Path, url: str, data: bytes) -> None:
    part = part_file.PartFile(directory, "a.mp4", url)
    part.open(target_is_file=True)
    part.write([data], '"earlier"')
    part.close(keep=True)


@pytest.mark.parametrize("data", [DATA, DATA + b"more", DATA[:MIB]])
async def test_complete_and_overlong_parts(
    store: Store, kit: Kit, tmp_path: Path, data: bytes
) -> None:
    url = store.put("/a.mp4", DATA)
    _leave_part(tmp_path, url, data)
    target = await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert target.read_bytes() == DATA
    assert parts(tmp_path) == []


async def test_a_shorter_file_is_not_taken_for_what_was_read(
    store: Store, kit: Kit, tmp_path: Path
) -> None:
    """A store may refuse the range of a newer file without comparing the version first."""
    url = store.put("/a.mp4", DATA)
    shorter = content(MIB, seed=8)
    refusal = {"Content-Range": f"bytes */{MIB}", "ETag": '"newer"'}
    store.faults.extend([Fault(cut=MIB), Fault(status=416, headers=refusal), Fault(data=shorter)])
    target = await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert target.read_bytes() == shorter


async def test_parallel_saves_to_one_path(store: Store, kit: Kit, tmp_path: Path) -> None:
    url = store.put("/a.mp4", DATA)
    store.faults.extend([Fault(cut=MIB), None, Fault(cut=100), Fault(cut=0)])
    saves = [kit.down.save(out(url), tmp_path / "a.mp4", directory=False) for _ in range(12)]
    await asyncio.gather(*saves)
    assert (tmp_path / "a.mp4").read_bytes() == DATA
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_a_part_renamed_between_open_and_lock_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    _leave_part(tmp_path, "http://h/a", b"complete")
    [left] = parts(tmp_path)
    real = fcntl.flock

    def renamed_meanwhile(fd: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        left.replace(tmp_path / "a.mp4")
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", renamed_meanwhile)
    part = part_file.PartFile(tmp_path, "a.mp4", "http://h/a")
    part.open(target_is_file=True)
    assert part.size == 0
    part.write([b"new"], None)
    part.close(keep=False)
    assert (tmp_path / "a.mp4").read_bytes() == b"complete"


async def test_directory_targets(store: Store, kit: Kit, tmp_path: Path) -> None:
    wav = b"RIFF\x24\0\0\0WAVEfmt "
    for path, data, mime, index, name in (
        ("/x", DATA, "video/mp4", 0, "dubbing-66ea4dd8aa.mp4"),
        ("/y.mp3", DATA, "binary/octet-stream", 1, "dubbing-66ea4dd8aa-1.mp3"),
        ("/z", wav, "application/octet-stream", 2, "dubbing-66ea4dd8aa-2.wav"),
    ):
        url = store.put(path, data, mime)
        saved = await kit.down.save(out(url, "file", index=index), tmp_path, directory=True)
        assert saved == tmp_path / name
        assert saved.read_bytes() == data


async def test_downloads_without_ref_never_cover_each_other(
    store: Store, kit: Kit, tmp_path: Path
) -> None:
    urls = [store.put(f"/{n}/result.mp4", content(1000, n)) for n in range(3)]
    saved = await asyncio.gather(*(fetch(kit, url, tmp_path) for url in urls))
    assert len(set(saved)) == 3
    for n, path in enumerate(saved):
        assert path.read_bytes() == content(1000, n)
    again = await fetch(kit, urls[0], f"{tmp_path}/more/")
    assert again == tmp_path / "more" / "result.mp4"


async def test_a_url_that_cannot_be_renewed(store: Store, kit: Kit, tmp_path: Path) -> None:
    url = store.url + "/none"
    kit.fresh.append(url)  # a client returns an output without a task as it is
    with pytest.raises(TransferError, match="no longer available"):
        await fetch(kit, url, tmp_path / "x")
    assert kit.renewed == [url]


async def test_target_is_a_directory(store: Store, kit: Kit, tmp_path: Path) -> None:
    url = store.put("/a.mp4", DATA)
    with pytest.raises(TransferError, match=os.strerror(errno.EISDIR)):
        await kit.down.save(out(url), tmp_path, directory=False)
    (tmp_path / "file").touch()
    with pytest.raises(TransferError, match="cannot be written"):
        await kit.down.save(out(url), tmp_path / "file" / "a", directory=False)
    assert store.seen == []


@pytest.mark.parametrize("path", ["", "."])
async def test_a_path_without_a_name(store: Store, kit: Kit, path: str) -> None:
    url = store.put("/a.mp4", DATA)
    with pytest.raises(InvalidInput) as caught:
        await kit.down.save(out(url), Path(path), directory=False)
    assert caught.value.field == "path"
    with pytest.raises(InvalidInput):
        await fetch(kit, url, "")
    assert store.seen == []


@pytest.mark.skipif(sys.platform == "win32", reason="symlinks need a privilege there")
async def test_a_link_is_replaced_not_what_it_points_to(
    store: Store, kit: Kit, tmp_path: Path
) -> None:
    (tmp_path / "old").write_bytes(b"old")
    (tmp_path / "a.mp4").symlink_to(tmp_path / "old")
    await kit.down.save(out(store.put("/a.mp4", DATA)), tmp_path / "a.mp4", directory=False)
    assert not (tmp_path / "a.mp4").is_symlink()
    assert (tmp_path / "a.mp4").read_bytes() == DATA
    assert (tmp_path / "old").read_bytes() == b"old"


@pytest.mark.parametrize(("code", "kept"), [(errno.ENOSPC, 0), (errno.EIO, 1)])
async def test_disk_errors(
    store: Store,
    kit: Kit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kept: int,
) -> None:
    url = store.put("/a.mp4", DATA)
    real, calls = part_file._write_some, []

    def failing(fd: int, blocks: Any) -> int:
        calls.append(fd)
        if len(calls) > 1:
            raise OSError(code, os.strerror(code))
        return real(fd, [memoryview(blocks[0])[:1000]])

    monkeypatch.setattr(part_file, "_write_some", failing)
    with pytest.raises(TransferError, match=os.strerror(code)) as caught:
        await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert caught.value.path == str(tmp_path / "a.mp4")
    assert len(parts(tmp_path)) == kept
    assert open_files_below(tmp_path) == []
    assert kit.files.transfer_slots._value == kit.files.max_parallel
    monkeypatch.undo()
    await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert (tmp_path / "a.mp4").read_bytes() == DATA


async def test_short_writes_lose_nothing(
    store: Store, kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = part_file._write_some
    monkeypatch.setattr(
        part_file, "_write_some", lambda fd, blocks: real(fd, [memoryview(blocks[0])[:7001]])
    )
    url = store.put("/a.mp4", DATA)
    target = await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert target.read_bytes() == DATA


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process with a file size limit")
async def test_a_disk_that_really_is_full(store: Store, kit: Kit, tmp_path: Path) -> None:
    url = store.put("/a.mp4", DATA)
    script = (
        "import asyncio, pathlib, resource, sys\n"
        "from a2e_async.errors import TransferError\n"
        "from a2e_async.models import Output\n"
        "from a2e_async._core.files.download import Downloader, FileSession\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1500000, 1500000))\n"
        "async def main():\n"
        "    files = FileSession()\n"
        "    try:\n"
        "        await Output(url=sys.argv[1], source=Downloader(files, None)).save(sys.argv[2])\n"
        "    except TransferError as error:\n"
        "        print(error)\n"
        "    await files.aclose()\n"
        "asyncio.run(main())\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, url, tmp_path / "a.mp4", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    assert os.strerror(errno.EFBIG) in said.decode()
    assert list(tmp_path.iterdir()) == []


async def _kill_while_it_downloads(store: Store, url: str, path: Path) -> Path:
    """Return the part file of a process that was killed after 2 MiB of a response."""
    store.faults.append(Fault(cut=2 * MIB))
    store.faults.append(Fault(hang=True))
    script = (
        "import asyncio, sys\n"
        "from a2e_async._core.files.download import Downloader, FileSession\n"
        "from a2e_async.models import Output\n"
        "async def main():\n"
        "    output = Output(url=sys.argv[1], source=Downloader(FileSession(), None))\n"
        "    await output.save(sys.argv[2])\n"
        "asyncio.run(main())\n"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, url, path)
    while len(store.seen) < 2:
        await asyncio.sleep(0.01)
    child.kill()
    await child.wait()
    [left] = parts(path.parent)
    return left


async def test_a_killed_process_leaves_a_part_to_resume(
    store: Store, kit: Kit, tmp_path: Path
) -> None:
    url = store.put("/a.mp4", DATA)
    left = await _kill_while_it_downloads(store, url, tmp_path / "a.mp4")
    size = left.stat().st_size
    assert MIB <= size <= 2 * MIB
    assert left.read_bytes() == DATA[:size]
    await fetch(kit, url, tmp_path / "a.mp4")
    assert ranges(store)[-1] == f"bytes={size}-"
    assert (tmp_path / "a.mp4").read_bytes() == DATA


async def test_decoded_bytes_of_a_killed_process_are_not_resumed(
    store: Store, kit: Kit, tmp_path: Path
) -> None:
    """The store would continue with its compressed bytes at a position of the decoded ones."""
    url = store.put("/a.mp4", gzip.compress(DATA, 1))
    left = await _kill_while_it_downloads(store, url, tmp_path / "a.mp4")
    size = left.stat().st_size
    assert size >= MIB
    assert left.read_bytes() == DATA[:size]
    await fetch(kit, url, tmp_path / "a.mp4")
    assert ranges(store)[-1] is None
    assert (tmp_path / "a.mp4").read_bytes() == DATA


# -- cancelling and closing ------------------------------------------------------------------


async def _cancel_after(steps: int, task: "asyncio.Task[Any]") -> bool:
    for _ in range(steps):
        if task.done():
            return False
        await asyncio.sleep(0)
    return task.cancel()


async def test_cancelled_at_every_step(store: Store, kit: Kit, tmp_path: Path) -> None:
    small = DATA[: MIB + MIB // 2]
    url = store.put("/a.mp4", small)
    target = tmp_path / "a.mp4"
    step, ended = 0, False
    while not ended:
        task = asyncio.create_task(kit.down.save(out(url), target, directory=False))
        ended = not await _cancel_after(step, task)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert open_files_below(tmp_path) == []
        assert kit.files.transfer_slots._value == kit.files.max_parallel
        assert not target.exists() or target.read_bytes() == small
        size = sum(p.stat().st_size for p in parts(tmp_path))
        await asyncio.sleep(0)
        assert sum(p.stat().st_size for p in parts(tmp_path)) == size
        step += 1 if step < 40 else 7
        assert step < 20000
    assert await kit.down.save(out(url), target, directory=False) == target
    assert target.read_bytes() == small
    assert parts(tmp_path) == []


async def test_cancelled_by_a_scope(store: Store, kit: Kit, tmp_path: Path) -> None:
    url = store.put("/a.mp4", DATA)
    for step in range(0, 120, 3):

        async def end(scope: anyio.CancelScope, steps: int = step) -> None:
            for _ in range(steps):
                await asyncio.sleep(0)
            scope.cancel()

        with anyio.CancelScope() as scope:
            ending = asyncio.create_task(end(scope))
            await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
        await ending
        assert open_files_below(tmp_path) == []
        assert kit.files.transfer_slots._value == kit.files.max_parallel
    await kit.down.save(out(url), tmp_path / "a.mp4", directory=False)
    assert (tmp_path / "a.mp4").read_bytes() == DATA


async def test_cancel_waits_for_the_worker(
    store: Store, kit: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = store.put("/a.mp4", DATA)
    real, entered, go, ended = part_file._write_some, threading.Event(), threading.Event(), []

    def slow(fd: int, blocks: Any) -> int:
        entered.set()
        go.wait(10)
        ended.append(real(fd, blocks))
        return ended[-1]

    monkeypatch.setattr(part_file, "_write_some", slow)
    task = asyncio.create_task(kit.down.save(out(url), tmp_path / "a", directory=False))
    await asyncio.to_thread(entered.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended
    assert [p.stat().st_size for p in parts(tmp_path)] == [sum(ended)]
    assert open_files_below(tmp_path) == []


async def test_closing_ends_transfers(store: Store, kit: Kit, tmp_path: Path) -> None:
    url = store.put("/a.mp4", DATA)
    store.faults.append(Fault(hang=True))
    task = asyncio.create_task(kit.down.save(out(url), tmp_path / "a", directory=False))
    while not store.seen:
        await asyncio.sleep(0)
    await kit.files.aclose()
    with pytest.raises(ClientClosed):
        await task
    with pytest.raises(ClientClosed):
        await kit.down.read(out(url), 9)
    assert open_files_below(tmp_path) == []


async def test_not_from_another_loop(store: Store, kit: Kit) -> None:
    url = store.put("/a.mp4", b"\0")
    assert await kit.down.read(out(url), 9) == b"\0"

    def elsewhere() -> None:
        asyncio.run(kit.down.read(out(url), 9))

    with pytest.raises(ConfigurationError, match="another event loop"):
        await asyncio.to_thread(elsewhere)


async def test_parallel_transfers_are_bounded(store: Store, tmp_path: Path) -> None:
    url = store.put("/a.mp4", b"\0")
    store.always = Fault(hang=True)
    files = FileSession(max_parallel=3)
    down = Downloader(files, None)
    tasks = [asyncio.create_task(down.read(out(url), 9)) for _ in range(9)]
    while len(store.seen) < 3:
        await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(store.seen) == 3
    store.release.set()
    assert await asyncio.gather(*tasks) == [b"\0"] * 9
    await files.aclose()
