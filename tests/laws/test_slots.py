"""A failed or cancelled start releases its slot and reservation, whatever its progress."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from a2e_async import A2E, Budget
from a2e_async.errors import A2EError

from .money_server import DUB, KEY, Service
from .test_budget import sound

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service() as made:
        yield made


@pytest.fixture(autouse=True)
def quick_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make searches for lost starts end quickly."""
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.01))


def refuse(service: Service) -> None:
    service.refuse = 1


def lose(service: Service) -> None:
    service.lose = 1


def fail_upload(service: Service) -> None:
    service.refuse_upload = 1


def grow(service: Service) -> None:
    """Make the price too high after the upload."""
    service.quote = lambda body: 1 if "invalid" in body["source_url"] else 1000


@pytest.mark.parametrize("fault", [refuse, lose, fail_upload, grow])
async def test_a_start_that_fails(service: Service, fault: Any) -> None:
    """The next start gets the only slot at once."""
    budget = Budget(50)
    a2e = A2E(
        KEY,
        base_url=service.base_url,
        rate=None,
        trust_env=False,
        max_unfinished=1,
        budget=budget,
        poll_interval=0.05,
    )
    async with a2e:
        user = a2e.for_caller("u", max_unfinished=1)
        fault(service)
        with pytest.raises(A2EError):
            await user.dubbing.start(**{**DUB, "source_url": sound()})
        service.quote = 1
        async with asyncio.timeout(10):
            await user.dubbing.run(**DUB)
            await user.dubbing.run(**DUB)
        assert a2e.stats().unfinished_tasks == 0
    assert budget.reserved == (1 if fault is lose else 0)


async def test_a_start_that_is_cancelled_at_any_turn(service: Service) -> None:
    """While waiting for the budget, a slot, its upload or its response."""
    budget = Budget(1000)
    a2e = A2E(
        KEY,
        base_url=service.base_url,
        rate=None,
        trust_env=False,
        max_unfinished=2,
        budget=budget,
        poll_interval=0.01,
    )
    async with a2e:
        user = a2e.for_caller("u", max_unfinished=1)
        for turns in range(0, 120, 3):
            started = service.starts()
            starts = [
                asyncio.create_task(user.dubbing.start(**{**DUB, "source_url": sound(turns)}))
                for _ in range(3)
            ]
            for _ in range(turns):
                await asyncio.sleep(0)
            for start in starts[::2]:
                start.cancel()
            async with asyncio.timeout(20):
                await asyncio.gather(*starts, return_exceptions=True)
                await user.dubbing.run(**DUB)
            for task in a2e.unclaimed():
                await task
            assert started + 2 <= service.starts() <= started + 4
        async with asyncio.timeout(10):
            while a2e.stats().unfinished_tasks:
                await asyncio.sleep(0.01)
        assert a2e.stats().queued_starts == 0
    paid = service.starts() + service.paid.count("upload")
    assert (budget.spent, budget.reserved) == (paid, 0)
