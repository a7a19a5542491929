"""Law 3: all tasks of a start are found, even those missing from its response."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Task
from a2e_async.tasks.recoverer import PAUSES
from tests.contract.samples import SAMPLES
from tests.hostile import Fault, HostileServer, Step
from tests.laws.conftest import MakeClient

SEVERAL = {
    "image_to_video": {"number_of_images": 3},
    "text_to_image": {"max_images": 3},
    "kling_image": {"n": 3},
}
FEWER = {
    "first alone": Fault.fewer_records(),
    "one record": Fault.edit("one record", lambda data: data[0]),
    "rows without ids": Fault.edit("no ids", lambda data: [data[0], *({} for _ in data[1:])]),
    "ids of a wrong type": Fault.edit(
        "odd ids", lambda data: [data[0], *({**row, "_id": 7} for row in data[1:])]
    ),
}


def known(a2e: A2E, *tasks: Task[Any]) -> set[str]:
    return {id for task in (*tasks, *a2e.unclaimed()) for id in task.ids}


@pytest.mark.parametrize("kind", SEVERAL)
@pytest.mark.parametrize("fewer", FEWER)
@pytest.mark.parametrize("name", [None, "take"])
async def test_the_rest_is_found_at_once(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    kind: str,
    fewer: str,
    name: str | None,
) -> None:
    hostile.faults.add(Step.START, FEWER[fewer])
    a2e = make_client(journal=tmp_path / "jobs.db")
    task = await a2e.kind(kind).start(**{**SAMPLES[kind], **SEVERAL[kind]}, name=name, key="k")
    assert sorted(task.ids) == sorted(hostile.ledger.ids)
    assert len(task.ids) == 3
    assert a2e.journal is not None
    entry = await a2e.journal.get("k")
    assert entry is not None
    assert sorted(entry.ids) == sorted(task.ids)
    assert len((await task.wait(timeout=20)).parts) == 3


async def test_a_list_that_lags_shows_the_rest_later(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The start returns the known tasks; the others are unclaimed once they are found."""
    monkeypatch.setattr("a2e_async.tasks.sending.FIRST_PAUSES", (0.0,))
    monkeypatch.setattr("a2e_async.tasks.recoverer.PAUSES", PAUSES)
    hostile.behaviour.list_lag = 0.3
    hostile.faults.add(Step.START, Fault.fewer_records())
    a2e = make_client(journal=tmp_path / "jobs.db")
    inputs = {**SAMPLES["image_to_video"], "number_of_images": 3}
    task = await a2e.image_to_video.start(**inputs, key="k")
    assert len(task.ids) == 1
    while len(known(a2e, task)) < 3:
        await asyncio.sleep(0.01)
    assert known(a2e, task) == set(hostile.ledger.ids)
    (rest,) = a2e.unclaimed()
    assert len((await rest.wait(timeout=20)).outputs) == 2
    await a2e.aclose()
    again = make_client(journal=tmp_path / "jobs.db")
    left = [one async for one in again.unfinished()]
    assert sorted(id for one in left for id in one.ids) == sorted(hostile.ledger.ids)


async def test_a_later_run_goes_on_with_the_search(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """After an early close, `unfinished` or the same key continues the search."""
    hostile.behaviour.list_lag = 60
    hostile.faults.add(Step.START, Fault.fewer_records(), times=2)
    first = make_client(journal=tmp_path / "jobs.db")
    inputs = {**SAMPLES["image_to_video"], "number_of_images": 3}
    for key in ("k1", "k2"):
        starting = asyncio.create_task(first.image_to_video.start(**inputs, key=key))
        await asyncio.sleep(0)
        assert len((await starting).ids) == 1
    # As if it had been killed: what it found afterwards is not in the journal.
    assert first.journal is not None
    for key in ("k1", "k2"):
        entry = await first.journal.get(key)
        assert entry is not None
        await first.journal.advance(key, entry.state, expected=3)
    await first.aclose()
    hostile.behaviour.list_lag = 0
    second = make_client(journal=tmp_path / "jobs.db")
    again = await second.image_to_video.start(**inputs, key="k1")
    while len(known(second, again)) < 3:
        await asyncio.sleep(0.01)
    found = [task async for task in second.unfinished()]
    assert known(second, *found) == set(hostile.ledger.ids)


@pytest.mark.parametrize("kind", SEVERAL)
async def test_a_rest_that_is_not_found_for_certain_is_told(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """Candidates are logged, and the entry keeps the number of requested tasks."""
    hostile.behaviour.respell = str.upper
    hostile.faults.add(Step.START, Fault.fewer_records())
    a2e = make_client(journal=tmp_path / "jobs.db")
    inputs = {**SAMPLES[kind], **SEVERAL[kind], "name": "My take"}
    task = await a2e.kind(kind).start(**inputs, key="k")
    async with asyncio.timeout(20):
        while "were not found" not in caplog.text:
            await asyncio.sleep(0.01)
    assert "search for the rest of a start failed" not in caplog.text
    assert all(id in caplog.text for id in hostile.ledger.ids if id not in task.ids)
    assert a2e.journal is not None
    entry = await a2e.journal.get("k")
    assert entry is not None
    assert (entry.ids, entry.expected) == (task.ids, 3)


async def test_fewer_tasks_than_ordered(
    hostile: HostileServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the service creates one task with all outputs, this only costs a search."""
    task = hostile.accept
    monkeypatch.setattr(
        hostile,
        "accept",
        lambda kind, body, account="": task(kind, {**body, "max_images": 1}, account),
    )
    a2e = make_client()
    made = await a2e.text_to_image.start(prompt="a lake", max_images=3)
    assert list(made.ids) == hostile.ledger.ids
    assert len(made.ids) == 1
    assert (await made.wait(timeout=20)).output
    await a2e.aclose()
    assert a2e.unclaimed() == ()


@pytest.mark.parametrize("name", [None, "take"])
async def test_fewer_tasks_than_ordered_and_no_response(
    hostile: HostileServer,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str | None,
) -> None:
    """Tasks with the start's mark belong to it, even if fewer than requested."""
    accept = hostile.accept
    monkeypatch.setattr(
        hostile,
        "accept",
        lambda kind, body, account="": accept(kind, {**body, "max_images": 1}, account),
    )
    hostile.faults.add(Step.START, Fault.page(502))
    a2e = make_client(journal=tmp_path / "jobs.db", mark_names=True)
    made = await a2e.text_to_image.start(prompt="a lake", max_images=3, name=name, key="k")
    assert list(made.ids) == hostile.ledger.ids
    assert len(made.ids) == 1
    assert (await made.wait(timeout=20)).output
    await a2e.aclose()
    again = make_client(journal=tmp_path / "jobs.db")
    assert (
        await again.text_to_image.start(prompt="a lake", max_images=3, name=name, key="k")
    ).ref == made.ref
    assert len(hostile.ledger) == 1


async def test_a_lost_start_whose_tasks_come_into_the_list_one_by_one(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
) -> None:
    """The start returns the tasks found; the others are unclaimed once they are found."""
    hostile.faults.add(Step.START, Fault.page(502))
    one = Fault.edit("one row", lambda data: {**data, "rows": data["rows"][:1]})
    hostile.faults.add(Step.LIST, one, times=2)
    a2e = make_client(journal=tmp_path / "jobs.db")
    task = await a2e.image_to_video.start(
        **{**SAMPLES["image_to_video"], "number_of_images": 3}, key="k"
    )
    while len(known(a2e, task)) < 3:
        await asyncio.sleep(0.01)
    assert known(a2e, task) == set(hostile.ledger.ids)
    assert len(hostile.ledger) == 1
