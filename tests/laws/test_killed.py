"""A program that is killed repeatedly, against a hostile server: charged once, nothing lost.

Hypothesis chooses the events: runs of the program with any jobs, each killed at any event-loop
iteration or not at all, and server faults in between. In the end a run without faults must return
everything that was charged. ``A2E_LIVES=200`` tries more examples (default: 12).
"""

import asyncio
import multiprocessing
import os
import sqlite3
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.hostile import Fault, HostileServer, Step
from tests.laws.lives import UNKNOWN, kind_of, live

KEYS = tuple(
    f"{kind}-{n}"
    for kind in ("dubbing", "talking_video", "image_to_video", "own_photo")
    for n in (0, 1)
)
LIFETIME = 60.0

FAULTS: dict[str, Callable[[], tuple[Step, Fault]]] = {
    "start reset": lambda: (Step.START, Fault.disconnect()),
    "start 502 page": lambda: (Step.START, Fault.page(502)),
    "start 404 page": lambda: (Step.START, Fault.page(404)),
    "start 303": lambda: (Step.START, Fault.status(303)),
    "start cut": lambda: (Step.START, Fault.cut()),
    "start refused": lambda: (Step.START, Fault.refusal()),
    "fewer records": lambda: (Step.START, Fault.fewer_records()),
    "huge price": lambda: (Step.START, Fault.field("coins", 2**70)),
    "list 503": lambda: (Step.LIST, Fault.page(503)),
    "detail 404 page": lambda: (Step.DETAIL, Fault.page(404)),
    "batch detail garbage": lambda: (Step.BATCH_DETAIL, Fault.cut_text()),
    "file reset": lambda: (Step.FILE, Fault.cut()),
    "file gzip": lambda: (Step.FILE, Fault.encoded("gzip-members")),
}

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.laws.lives"])


class ServerThread:
    """A hostile server on its own event loop."""

    def __init__(self) -> None:
        self.server = HostileServer()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._call(self.server.__aenter__())

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def close(self) -> None:
        self._call(self.server.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class KilledProgram(RuleBasedStateMachine):
    """A program, its journal on disk, and the server, over several runs."""

    @initialize()
    def begin(self) -> None:
        self.thread = ServerThread()
        self.server = self.thread.server
        self.directory = Path(tempfile.mkdtemp())
        self.lives = 0

    def life(self, keys: list[str], turns: int | None) -> int:
        """Run the program once; return its exit code."""
        self.lives += 1
        arguments = self.server.base_url, self.directory, keys, self.lives, turns
        process = processes.Process(target=live, args=arguments)
        process.start()
        process.join(LIFETIME)
        assert process.exitcode is not None, "the program hangs"
        return process.exitcode

    @rule(
        keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=4, unique=True),
        turns=st.none() | st.integers(1, 160),
    )
    def lives_once(self, keys: list[str], turns: int | None) -> None:
        """Run the program once, killed or not."""
        self.life(keys, turns)

    @rule(fault=st.sampled_from(sorted(FAULTS)), after=st.booleans(), times=st.integers(1, 3))
    def orders_a_fault(self, fault: str, after: bool, times: int) -> None:
        """Add a server fault for the next requests of a step."""
        step, what = FAULTS[fault]()
        self.server.faults.add(step, what, after_accept=after, times=times)

    @invariant()
    def nothing_is_paid_twice(self) -> None:
        """At most one accepted start per key, and one entry per task."""
        if not hasattr(self, "server"):
            return
        for key in KEYS:
            assert len(self.server.ledger.mentioning(f"/{key}.")) <= 1, key
        holders = Counter(id for _, ids in self.entries() for id in ids)
        assert not [id for id, count in holders.items() if count > 1]

    def entries(self) -> list[tuple[int, list[str]]]:
        """Return state and ids of every entry in the journal's file."""
        if not (self.directory / "jobs.db").exists():
            return []
        db = sqlite3.connect(self.directory / "jobs.db")
        try:
            rows = db.execute("SELECT state, ids FROM jobs").fetchall()
        except sqlite3.OperationalError:
            return []  # killed before the tables were created
        finally:
            db.close()
        return [(state, ids.split("+") if ids else []) for state, ids in rows]

    def teardown(self) -> None:
        """After a run without faults, everything charged is on disk and closed."""
        if not hasattr(self, "server"):
            return
        try:
            self.server.faults.clear()
            paid = [key for key in KEYS if self.server.ledger.mentioning(f"/{key}.")]
            assert self.life(paid, None) in (0, UNKNOWN)
            self.nothing_is_paid_twice()
            saved = {path.read_bytes() for path in (self.directory / "out").glob("[!.]*")}
            for start in self.server.ledger:
                assert kind_of(start.kind) == start.kind
                for id in start.ids:
                    assert self.server.tasks[id].content() in saved, f"{start.kind} {id} is lost"
            open_ids = [ids for state, ids in self.entries() if ids and state < 4]
            assert not open_ids
        finally:
            self.thread.close()


KilledProgram.TestCase.settings = settings(
    max_examples=int(os.environ.get("A2E_LIVES", "12")),
    stateful_step_count=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # each example takes seconds: shrinking would take minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestKilledProgram = KilledProgram.TestCase
