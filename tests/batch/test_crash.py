"""A process is killed anywhere and run again until all is done: paid once, saved once.

The full matrix, every step under every fault and 200 random kills, takes about 25 minutes:
``A2E_CRASHES=200 python -m pytest tests/batch/test_crash.py``.
"""

import json
import multiprocessing
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from a2e_async.sandbox import Sandbox
from a2e_async.sandbox._core.faults import Faults
from tests.batch import child

# Each run is a fork of a process that has imported everything: imports would take most of its time.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([child.__name__])
KEY = "Qz7-topsecret-0123456789"
JOBS = 6
RUNS = 12
KILLS = int(os.environ.get("A2E_CRASHES", "12"))
"""How often a process is killed at a random moment; 200 for the full matrix."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox in a thread, whose list has shown a client's mark before."""
    with Sandbox(speed=3000, seed=7, api_key=KEY, make_results="stdlib") as made:
        for path, body in (
            ("/api/v1/userDubbing/startDubbing", {"source_url": "https://m.example/a.wav"}),
            ("/api/v1/talkingVideo/start", {"video_url": "https://m.example/a.mp4"}),
            ("/api/v1/userText2Image/start", {}),
        ):
            _start(made, path, body)
        yield made


def _start(sandbox: Sandbox, path: str, body: dict[str, Any]) -> None:
    from urllib.request import Request, urlopen

    more = {"target_lang": "es", "prompt": "p", "negative_prompt": "n", "name": "a2e-" + "0" * 20}
    request = Request(
        sandbox.base_url + path,
        json.dumps({**more, **body}).encode(),
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    with urlopen(request) as answer:
        assert answer.status == 200


@frozen
class Run:
    """A process that runs the batch."""

    process: Any
    errors: Path

    def ended(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was printed on stderr."""
        self.process.join(60)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            self.process.join()
            pytest.fail("the run does not end")
        errors = self.errors.read_text() if self.errors.exists() else ""
        assert "Traceback" not in errors, errors
        return code, errors


class BatchRuns:
    """Runs of one batch with one journal."""

    def __init__(self, sandbox: Sandbox, directory: Path) -> None:
        self.sandbox = sandbox
        self.out = directory / "out"
        self.journal = directory / "jobs.db"
        self.count = 0
        self.before = len(sandbox.ledger.starts())

    def begin(self, **options: Any) -> Run:
        self.count += 1
        given = {
            "url": self.sandbox.base_url,
            "key": KEY,
            "journal": str(self.journal),
            "out": str(self.out),
            "jobs": JOBS,
            "run": self.count,
            **options,
        }
        errors = self.journal.with_name(f"errors-{self.count}")
        process = PROCESSES.Process(target=child.run, args=(given, str(errors)))
        process.start()
        return Run(process, errors)

    def until_done(self) -> None:
        """Run the batch again until a run reports that all jobs are done."""
        errors = ""
        for _ in range(RUNS):
            code, errors = self.begin().ended()
            if code == 0:
                return
        pytest.fail(f"not done after {RUNS} runs: {errors}")

    def check(self) -> None:
        """Check that charges match jobs, files match jobs, and the journal matches the ledger."""
        charges = self.sandbox.ledger.starts()[self.before :]
        names = [charge.body["name"] for charge in charges]
        assert len(charges) == JOBS, names
        files = [path for path in self.out.iterdir() if not path.name.startswith(".")]
        assert len(files) == JOBS, sorted(path.name for path in files)
        assert all(path.stat().st_size for path in files)
        db = sqlite3.connect(self.journal)
        rows = db.execute("SELECT state, ids FROM jobs").fetchall()
        db.close()
        assert [state for state, _ in rows] == [4] * JOBS
        assert sorted(ids for _, ids in rows) == sorted("+".join(c.ids) for c in charges)


FAULTS: dict[str, Callable[[Faults], None]] = {
    "no fault": lambda faults: None,
    "drop before accept": lambda faults: faults.drop_before_accept(times=2),
    "drop after accept": lambda faults: faults.drop_after_accept(times=2),
    "slow answer": lambda faults: faults.slow(1.0, "start", times=2, accepted=True),
}

STEPS: list[tuple[str, str]] = [
    ("JournalRecorder", "reserve_key"),
    ("JournalRecorder", "record_intent"),
    ("JournalRecorder", "record_accepted"),
    ("JournalRecorder", "record_end"),
    ("JournalRecorder", "record_saved_file"),
    ("JournalRecorder", "record_lost"),
    ("JournalRecorder", "drop_start"),
    ("ApiSession", "_attempt"),
    ("Uploader", "_request_upload_url"),
    ("Downloader", "save"),
]
"""Steps that are always tested."""

MATRIX_STEPS: dict[tuple[str, str], int] = {
    ("SqliteJournal", "begin"): 4,
    ("SqliteJournal", "advance"): 8,
    ("SqliteJournal", "get"): 4,
    ("ApiSession", "_attempt"): 14,
    ("Uploader", "_put"): 1,
    ("Uploader", "upload"): 1,
    ("FileSession", "get"): 3,
    ("Downloader", "_fill"): 3,
    ("JournalRecorder", "record_accepted"): 6,
    ("JournalRecorder", "record_saved_file"): 6,
}
"""Steps of the full matrix, with the number of calls."""

RARE_STEPS = {"record_lost", "drop_start", "_request_upload_url"}
"""Steps that a run reaches only with lost or refused responses, or only once."""

Point = tuple[str, str, int, str]


def matrix() -> list[tuple[Point, str]]:
    """Return steps with the faults under which a process is killed there.

    By default each step once, under one fault; with A2E_CRASHES=200 every call of every step
    under every fault.
    """
    faults = list(FAULTS)
    points = [
        (owner, name, call, when)
        for owner, name in STEPS
        for call, when in ((1, "before"), (2, "after"))
    ]
    if KILLS < 200:
        turns = ((point, faults[n % len(faults)]) for n, point in enumerate(points))
        return [(p, "refused" if p[1] == "drop_start" else fault) for p, fault in turns]
    points += [
        (owner, name, call, when)
        for (owner, name), calls in MATRIX_STEPS.items()
        for call in range(1, calls + 1)
        for when in ("before", "after")
    ]
    return [(point, fault) for point in dict.fromkeys(points) for fault in (*FAULTS, "refused")]


@pytest.mark.parametrize(
    ("point", "fault"),
    matrix(),
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value)),
)
def test_killed_at_a_step(sandbox: Sandbox, tmp_path: Path, point: Point, fault: str) -> None:
    """Killed before and after each step of the journal and the network, under some fault."""
    if fault == "refused":
        sandbox.faults.http_error(400, role="start", times=2)
    else:
        FAULTS[fault](sandbox.faults)
    runs = BatchRuns(sandbox, tmp_path)
    code, _ = runs.begin(point=point).ended()
    if point[:2] in STEPS and point[2] <= 2 and point[1] not in RARE_STEPS:
        assert code == -signal.SIGKILL
    runs.until_done()
    runs.check()


@pytest.mark.parametrize("fault", FAULTS)
def test_killed_at_random(sandbox: Sandbox, tmp_path: Path, fault: str) -> None:
    """Killed repeatedly at random moments."""
    chance = random.Random(fault)
    FAULTS[fault](sandbox.faults)
    runs = BatchRuns(sandbox, tmp_path)
    for _ in range(max(1, KILLS // len(FAULTS))):
        run = runs.begin()
        time.sleep(chance.uniform(0.05, 1.2))  # any moment will do
        run.process.kill()
        run.ended()
    runs.until_done()
    runs.check()


def test_two_processes_one_is_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    """Two processes share a journal and a batch; the survivor finishes what the other began."""
    runs = BatchRuns(sandbox, tmp_path)
    both = [runs.begin(run=1), runs.begin(run=1)]
    while len(sandbox.ledger.starts()) < runs.before + 2:
        assert any(run.process.is_alive() for run in both)
        time.sleep(0.01)  # any process, at any step, will do
    both[0].process.kill()
    both[0].ended()
    code, errors = both[1].ended()
    assert code == 0, errors
    runs.check()
