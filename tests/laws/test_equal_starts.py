"""Law 4: one remote task belongs to one start, also while equal starts are under way."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.errors import A2EError, StartOutcomeUnknown
from a2e_async.tasks.journal import State
from a2e_async.tasks.journal_sqlite import SqliteJournal
from tests.contract.samples import SAMPLES
from tests.hostile import Fault, HostileServer, Step
from tests.laws.conftest import MakeClient

KINDS = ("dubbing", "seedance", "voice_clone", "image_to_video")


def start(a2e: A2E, key: str | None, kind: str = "dubbing", **inputs: Any) -> Awaitable[Any]:
    return a2e.kind(kind).start(**{**SAMPLES[kind], "name": "take", **inputs}, key=key)


async def outcome(starting: Awaitable[Any]) -> tuple[str, ...]:
    """Return the ids of a start, none for one that stays unknown."""
    try:
        ids: tuple[str, ...] = (await starting).ids
    except StartOutcomeUnknown:
        return ()
    return ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("journals", [0, 1, 2])
@pytest.mark.parametrize("arrives", [False, True])
async def test_one_of_two_equal_starts_is_lost(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    kind: str,
    journals: int,
    arrives: bool,
) -> None:
    """While the second's response is awaited, no record is taken for the first's."""
    hostile.behaviour.duration = 5
    hostile.faults.add(Step.START, Fault.disconnect(), after_accept=arrives)
    hostile.faults.add(Step.START, Fault.slow(0.5))
    options = {"journal": tmp_path / "jobs.db"} if journals else {}
    one = make_client(**options)
    other = make_client(**options) if journals == 2 else one
    first = asyncio.create_task(outcome(start(one, "k1", kind)))
    while not hostile.count(Step.START):
        await asyncio.sleep(0.001)
    second = await outcome(start(other, "k2", kind))
    found = await first
    assert second == hostile.ledger.starts[-1].ids
    assert not set(found) & set(second)
    assert found in ((), hostile.ledger.starts[0].ids)
    if not arrives:
        assert not found
    if journals and one.journal is not None:
        entries, _ = await one.journal.entries()
        held = [id for entry in entries for id in entry.ids]
        assert len(held) == len(set(held))


class SlowJournal(SqliteJournal):
    """Takes its time to write ids, until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.free = asyncio.Event()

    async def advance(self, key: str, state: State, **values: Any) -> Any:
        if values.get("ids"):
            await self.free.wait()
        return await super().advance(key, state, **values)


async def test_an_id_is_claimed_before_it_is_written(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second start's id is its own from the response on, however slow its journal."""
    monkeypatch.setattr("a2e_async.tasks.recoverer.PAUSES", (0.1, 0.3))
    journal = SlowJournal(tmp_path / "jobs.db")
    a2e = make_client(journal=journal)
    hostile.faults.add(Step.START, Fault.disconnect(), after_accept=False)
    first = asyncio.create_task(outcome(start(a2e, "k1")))
    while not hostile.count(Step.START):  # the first to arrive is the one that is lost
        await asyncio.sleep(0)
    second = asyncio.create_task(outcome(start(a2e, "k2")))
    assert await first == ()
    journal.free.set()
    assert list(await second) == hostile.ledger.ids
    entries, _ = await journal.entries()
    assert sorted(len(entry.ids) for entry in entries) == [0, 1]


async def test_two_equal_starts_and_two_records(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    """Both lost, both there: each gets one, the earlier start the earlier record."""
    hostile.faults.add(Step.START, Fault.disconnect(), times=2)
    a2e = make_client()
    found = await asyncio.gather(outcome(start(a2e, "k1")), outcome(start(a2e, "k2")))
    assert sorted(id for ids in found for id in ids) == sorted(hostile.ledger.ids)


async def test_two_equal_starts_and_one_record(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """Nobody can tell whose it is: both are given it as a candidate, now and later."""
    hostile.faults.add(Step.START, Fault.disconnect(), after_accept=False)
    hostile.faults.add(Step.START, Fault.disconnect())
    a2e = make_client(journal=tmp_path / "jobs.db")
    errors = await asyncio.gather(start(a2e, "k1"), start(a2e, "k2"), return_exceptions=True)
    for error in errors:
        assert isinstance(error, StartOutcomeUnknown)
        assert [one.id for one in error.candidates] == hostile.ledger.ids
        with pytest.raises(StartOutcomeUnknown):
            await a2e.recover(error.recovery)
    assert [task async for task in make_client(journal=tmp_path / "jobs.db").unfinished()] == []


async def test_a_start_that_never_arrived_does_not_take_a_later_one(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    """Unresolved it stays a rival of the next equal start that is lost."""
    a2e = make_client()
    hostile.faults.add(Step.START, Fault.disconnect(), after_accept=False)
    assert await outcome(start(a2e, None)) == ()
    hostile.faults.add(Step.START, Fault.disconnect())
    assert await outcome(start(a2e, None)) == ()


async def test_marks_decide(hostile: HostileServer, make_client: MakeClient) -> None:
    """Where the client names its starts, equal ones are told apart."""
    a2e = make_client(mark_names=True)
    hostile.faults.add(Step.START, Fault.disconnect(), after_accept=False)
    hostile.faults.add(Step.START, Fault.disconnect())
    found = await asyncio.gather(outcome(start(a2e, "k1")), outcome(start(a2e, "k2")))
    assert sorted(found) == [(), tuple(hostile.ledger.ids)]


async def test_names_that_the_service_makes_equal(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    """ "Take" and "take" are one name to a service that writes all names in lower case."""
    hostile.behaviour.respell = str.lower
    hostile.faults.add(Step.START, Fault.disconnect(), after_accept=False)
    hostile.faults.add(Step.START, Fault.slow(0.3))
    a2e = make_client()
    first = asyncio.create_task(outcome(start(a2e, "k1", name="take")))
    while not hostile.count(Step.START):
        await asyncio.sleep(0.001)
    second = await outcome(start(a2e, "k2", name="TAKE"))
    assert (await first, list(second)) == ((), hostile.ledger.ids)


async def test_one_id_in_two_responses(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """A response that names another start's task gives that task to no one else."""
    a2e = make_client(journal=tmp_path / "jobs.db")
    first = await start(a2e, "k1", name="one")
    other = SAMPLES["dubbing"]
    hostile.faults.add(Step.START, Fault.field("_id", first.ids[0]))
    second = await start(a2e, "k2", name="two")
    assert (*first.ids, *second.ids) == tuple(hostile.ledger.ids)
    hostile.behaviour.list_lag = 60
    hostile.faults.add(Step.START, Fault.field("_id", first.ids[0]))
    with pytest.raises(A2EError, match="of another start"):
        await a2e.dubbing.start(**other, name="three", key="k3")


async def test_recovered_later_a_start_has_its_entry(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """`recover` writes what it finds under the start's own key, which then gives it, too."""
    a2e = make_client(journal=tmp_path / "jobs.db")
    hostile.behaviour.list_lag = 60
    hostile.faults.add(Step.START, Fault.disconnect())
    with pytest.raises(StartOutcomeUnknown) as lost:
        await start(a2e, "k1")
    hostile.behaviour.list_lag = 0
    task = await a2e.recover(lost.value.recovery)
    assert list(task.ids) == hostile.ledger.ids
    assert (await start(a2e, "k1")).ids == task.ids
    assert hostile.count(Step.START) == 1
