"""All faults of the hostile server, for all kinds: charged once, journaled, no foreign errors.

Each test starts one job of every kind with a key, through a client with a journal, while the
server applies one fault to all these starts. Then a second program repeats this without a fault.
For every fault:

* there is at most one accepted request for each job;
* every accepted task is in the journal, or the outcome of its start is recorded as unknown;
* only errors of the package are raised, and nothing raised, logged or stored contains a secret.
"""

import asyncio
import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, RetryPolicy
from a2e_async._core.journal.protocol import Entry, State
from a2e_async.errors import A2EError, StartOutcomeUnknown
from tests.hostile import Fault, HostileServer, Step
from tests.hostile.catalogue import LOST, ODD_ACCEPTANCES, REFUSALS
from tests.laws.conftest import MakeClient
from tests.laws.secrets import leaks
from tests.samples import SAMPLES

KINDS: Sequence[str] = tuple(SAMPLES)
QUICK = RetryPolicy(initial=0.001, max_delay=0.01, max_attempts=3)
Outcomes = Mapping[str, Any]
"""The task of a start or its error, by kind."""


async def start_all(a2e: A2E) -> Outcomes:
    """Start one job of every kind at once; return tasks and errors."""

    async def start(kind: str) -> Any:
        return await a2e.kind(kind).start(**SAMPLES[kind], key=f"job {kind}")

    results = await asyncio.gather(*(start(kind) for kind in KINDS), return_exceptions=True)
    return dict(zip(KINDS, results, strict=True))


async def journaled(a2e: A2E) -> dict[str, Entry]:
    """Return the journal's entries by kind."""
    assert a2e.journal is not None
    return {entry.kind: entry for entry in (await a2e.journal.entries())[0]}


def broken(server: HostileServer, entries: Mapping[str, Entry], outcomes: Outcomes) -> list[str]:
    """Return the violated invariants by kind."""
    found = []
    for kind in KINDS:
        accepted, entry, outcome = server.ledger.of(kind), entries.get(kind), outcomes[kind]
        if len(accepted) > 1:
            found.append(f"{kind}: paid {len(accepted)} times")
        if isinstance(outcome, BaseException) and not isinstance(outcome, A2EError):
            found.append(f"{kind}: {type(outcome).__name__}: {str(outcome)[:80]}")
        paid = {id for start in accepted for id in start.ids}
        if not paid:
            continue
        if entry is None:
            found.append(f"{kind}: paid, and not in the journal ({outcome!r:.80})")
        elif not paid <= set(entry.ids) and entry.state is not State.INTENT:
            found.append(f"{kind}: of {len(paid)} tasks {len(entry.ids)} are in the journal")
        elif entry.state is State.INTENT and not isinstance(outcome, StartOutcomeUnknown):
            found.append(f"{kind}: unknown, and nobody was told ({outcome!r:.80})")
        if entry is not None and not set(entry.ids) <= paid:
            found.append(f"{kind}: an id in the journal is no task of its start")
    return found


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG, "a2e_async"):
        yield caplog


CASES = [
    *(pytest.param(f, after, id=f"{f.name} {'after' if after else 'before'}")
      for f, after in product(LOST, (True, False))),
    *(pytest.param(fault, True, id=fault.name) for fault in (*REFUSALS, *ODD_ACCEPTANCES)),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "after_accept"), CASES)
async def test_start(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    logged: pytest.LogCaptureFixture,
    fault: Fault,
    after_accept: bool,
) -> None:
    options: Mapping[str, Any] = {"journal": tmp_path / "jobs.db", "retry": QUICK}
    hostile.behaviour.duration = 0.0
    hostile.faults.add(Step.START, fault, after_accept=after_accept, times=None)
    async with make_client(**options) as a2e:
        first = await start_all(a2e)
        wrong = [f"first run: {text}" for text in broken(hostile, await journaled(a2e), first)]
    hostile.faults.clear()
    async with make_client(**options) as a2e:
        second = await start_all(a2e)
        wrong += [f"second run: {text}" for text in broken(hostile, await journaled(a2e), second)]
    wrong += sorted(leaks([*first.values(), *second.values()], logged.records, tmp_path))
    assert not wrong, "\n".join(wrong)


async def test_a_pickled_error_shows_no_signed_url(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    hostile.behaviour.duration = 0.0
    hostile.faults.add(Step.START, Fault.status(503))
    with pytest.raises(StartOutcomeUnknown) as raised:
        await make_client().head_swap.start(**SAMPLES["head_swap"])
    assert raised.value.candidates[0].output
    assert b"X-Amz-Signature" not in pickle.dumps(raised.value)
