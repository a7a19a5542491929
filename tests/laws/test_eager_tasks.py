"""Batches and the blocking client with eager tasks, which run as soon as they are created."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Budget, blocking

from .money_server import DUB, KEY, Service
from .test_budget import sound

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks here"),
]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service() as made:
        yield made


@pytest.fixture
async def eager() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    before = loop.get_task_factory()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # of 3.12
    yield
    loop.set_task_factory(before)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("options", [{}, {"journal": True}, {"max_unfinished": 2}])
async def test_a_batch(service: Service, tmp_path: Path, options: dict[str, Any]) -> None:
    """All jobs are saved within the budget; a second run reuses them; a third is a dry run."""
    if options.get("journal"):
        options = {"journal": tmp_path / "j.db"}
    budget = Budget(21)
    a2e = A2E(
        KEY,
        base_url=service.base_url,
        rate=None,
        trust_env=False,
        poll_interval=0.02,
        **options,
    )
    async with a2e, asyncio.timeout(60):
        talk = sound()
        jobs = [a2e.dubbing.job(**{**DUB, "source_url": talk}, key=f"k{n}") for n in range(20)]
        found = a2e.batch(jobs, limit=8, budget=budget, download_to=tmp_path / "out")
        assert [o.error async for o in found] == [None] * 20
        again = [o async for o in a2e.batch(jobs, download_to=tmp_path / "out")]
        assert all(o.ok for o in again)
        assert all([o.plan is not None async for o in a2e.batch(jobs, dry_run=True)])
        outcomes = a2e.batch(jobs, limit=3)
        await anext(outcomes)
        await outcomes.aclose()
        assert a2e.unclaimed() == ()
    assert service.starts() == 20
    assert (budget.spent, budget.reserved) == (21, 0)


async def test_the_blocking_client(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its loop may get the eager factory from a policy."""
    make = asyncio.new_event_loop

    def make_eager() -> asyncio.AbstractEventLoop:
        loop = make()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]  # of 3.12
        return loop

    monkeypatch.setattr("asyncio.runners.events.new_event_loop", make_eager)

    def work() -> None:
        with blocking(KEY, base_url=service.base_url, trust_env=False) as a2e:
            assert a2e.dubbing.run(**DUB).outputs
            jobs = [a2e.dubbing.job(**DUB) for _ in range(5)]
            assert all(o.ok for o in a2e.batch(iter(jobs), limit=2, budget=5))
            assert a2e.unclaimed() == ()

    async with asyncio.timeout(60):
        await asyncio.to_thread(work)
    assert service.starts() == 6
