"""Law 8: no number from the service increases a budget or breaks anything."""

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Budget
from a2e_async.errors import BudgetExceeded

from .money_server import DUB, KEY, TELL_NOTHING, Service

pytestmark = pytest.mark.anyio

ODD: list[Any] = [-5, -(10**40), 2**63, 2**70, True, False, 2.5, math.nan, math.inf, -math.inf]
ODD += ["7", "-7", "free", [], {}, [7], None, TELL_NOTHING]


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service() as made:
        yield made


def client(service: Service, **options: Any) -> A2E:
    return A2E(KEY, base_url=service.base_url, rate=None, trust_env=False, **options)


@pytest.mark.parametrize("where", ["quote", "start", "end", "all"])
@pytest.mark.parametrize("odd", ODD, ids=repr)
async def test_odd_prices(service: Service, tmp_path: Path, odd: Any, where: str) -> None:
    """In a quote, in the response to a start, in the final record, or everywhere."""
    if where in ("quote", "all"):
        service.quote = odd
    if where in ("start", "all"):
        service.price = odd
    budget = Budget(30, unknown_cost=10)
    spent = 0
    async with client(service, budget=budget, journal=tmp_path / "j.db") as a2e:
        for n in range(40):
            try:
                task = await a2e.dubbing.start(**DUB, key=f"k{n}")
            except BudgetExceeded:
                break
            if where in ("end", "all") and odd is not TELL_NOTHING:
                service.records[task.ids[0]]["coins"] = odd
            again = a2e.attach(task.ref)
            await again
            await task
            assert task.coins is None or 0 <= task.coins <= 2**40
            assert spent <= budget.spent <= 30
            assert budget.left <= 30 - budget.spent
            spent = budget.spent
        assert a2e.journal is not None
        days = await a2e.journal.spent()
    assert budget.reserved == 0
    assert all(day.coins >= 0 for day in days)
    assert service.starts() <= 40


@pytest.mark.parametrize("batch", [False, True])
async def test_a_price_that_is_known_only_at_the_end(service: Service, *, batch: bool) -> None:
    """A start without a price stays reserved until its record contains one."""
    service.quote, service.price = TELL_NOTHING, TELL_NOTHING
    budget = Budget(100, unknown_cost=1)
    async with client(service, budget=None if batch else budget) as a2e:
        tell_later(service, 9)
        if batch:
            jobs = [a2e.dubbing.job(**DUB) for _ in range(2)]
            assert all([o.ok async for o in a2e.batch(jobs, budget=budget)])
        else:
            for _ in range(2):
                await a2e.dubbing.run(**DUB)
        assert budget.spent == 18
        tell_later(service, 0)
        for record in service.records.values():
            record["coins"] = 0
    assert budget.spent == 18


def tell_later(service: Service, coins: int) -> None:
    """Make starts return running tasks whose price appears only in later polls."""
    service.finish_later = {"coins": coins}
