"""Paged lists: nothing omitted, nothing twice, and always an end, whatever the service does."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from a2e_async import RetryPolicy
from a2e_async.errors import ServerError
from tests.hostile import KINDS, Fault, HostileServer, Step
from tests.laws.conftest import API_KEY, MakeClient
from tests.samples import SAMPLES

MANY = 120

LISTED = ("seedance", "image_to_video", "dubbing", "veo", "flux2", "text_to_image")


def fill(hostile: HostileServer, kind: str, count: int = MANY) -> list[str]:
    """Create tasks at the service; return their ids, newest first."""
    made = [hostile.accept(KINDS[kind], {}, API_KEY) for _ in range(count)]
    return [task.id for tasks in reversed(made) for task in tasks]


Bend = Callable[[HostileServer], None]


def capped(hostile: HostileServer) -> None:
    hostile.behaviour.page_limit = 50


def uncounted(hostile: HostileServer) -> None:
    hostile.behaviour.counts = False


def capped_and_uncounted(hostile: HostileServer) -> None:
    capped(hostile)
    uncounted(hostile)


def overlapping(hostile: HostileServer) -> None:
    hostile.behaviour.page_overlap = 7


def counts_its_page(hostile: HostileServer) -> None:
    capped(hostile)
    hostile.behaviour.list_shape = lambda rows, full: {"rows": rows, "count": len(rows)}


def counts_one(hostile: HostileServer) -> None:
    hostile.behaviour.list_shape = lambda rows, full: {"rows": rows, "count": 1}


def counts_too_many(hostile: HostileServer) -> None:
    hostile.behaviour.list_shape = lambda rows, full: {"rows": rows, "count": 10 * full}


def one_row_pages_that_repeat(hostile: HostileServer) -> None:
    """Every second page has nothing new, and the total reveals it."""
    hostile.behaviour.page_limit, hostile.behaviour.repeats_rows = 1, True


@pytest.mark.parametrize("kind", LISTED)
@pytest.mark.parametrize(
    "bend",
    [
        capped,
        uncounted,
        capped_and_uncounted,
        overlapping,
        counts_its_page,
        counts_one,
        counts_too_many,
    ],
)
async def test_iter_yields_all_once(
    hostile: HostileServer, make_client: MakeClient, kind: str, bend: Bend
) -> None:
    ids = fill(hostile, kind)
    bend(hostile)
    a2e = make_client()
    namespace: Any = a2e.kind(kind)
    found = [record.id async for record in namespace.iter()]
    assert found == ids
    found = [record.id async for record in namespace.iter(page_size=13)]
    assert found == ids


@pytest.mark.parametrize("counted", [True, False])
async def test_iter_ends_where_paging_is_ignored(
    hostile: HostileServer, make_client: MakeClient, counted: bool
) -> None:
    ids = fill(hostile, "seedance")
    hostile.behaviour.ignores_paging, hostile.behaviour.counts = True, counted
    async with asyncio.timeout(20):
        found = [record.id async for record in make_client().seedance.iter(page_size=50)]
    assert found == ids[:50]
    assert hostile.count(Step.LIST) <= 5


async def test_iter_while_tasks_come_and_go(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    """New tasks shift rows to later pages, deleted ones to earlier pages."""
    ids = fill(hostile, "seedance", 100)
    deleted: set[str] = set()
    found: list[str] = []
    async for record in make_client().seedance.iter(page_size=10):
        found.append(record.id)
        if len(found) == 10:
            fill(hostile, "seedance", 15)
        if len(found) == 40:
            deleted |= set(ids[:4])
            for id in deleted:
                hostile.tasks[id].deleted = True
    assert len(found) == len(set(found))
    assert set(ids) - deleted <= set(found)


async def test_a_refused_page_after_the_last(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    ids = fill(hostile, "seedance", 20)
    hostile.faults.add(Step.LIST, Fault.refusal(400, 400, "no such page"), skip=2, times=None)
    found = [record.id async for record in make_client().seedance.iter(page_size=10)]
    assert found == ids
    hostile.faults.clear()
    hostile.faults.add(Step.LIST, Fault.page(502), skip=1, times=None)
    quick = RetryPolicy(initial=0.001, max_attempts=2)
    with pytest.raises(ServerError):
        [record async for record in make_client(retry=quick).seedance.iter(page_size=10)]


@pytest.mark.parametrize("bend", [capped, uncounted, capped_and_uncounted, overlapping])
async def test_the_history_is_complete(
    hostile: HostileServer, make_client: MakeClient, bend: Bend
) -> None:
    fill(hostile, "seedance")
    bend(hostile)
    found = [one.raw["_id"] async for one in make_client().credits.iter_history()]
    assert found == [f"{n:024x}" for n in range(MANY)]


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("counted", [True, False])
async def test_the_history_ends_where_paging_is_ignored(
    hostile: HostileServer, make_client: MakeClient, named: bool, counted: bool
) -> None:
    """Also if its entries have no id."""
    fill(hostile, "seedance")
    hostile.behaviour.ignores_paging, hostile.behaviour.counts = True, counted
    if not named:

        def nameless(data: Any) -> Any:
            rows = [{"amount": -1, "n": n} for n, _ in enumerate(data["rows"])]
            return {**data, "rows": rows}

        hostile.faults.add(Step.ACCOUNT, Fault.edit("nameless", nameless), times=None)
    async with asyncio.timeout(20):
        found = [one async for one in make_client().credits.iter_history()]
    assert len(found) == 100


@pytest.mark.parametrize("bend", [counts_one, counts_its_page, capped])
async def test_a_task_further_back_is_found(
    hostile: HostileServer, make_client: MakeClient, bend: Bend
) -> None:
    """By get() and by a wait, for a kind with only a list."""
    ids = fill(hostile, "seedance")
    hostile.finish()
    bend(hostile)
    a2e = make_client()
    assert (await a2e.seedance.get(ids[110])).id == ids[110]
    assert (await a2e.attach(f"seedance:{ids[110]}").wait(timeout=20)).output


async def test_a_page_without_anything_new_is_not_the_end(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    """Neither for get() nor for a wait, for a kind with only a list."""
    ids = fill(hostile, "seedance", 6)
    one_row_pages_that_repeat(hostile)
    hostile.finish()
    a2e = make_client()
    assert [record.id async for record in a2e.seedance.iter()] == ids
    assert (await a2e.seedance.get(ids[3])).id == ids[3]
    assert (await a2e.seedance.attach(ids[5]).wait(timeout=10)).id == ids[5]


async def test_a_page_without_anything_new_proves_no_absence(
    hostile: HostileServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost start on a later page is found, and not submitted again."""
    monkeypatch.setattr("a2e_async._core.submission.executor.MIN_AGE_FOR_RESEND", 0.1)
    a2e = make_client(on_unknown="resend_may_pay_twice")
    hostile.faults.add(Step.START, Fault.page(502), times=2)
    await a2e.veo.start(**SAMPLES["veo"])  # found, so the list is known to repeat marks
    one_row_pages_that_repeat(hostile)
    accept = hostile.accept

    def accept_others_after(*args: Any) -> Any:
        made = accept(*args)
        for _ in range(3):
            accept(KINDS["veo"], {}, API_KEY)
        return made

    monkeypatch.setattr(hostile, "accept", accept_others_after)
    task = await a2e.veo.start(**SAMPLES["veo"])
    assert hostile.count(Step.START) == 2
    assert task.ids == hostile.ledger.starts[1].ids
