"""If nothing was sent, the key is free again and nothing is reserved, however it ended."""

import asyncio
import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async._core.journal.protocol import BeginResult, Entry, State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import TransferError
from tests.hostile import HostileServer, Step
from tests.laws.conftest import API_KEY, MakeClient
from tests.samples import SAMPLES

NOWHERE = "http://127.0.0.1:9"


class Interrupting(SqliteJournal):
    """Interrupts a start before or after its intent is on disk."""

    do: Callable[[], object] | None = None
    after: bool = False

    async def begin(self, entry: Entry) -> BeginResult:
        if entry.state is State.INTENT and not self.after:
            self._act()
        begun = await super().begin(entry)
        if entry.state is State.INTENT and self.after:
            self._act()
        return begun

    def _act(self) -> None:
        do, self.do = self.do, None
        if do is not None:
            do()


@pytest.fixture(autouse=True)
def unclosed_sessions_are_collected() -> Iterator[None]:
    """Collect sessions of closed loops now: their warnings would fail another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(3):
            gc.collect()


UNCLOSED = pytest.mark.filterwarnings(
    "ignore:Unclosed client session:ResourceWarning", "ignore:This A2E client:ResourceWarning"
)
"""The program ends without closing anything."""


def entries_in(path: Path) -> list[Entry]:
    """Return the entries in a journal file once all pending writes are done."""

    async def read() -> list[Entry]:
        journal = SqliteJournal(path)
        try:
            entries, _ = await journal.entries()
            return list(entries)
        finally:
            await journal.aclose()

    gc.collect()
    return asyncio.run(read())


def start(journal: SqliteJournal, key: str | None) -> Any:
    a2e = A2E(API_KEY, base_url=NOWHERE, journal=journal, trust_env=False)
    return a2e.dubbing.start(**SAMPLES["dubbing"], key=key)


async def speak(journal: SqliteJournal, key: str | None) -> Any:
    a2e = A2E(API_KEY, base_url=NOWHERE, journal=journal, trust_env=False)
    return await a2e.speech.say("Good morning.", tts_id="66ea4dd87db10c73fa29b5aa")


@UNCLOSED
@pytest.mark.parametrize("call", [start, speak])
@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("after", [False, True], ids=["before it is written", "after"])
def test_ctrl_c_under_asyncio_run(tmp_path: Path, call: Any, key: str | None, after: bool) -> None:
    """The runner cancels all tasks twice and does not wait for anything else."""
    journal = Interrupting(tmp_path / "jobs.db")
    journal.after = after
    journal.do = lambda: signal.raise_signal(signal.SIGINT)

    async def main() -> None:
        await call(journal, key)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert entries_in(tmp_path / "jobs.db") == []


@UNCLOSED
@pytest.mark.parametrize("call", [start, speak])
@pytest.mark.parametrize("after", [False, True], ids=["before it is written", "after"])
def test_an_error_that_ends_the_loop(tmp_path: Path, call: Any, after: bool) -> None:
    """Without a handler, Ctrl-C is raised in the start itself, and the loop is closed."""
    journal = Interrupting(tmp_path / "jobs.db")
    journal.after = after

    def interrupt() -> None:
        raise KeyboardInterrupt

    journal.do = interrupt
    loop = asyncio.new_event_loop()
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(call(journal, "k"))
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False
    loop.close()
    assert entries_in(tmp_path / "jobs.db") == []


CHILD = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.laws.test_before_it_is_sent import Interrupting, start

loop = asyncio.new_event_loop()
journal = Interrupting(Path(sys.argv[1]))
journal.after = True
journal.do = lambda: loop.call_soon(loop.stop)
loop.create_task(start(journal, "k"))
loop.run_forever()
loop.close()  # and the interpreter ends with the start where it is
"""


async def test_a_process_that_just_ends(tmp_path: Path) -> None:
    """At exit, its journal records that the start was not sent."""
    path = tmp_path / "jobs.db"
    root = str(Path(__file__).parent.parent.parent)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, path, root, stderr=asyncio.subprocess.DEVNULL
    )
    assert await child.wait() == 0
    journal = SqliteJournal(path)
    entries, _ = await journal.entries()
    await journal.aclose()
    assert list(entries) == []


async def test_what_was_sent_is_never_withdrawn(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    a2e = make_client(journal=tmp_path / "jobs.db")
    await a2e.dubbing.start(**SAMPLES["dubbing"], key="k")
    journal, recorder = a2e.journal, a2e._components.recorder
    assert journal is not None
    assert recorder is not None
    recorder.withdraw("k")
    recorder.withdraw_all()
    assert (await journal.get("k")) is not None


async def test_finished_starts_keep_no_input_bytes(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    data = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + os.urandom(1000)
    before = sys.getrefcount(data)
    a2e = make_client()
    inputs = {**SAMPLES["image_to_video"], "image_url": data}
    tasks = [await a2e.image_to_video.start(**inputs, key=f"k{n}") for n in range(3)]
    inputs.clear()
    async with asyncio.timeout(60):  # a thread that hashed them may still be letting go
        while sys.getrefcount(data) > before:
            gc.collect()
            await asyncio.sleep(0.01)
    assert len({task.ref for task in tasks}) == 3
    again = await a2e.image_to_video.start(
        **{**SAMPLES["image_to_video"], "image_url": data}, key="k1"
    )
    assert again is tasks[1]


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"RIFFother")])
async def test_a_file_that_is_gone_when_its_turn_comes_costs_nothing(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, change: Any
) -> None:
    hostile.behaviour.duration = 3600
    picture = tmp_path / "face.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + b"x" * 100)
    a2e = make_client(max_unfinished=1)
    await a2e.dubbing.start(**SAMPLES["dubbing"])
    inputs = {**SAMPLES["image_to_video"], "image_url": picture, "number_of_images": 1}
    waiting = asyncio.create_task(a2e.image_to_video.start(**inputs))
    while not any(hostile.count(step) for step in (Step.DETAIL, Step.PROCESSING)):
        await asyncio.sleep(0.001)  # it polls for a slot
    change(picture)
    hostile.finish()
    with pytest.raises(TransferError):
        await waiting
    assert not hostile.count(Step.PRESIGN)
