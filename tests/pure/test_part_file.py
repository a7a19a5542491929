"""The part file: its ownership, what is resumed of it, and its final name."""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async._core.files import part_file
from a2e_async._core.files.part_file import PartFile, url_digest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no part is shared there")

URL = "https://m.example/a.mp4"
SIGNED = f"{URL}?X-Amz-Signature=1&X-Amz-Date=20260101T000000Z"
DIGEST = url_digest(URL)

Notes = dict[int, dict[str, bytes]]


@pytest.fixture(autouse=True)
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    """Keep extended attributes in memory: not every file system supports them."""
    kept: Notes = {}

    def of(fd: int) -> dict[str, bytes]:
        return kept.setdefault(os.fstat(fd).st_ino, {})

    def read(fd: int, name: str) -> bytes:
        if name not in of(fd):
            raise OSError(errno.ENODATA, "no such note")
        return of(fd)[name]

    def remove(fd: int, name: str) -> None:
        if of(fd).pop(name, None) is None:
            raise OSError(errno.ENODATA, "no such note")

    monkeypatch.setattr(os, "setxattr", lambda fd, name, value: of(fd).update({name: value}), False)
    monkeypatch.setattr(os, "getxattr", read, False)
    monkeypatch.setattr(os, "removexattr", remove, False)
    monkeypatch.setattr(part_file, "_boot_id", lambda: "boot1")
    return kept


@pytest.fixture
def opened() -> Iterator[list[PartFile]]:
    """Close the part files that a test opened."""
    made: list[PartFile] = []
    yield made
    for part in made:
        part.close(keep=True)


class Disk:
    """A directory and the parts that are open in it."""

    def __init__(self, directory: Path, opened: list[PartFile]) -> None:
        self.directory = directory
        self.opened = opened

    def part(self, name: str = "a.mp4", url: str = URL, *, file: bool = False) -> PartFile:
        part = PartFile(self.directory, name, url)
        part.open(target_is_file=file)
        self.opened.append(part)
        return part

    def names(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def disk(tmp_path: Path, opened: list[PartFile]) -> Disk:
    return Disk(tmp_path / "results" / "of today", opened)


def test_a_part_is_hidden_and_named_after_its_file_and_url(disk: Disk) -> None:
    part = disk.part(url=SIGNED)
    assert disk.names() == [f".a.mp4.{DIGEST}.part"]
    assert part.path == disk.directory / disk.names()[0]
    assert (part.size, part.validator) == (0, None)
    assert len(DIGEST) == 12
    assert url_digest(SIGNED) == DIGEST != url_digest(f"{URL}x")
    assert url_digest("https://m.example/\ud800")
    assert not stat.S_IMODE(part.path.stat().st_mode) & 0o111


def test_a_long_name_is_cut_between_characters(disk: Disk) -> None:
    disk.part("é" * 120)
    assert disk.names() == [f".{'é' * 100}.{DIGEST}.part"]
    disk.part("x" + "é" * 120, f"{URL}x")
    assert f".x{'é' * 99}.{url_digest(f'{URL}x')}.part" in disk.names()


def test_blocks_are_appended_in_order(disk: Disk) -> None:
    part = disk.part()
    part.write([b"one", b"", b"two"], None)
    part.write([b"three"], None)
    part.write([], None)
    assert part.path.read_bytes() == b"onetwothree"
    assert part.size == 11
    assert part.head(4) == b"onet"
    assert part.head(100) == b"onetwothree"
    part.write([b"!"], None)
    assert part.path.read_bytes() == b"onetwothree!"


@pytest.mark.parametrize("most", [1, 3, 4, 1000])
def test_a_disk_that_takes_little_at_once_gets_all(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    calls: list[int] = []

    def some(fd: int, blocks: Any) -> int:
        calls.append(len(blocks))
        return os.write(fd, b"".join(bytes(block) for block in blocks)[:most])

    monkeypatch.setattr(os, "writev", some, False)
    blocks = [bytes([65 + n % 26]) * (n % 5) for n in range(600)]
    part = disk.part()
    part.write(blocks, None)
    assert part.path.read_bytes() == b"".join(blocks)
    assert part.size == sum(map(len, blocks))
    assert max(calls) == 512


def test_where_only_one_block_can_be_written_at_once(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "writev", raising=False)
    part = disk.part()
    part.write([b"one", b"two"], None)
    assert part.path.read_bytes() == b"onetwo"


# -- the next run --------------------------------------------------------------------------------


def test_a_part_with_a_validator_is_resumed(disk: Disk) -> None:
    part = disk.part()
    part.write([b"half"], '"v1"')
    assert part.validator == '"v1"'
    part.close(keep=True)
    again = disk.part(url=SIGNED)
    assert (again.path, again.size, again.validator) == (part.path, 4, '"v1"')
    again.write([b"more"], '"v1"')
    assert again.path.read_bytes() == b"halfmore"


def test_the_note_is_written_once(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    remember = part_file._store_validator
    monkeypatch.setattr(
        part_file,
        "_store_validator",
        lambda fd, value: (seen.append(value), remember(fd, value))[1],
    )
    part = disk.part()
    part.write([b"a"], '"v1"')
    part.write([b"b"], '"v1"')
    part.write([b"c"], '"v2"')
    assert seen == ['"v1"', '"v2"']


def test_a_validator_with_spaces_comes_back(disk: Disk) -> None:
    part = disk.part()
    part.write([b"half"], "Fri, 20 Nov 2026 12:00:30 GMT")
    part.close(keep=True)
    assert disk.part().validator == "Fri, 20 Nov 2026 12:00:30 GMT"


def test_no_part_outlives_a_boot(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut can leave holes in the file."""
    part = disk.part()
    part.write([b"half"], '"v1"')
    part.close(keep=True)
    monkeypatch.setattr(part_file, "_boot_id", lambda: "boot2")
    again = disk.part()
    assert (again.size, again.validator, again.path.read_bytes()) == (0, None, b"")


def test_a_part_that_nothing_proves_is_begun_again(disk: Disk, notes: Notes) -> None:
    part = disk.part()
    part.write([b"half"], '"v1"')
    part.close(keep=True)
    notes.clear()
    again = disk.part()
    assert (again.size, again.validator, again.path.read_bytes()) == (0, None, b"")
    again.write([b"new"], None)
    assert again.path.read_bytes() == b"new"


def test_a_note_that_cannot_be_read_proves_nothing(disk: Disk, notes: Notes) -> None:
    part = disk.part()
    part.write([b"half"], '"v1"')
    part.close(keep=True)
    for kept in notes.values():
        kept.update(dict.fromkeys(kept, b"\xff\xfe"))
    assert disk.part().size == 0


@pytest.mark.parametrize("missing", [False, True])
def test_without_notes_no_part_is_kept(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(errno.ENOTSUP, "no notes here")

    for name in ("setxattr", "getxattr", "removexattr"):
        if missing:
            monkeypatch.delattr(os, name)
        else:
            monkeypatch.setattr(os, name, fails)
    part = disk.part()
    part.write([b"half"], '"v1"')
    assert part.validator is None
    part.close(keep=True)
    assert disk.names() == []
    part = disk.part()
    part.write([b"whole"], None)
    assert part.finish(lambda _: "a", replace=True).read_bytes() == b"whole"


def test_only_what_can_be_resumed_is_kept(disk: Disk) -> None:
    empty = disk.part()
    empty.close(keep=True)
    unproved = disk.part()
    unproved.write([b"half"], None)
    unproved.close(keep=True)
    unwanted = disk.part()
    unwanted.write([b"half"], '"v1"')
    unwanted.close(keep=False)
    forgotten = disk.part()
    forgotten.write([b"half"], '"v1"')
    forgotten.truncate()
    forgotten.close(keep=True)
    withdrawn = disk.part()
    withdrawn.write([b"half"], '"v1"')
    withdrawn.write([b"half"], None)
    withdrawn.close(keep=True)
    assert disk.names() == []


def test_the_version_of_discarded_bytes_is_not_left_beside_others(disk: Disk, notes: Notes) -> None:
    """A killed process closes nothing: what the file says of itself has to be true at any time."""
    part = disk.part()
    part.write([b"half"], '"v1"')
    part.truncate()
    part.write([b"other"], None)
    assert notes[part.path.stat().st_ino] == {}


def test_a_part_is_let_go_once(disk: Disk) -> None:
    part = disk.part()
    part.write([b"half"], '"v1"')
    part.close(keep=True)
    assert part._fd == -1
    other = os.open(disk.directory, os.O_RDONLY)  # takes the number that is free now
    part.close(keep=False)
    os.close(other)
    assert len(disk.names()) == 1


def test_a_part_that_was_removed_meanwhile_is_still_closed(disk: Disk) -> None:
    part = disk.part()
    part.path.unlink()
    part.close(keep=False)
    assert part._fd == -1


# -- two writers ---------------------------------------------------------------------------------


def test_a_second_writer_has_a_part_of_its_own(disk: Disk) -> None:
    first, second = disk.part(), disk.part()
    assert first.path != second.path
    assert second.path.name.startswith(f".a.mp4.{DIGEST}.")
    assert len(second.path.name) == len(first.path.name) + 9
    assert second.path.suffix == ".part"
    assert not stat.S_IMODE(second.path.stat().st_mode) & 0o111
    second.write([b"half"], '"v1"')
    second.close(keep=True)  # nobody would find it
    assert disk.names() == [first.path.name]
    first.write([b"half"], '"v1"')
    first.close(keep=True)
    assert disk.part().size == 4


def test_without_locks_each_writer_has_its_own(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_file, "fcntl", None)
    monkeypatch.setattr(part_file, "_CAN_LOCK", False)
    part = disk.part()
    assert part.path.name != f".a.mp4.{DIGEST}.part"
    part.write([b"half"], '"v1"')
    part.close(keep=True)
    assert disk.names() == []
    part = disk.part()
    part.write([b"whole"], None)
    target = part.finish(lambda _: "a", replace=True)
    assert part._fd == -1
    assert target.read_bytes() == b"whole"


@pytest.mark.parametrize("what", ["directory", "pipe", "link", "loop"])
def test_other_files_with_the_name_of_a_part_are_not_touched(disk: Disk, what: str) -> None:
    disk.directory.mkdir(parents=True)
    path = disk.directory / f".a.mp4.{DIGEST}.part"
    if what == "directory":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(disk.directory / "victim" if what == "link" else path)
        if what == "link":
            (disk.directory / "victim").write_bytes(b"mine")
    before = path.lstat()
    part = disk.part()
    assert part.path != path
    part.write([b"data"], '"v1"')
    part.close(keep=False)
    assert path.lstat() == before or what == "directory"
    if what == "link":
        assert (disk.directory / "victim").read_bytes() == b"mine"


def test_a_part_of_another_user_is_not_touched(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    part = disk.part()
    part.write([b"half"], '"v1"')
    part.close(keep=True)
    monkeypatch.setattr(os, "geteuid", lambda: part.path.stat().st_uid + 1)
    mine = disk.part()
    assert mine.path != part.path
    mine.close(keep=False)
    assert part.path.read_bytes() == b"half"


def test_an_error_of_the_disk_is_raised(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="full"):
        disk.part()


def open_files() -> int:
    """Return how many files this process has open, 0 where that is unknown."""
    fd_directory = Path("/proc/self/fd")
    return len(list(fd_directory.iterdir())) if fd_directory.exists() else 0


@pytest.mark.parametrize("times", [1, 7, 8])
def test_a_part_that_is_renamed_while_it_is_taken_is_not_written(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Its owner may have finished it between open and lock: then the file is complete."""
    path = disk.directory / f".a.mp4.{DIGEST}.part"
    done = [disk.directory / f"done{n}" for n in range(times)]
    remaining = list(done)
    flock = part_file.fcntl.flock

    def slow(fd: int, how: int) -> None:
        assert how == part_file.fcntl.LOCK_EX | part_file.fcntl.LOCK_NB
        if remaining:
            path.rename(remaining.pop())
        flock(fd, how)

    monkeypatch.setattr(part_file.fcntl, "flock", slow)
    before = open_files()
    part = disk.part()
    assert open_files() == before + (1 if before else 0)
    assert (part.path == path) is (times < 8)
    part.write([b"data"], None)
    assert [one.read_bytes() for one in done] == [b""] * times


def test_a_part_that_is_replaced_while_it_is_taken_is_taken_again(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = disk.directory / f".a.mp4.{DIGEST}.part"
    flock, calls = part_file.fcntl.flock, []

    def slow(fd: int, how: int) -> None:
        if not calls:
            path.rename(disk.directory / "done")
            path.write_bytes(b"")
        calls.append(how)
        flock(fd, how)

    monkeypatch.setattr(part_file.fcntl, "flock", slow)
    part = disk.part()
    part.write([b"data"], None)
    assert (len(calls), part.path) == (2, path)
    assert path.read_bytes() == b"data"


# -- the end -------------------------------------------------------------------------------------


def test_the_first_bytes_choose_the_name(disk: Disk) -> None:
    part = disk.part()
    part.write([b"x" * 511 + b"yz"], '"v1"')
    heads: list[bytes] = []
    target = part.finish(lambda head: heads.append(head) or "in/deep/b.mp4", replace=True)
    assert heads == [b"x" * 511 + b"y"]
    assert target == disk.directory / "in" / "deep" / "b.mp4"
    assert target.read_bytes() == b"x" * 511 + b"yz"
    assert disk.names() == ["in"]
    assert part._fd == -1
    part.close(keep=False)
    assert target.exists()


def test_a_finished_file_has_no_note(disk: Disk, notes: Notes) -> None:
    part = disk.part()
    part.write([b"data"], '"v1"')
    assert any(notes.values())
    part.finish(lambda _: "a.mp4", replace=False)
    assert not any(notes.values())


@pytest.mark.parametrize("links", [True, False])
def test_a_taken_name_is_not_touched(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    for n, name in enumerate(["a.mp4", f"a-{full_url_digest(URL)}.mp4"]):
        part = disk.part()
        part.write([b"%d" % n], None)
        assert part.finish(lambda _: "a.mp4", replace=False) == disk.directory / name
    assert disk.names() == sorted(["a.mp4", f"a-{full_url_digest(URL)}.mp4"])
    assert (disk.directory / "a.mp4").read_bytes() == b"0"
    part = disk.part()
    part.write([b"new"], None)
    assert part.finish(lambda _: "a.mp4", replace=True).read_bytes() == b"new"
    assert len(disk.names()) == 2


def no_links(*_: Any) -> None:
    raise OSError(errno.EPERM, "no links here")


def full_url_digest(url: str) -> str:
    """Return the digest of a URL with its signature, as in names made unique."""
    return part_file._short_digest(url)


def test_a_file_is_synced_before_it_has_its_name(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[bool, list[str]]] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append((stat.S_ISDIR(os.fstat(fd).st_mode), disk.names()))
    )
    part = disk.part()
    part.write([b"data"], None)
    part.finish(lambda _: "a.mp4", replace=True)
    assert synced == [(False, [f".a.mp4.{DIGEST}.part"]), (True, ["a.mp4"])]


def test_a_file_that_cannot_be_synced_is_not_resumed(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state on disk is unknown."""

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "lost")

    part = disk.part()
    part.write([b"data"], '"v1"')
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="lost"):
        part.finish(lambda _: "a.mp4", replace=True)
    part.close(keep=True)
    assert disk.names() == []


@pytest.mark.parametrize("ended", [True, False])
def test_a_failure_of_an_early_sync_is_not_forgotten(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """The system reports it once: the sync at the end may succeed."""

    def fails(_: int) -> None:
        raise OSError(errno.EIO, "lost")

    part = disk.part()
    part.write([b"data"], '"v1"')
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fails)
        part.sync()
    if ended:
        with pytest.raises(OSError, match="lost"):
            part.finish(lambda _: "a.mp4", replace=True)
    part.close(keep=True)
    assert disk.names() == []


def test_a_directory_that_cannot_be_synced_costs_nothing(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def fails(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not here")
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fails)
    part = disk.part()
    part.write([b"data"], None)
    assert part.finish(lambda _: "a.mp4", replace=True).read_bytes() == b"data"


@pytest.mark.parametrize("when", ["opened", "finished"])
def test_what_a_rename_would_destroy_is_refused(disk: Disk, when: str) -> None:
    disk.directory.mkdir(parents=True)
    (disk.directory / "dir").mkdir()
    os.mkfifo(disk.directory / "pipe")
    (disk.directory / "file").write_bytes(b"old")
    for name, code in (("dir", errno.EISDIR), ("pipe", errno.EINVAL)):
        with pytest.raises(OSError) as caught:
            end(disk, name, when)
        assert caught.value.errno == code
        assert caught.value.strerror in (os.strerror(errno.EISDIR), "it is not a regular file")
    assert isinstance(end(disk, "file", when), Path)
    assert end(disk, "new", when).read_bytes() == b"data"
    assert (disk.directory / "file").read_bytes() == b"data"


def end(disk: Disk, name: str, when: str) -> Path:
    """Write a file over what has its name."""
    part = disk.part(name, file=when == "opened")
    part.write([b"data"], None)
    return part.finish(lambda _: name, replace=True)


def test_a_directory_may_have_the_name_that_is_not_its_target(disk: Disk) -> None:
    """Where the name is chosen later, what is there now does not count."""
    (disk.directory / "a.mp4").mkdir(parents=True)
    assert disk.part().path.name == f".a.mp4.{DIGEST}.part"


def test_the_boot_is_known_or_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    boot = part_file._boot_id.__wrapped__
    assert boot() == boot()
    assert " " not in boot()

    def fails(*_: Any, **__: Any) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", fails)
    assert boot() == "-"
