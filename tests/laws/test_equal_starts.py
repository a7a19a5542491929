"""Law 4: a remote task belongs to one start, even while equal starts are in progress."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async._core.journal.protocol import State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import A2EError, StartOutcomeUnknown
from tests.hostile import Fault, HostileServer, Step
from tests.laws.conftest import MakeClient
from tests.samples import SAMPLES

KINDS = ("dubbing", "seedance", "voice_clone", "image_to_video")


def start(a2e: A2E, key: str | None, kind: str = "dubbing", **inputs: Any) -> Awaitable[Any]:
    return a2e.kind(kind).start(**{**SAMPLES[kind], "name": "take", **inputs}, key=key)


async def outcome(starting: Awaitable[Any]) -> tuple[str, ...]:
    """Return the task ids of a start; none if its outcome stays unknown."""
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
    """While the second start awaits its response, no record is assigned to the first."""
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
    """Delays writing ids until it is released."""

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
    """The second start owns its id from its response on, however slow its journal is."""
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.1, 0.3))
    journal = SlowJournal(tmp_path / "jobs.db")
    a2e = make_client(journal=journal)
    hostile.faults.add(Step.START, Fault.disconnect(), after_accept=False)
    first = asyncio.create_task(outcome(start(a2e, "k1")))
    while not hostile.count(Step.START):  # the first to arrive is lost
        await asyncio.sleep(0)
    second = asyncio.create_task(outcome(start(a2e, "k2")))
    assert await first == ()
    journal.free.set()
    assert list(await second) == hostile.ledger.ids
    entries, _ = await journal.entries()
    assert sorted(len(entry.ids) for entry in entries) == [0, 1]


@pytest.mark.parametrize("kind", ["dubbing", "image_to_video"])
async def test_a_response_that_was_to_another_start(
    hostile: HostileServer, make_client: MakeClient, kind: str
) -> None:
    """A record with the mark of another start is not taken, though nothing has claimed its id."""
    first = await outcome(start(make_client(), None, kind, name=None))

    def record_of_first(_: Any) -> Any:
        records = [{"_id": id, "name": hostile.tasks[id].name} for id in first]
        return records if len(records) > 1 else records[0]

    hostile.faults.add(Step.START, Fault.edit("of another start", record_of_first))
    second = await outcome(start(make_client(), None, kind, name=None))
    assert (first, second) == tuple(one.ids for one in hostile.ledger.starts)


async def test_a_name_that_was_cut_behind_an_earlier_mark(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    """The mark of another start proves nothing if the user has put it into the name."""
    a2e = make_client()
    earlier = hostile.tasks[(await outcome(start(a2e, None, name=None)))[0]].name
    hostile.faults.add(Step.START, Fault.field("name", earlier))
    await start(a2e, None, name=earlier)
    assert hostile.count(Step.LIST) == 0


async def test_a_response_that_lists_other_starts(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    """A start gets the tasks with its own mark, not those of starts in flight."""

    def list_all(_: Any) -> Any:
        return [{"_id": id, "name": task.name} for id, task in hostile.tasks.items()]

    hostile.faults.add(Step.START, Fault.slow(0.5))
    hostile.faults.add(Step.START, Fault.edit("all records", list_all))
    a2e = make_client()
    first = asyncio.create_task(outcome(start(a2e, "k1", name=None)))
    while not hostile.count(Step.START):
        await asyncio.sleep(0.001)
    second = await outcome(start(a2e, "k2", name=None))
    assert (await first, second) == tuple(one.ids for one in hostile.ledger.starts)


async def test_two_equal_starts_and_two_records(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    """Both starts are lost, both records exist: the earlier start gets the earlier record."""
    hostile.faults.add(Step.START, Fault.disconnect(), times=2)
    a2e = make_client()
    found = await asyncio.gather(outcome(start(a2e, "k1")), outcome(start(a2e, "k2")))
    assert sorted(id for ids in found for id in ids) == sorted(hostile.ledger.ids)


async def test_two_equal_starts_and_one_record(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """The owner is undecidable: both get the record as a candidate, now and later."""
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
    """While unresolved, it competes with the next equal start that is lost."""
    a2e = make_client()
    hostile.faults.add(Step.START, Fault.disconnect(), after_accept=False)
    assert await outcome(start(a2e, None)) == ()
    hostile.faults.add(Step.START, Fault.disconnect())
    assert await outcome(start(a2e, None)) == ()


async def test_marks_decide(hostile: HostileServer, make_client: MakeClient) -> None:
    """If the client names its starts, equal starts can be distinguished."""
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
    """A response with another start's task id does not transfer that task."""
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
    """`recover` journals the task with the start's own key, which then returns it."""
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
