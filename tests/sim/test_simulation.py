"""The invariants hold in simulated worlds. ``A2E_SIM=10000`` runs that many; replay a seed with

PYTHONHASHSEED=0 python -m tests.sim --seed SEED --log
"""

import os
import time
from typing import Any

import pytest

from .runs import report, run_many, run_world, summary

pytestmark = [  # objects that a power cut left behind are never closed
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
WORLDS = int(os.environ.get("A2E_SIM", "60"))


def test_the_laws_hold_in_every_world() -> None:
    began = time.perf_counter()
    reports = list(run_many(0, WORLDS, jobs=min(2, os.cpu_count() or 1)))
    assert len(reports) == WORLDS
    assert not any(one.failed for one in reports), summary(reports, began=began)


def test_a_world_follows_from_its_seed() -> None:
    first, story = run_world(10)
    second, again = run_world(10)
    assert first.digest == second.digest
    assert [line.split(" at 0x")[0] for line in story.lines] == [
        line.split(" at 0x")[0] for line in again.lines
    ]


# -- the simulation detects bugs -----------------------------------------------------------------


def broken_laws(seeds: range, law: str) -> bool:
    """Whether one of these worlds breaks a law."""
    return any(violation.law == law for seed in seeds for violation in report(seed).violations)


def test_it_notices_a_start_that_pays_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bug: a lost response is treated as a refusal."""
    monkeypatch.setattr(
        "a2e_async._core.submission.paid_request.may_have_been_accepted", lambda _: False
    )
    assert broken_laws(range(40), "1 paid twice")


def test_it_notices_an_entry_that_is_closed_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bug: entries are closed as saved as soon as their tasks end."""
    from a2e_async._core.journal.protocol import State
    from a2e_async._core.journal.recorder import JournalRecorder

    record_end = JournalRecorder.record_end

    async def finished(self: Any, task: Any, *args: Any, **options: Any) -> Any:
        result = await record_end(self, task, *args, **options)
        if task.key is not None:
            await self.journal.advance(task.key, State.SAVED)
        return result

    monkeypatch.setattr(JournalRecorder, "record_end", finished)
    assert broken_laws(range(40), "5 closed")
