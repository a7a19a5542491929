"""Journals of the user's own: the required methods suffice, more is offered by inheriting."""

from collections.abc import Callable
from typing import Any

import pytest

from a2e_async._core.http.rate_limit import RateLimiter
from a2e_async._core.journal.protocol import capabilities_of
from a2e_async.events import Event
from a2e_async.journal import Journal, JournalCapabilities, State
from a2e_async.sandbox import Sandbox
from tests.journal.model import ClientClocks, ModelJournal, SharedJournalState

from .conftest import DUB, MakeClient, paid


class LookAlike(ModelJournal):
    """Has attributes named like capabilities, but does not declare them."""

    shared = True

    def withdraw(self, key: str, sent_at: float) -> None:
        raise AssertionError

    def limiter(self, *_: Any) -> RateLimiter:
        raise AssertionError

    def peers(self, account: str) -> None:
        raise AssertionError


class CountingLimiter(RateLimiter):
    """Counts the requests that it lets through."""

    passed = 0

    def try_acquire(self, cost: float = 1) -> bool:
        self.passed += 1
        return super().try_acquire(cost)


class SharedLimit(ModelJournal, JournalCapabilities):
    """Declares that it is shared, and offers a rate limiter."""

    shared = True
    limits: list[tuple[float, float, str]]
    made: CountingLimiter

    def limiter(
        self, rate: float, burst: float, account: str, emit: Callable[[Event], None]
    ) -> RateLimiter:
        self.limits = [*getattr(self, "limits", ()), (rate, burst, account)]
        self.made = CountingLimiter(rate, burst)
        return self.made


def make(of: type[ModelJournal]) -> Any:
    world = SharedJournalState()
    world.leases["one"] = 1e12
    return of(world, "one", ClientClocks(world))


def test_a_journal_has_no_capabilities_by_default() -> None:
    journals: list[Journal | None] = [None, make(ModelJournal), make(LookAlike)]
    for journal in journals:
        found = capabilities_of(journal)
        assert found.shared is False
        assert found.limiter(1, 1, "account", print) is None
        assert found.peers("account") is None
        found.withdraw("k", 1.0)


@pytest.mark.parametrize("of", [ModelJournal, LookAlike])
async def test_the_required_methods_suffice(
    make_client: MakeClient, sandbox: Sandbox, of: type[ModelJournal]
) -> None:
    journal = make(of)
    a2e = make_client(journal=journal, rate=1000)
    assert a2e.journal is journal
    task = await a2e.dubbing.start(**DUB, key="k", name="talk")
    assert (await a2e.dubbing.start(**DUB, key="k", name="talk")).ref == task.ref
    await task
    entry = await journal.get("k")
    assert (entry.state, entry.mark) == (State.FINISHED, None)
    assert len(paid(sandbox)) == 1


async def test_capabilities_are_used(make_client: MakeClient) -> None:
    journal = make(SharedLimit)
    a2e = make_client(journal=journal, rate=1000, burst=7, account="mine")
    assert [limit[:2] for limit in journal.limits] == [(1000, 7)]
    await a2e.dubbing.start(**DUB, key="k", name="talk")
    assert journal.made.passed == 1  # the limiter, whose queue is empty, is the client's
    entry = await journal.get("k")
    assert entry.mark is not None  # other clients may give their jobs the same name
    assert entry.name == f"talk {entry.mark}"


async def test_no_limit_is_not_shared(make_client: MakeClient) -> None:
    journal = make(SharedLimit)
    make_client(journal=journal, rate=None)
    assert not hasattr(journal, "limits")
