"""The contract tests for journals. To test an implementation, subclass with a fixture:

class TestMine(JournalContract):
    @pytest.fixture
    def clients(self) -> Clients: ...
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from attrs import evolve, field, frozen

from a2e_async._core.journal.protocol import (
    LEASE_DURATION,
    MAX_COINS,
    AccountEntries,
    BeginResult,
    Entry,
    Journal,
    LeaseLost,
    SpendSummary,
    State,
    UploadedInput,
)
from a2e_async.errors import ConfigurationError

from .model import ClientClocks, SharedJournalState

DAY = "2026-01-09"


@frozen(eq=False)
class JournalClients:
    """Creates clients of one journal. Each has its own clock, based on the world's time."""

    make: Callable[[ClientClocks], Journal]
    world: SharedJournalState = field(factory=SharedJournalState)

    def client(self) -> tuple[Journal, ClientClocks]:
        time = ClientClocks(self.world)
        return self.make(time), time

    def journal(self, account: str | None = None) -> Journal:
        made = self.client()[0]
        if account is not None:
            made.bind(account)
        return made

    def crash(self, time: ClientClocks) -> None:
        """Simulate the death of a client's process, until its lease has expired."""
        time.frozen = self.world.now
        self.world.now += LEASE_DURATION + 2


def entry(key: str = "talk-17", **values: Any) -> Entry:
    filled: dict[str, Any] = {"kind": "dubbing", "digest": "d1", **values}
    return Entry(key=key, **filled)


async def keys(journal: Journal, **filters: Any) -> list[str]:
    """Return all keys, page by page."""
    found, after = await journal.entries(**filters)
    seen = [one.key for one in found]
    while after:
        found, after = await journal.entries(**filters, after=after)
        seen += [one.key for one in found]
    return seen


async def wait_until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds; fail after 60 s."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def any_accepted(changes: list[Entry | None]) -> bool:
    return any(one is not None and one.ids for one in changes)


class JournalContract:
    """The required behaviour of a `Journal`."""

    async def test_an_entry_comes_back_as_it_was_written(self, clients: JournalClients) -> None:
        journal = clients.journal()
        written = entry(
            state=State.INTENT,
            path="/api/v1/userDubbing/startDubbing",
            name="Vortrag ✓ 'a' \x00",
            mark="a2e-0123456789abcdefghij",
            echo={"source_url": "e1"},
            expected=2,
            sent_at=1.5,
            lost_at=2.5,
            coins=0,
            reserved=30,
            uploads=2,
            missing_since=3.5,
            closed_by="saved",
            urls=("https://media.example/a",),
            outputs=2,
            paths={"x#0": "out/a.mp3", "x#1": "out/ü.mp3"},
            meta={"n": [1, None, {"x": "é"}]},
            own_key=True,
            hook="a2e-9876543210abcdefghij",
        )
        begun = await journal.begin(written)
        now = 1_768_000_000.0 + clients.world.now
        full = evolve(written, owner=journal.owner, created_at=now, updated_at=now)
        assert begun == BeginResult(full, is_owner=True, created=True)
        assert await clients.journal().get("talk-17") == full
        assert await journal.get("other") is None
        await journal.begin(entry("empty", meta={}))
        assert (await journal.get("empty") or full).meta == {}

    async def test_each_step_is_kept(self, clients: JournalClients) -> None:
        journal, other = clients.journal(), clients.journal()
        await journal.begin(entry(reserved=30))
        clients.world.now += 1
        steps: list[tuple[State, dict[str, Any]]] = [
            (State.INTENT, {"sent_at": 5.0}),
            (State.ACCEPTED, {"ids": ("a", "b"), "coins": 12, "reserved": None}),
            (State.FINISHED, {"succeeded": True, "urls": ("u",)}),
            (State.SAVED, {"paths": {"x#0": "p"}}),
        ]
        for state, values in steps:
            stepped = await journal.advance("talk-17", state, **values)
            assert stepped is not None
            assert stepped.state is state
            assert {name: getattr(stepped, name) for name in values} == values
            assert stepped.updated_at == stepped.created_at + 1
            assert await other.get("talk-17") == stepped
        assert [one.ref for one in (await journal.entries())[0]] == ["dubbing:a+b"]

    @pytest.mark.parametrize("state", list(State)[2:])
    async def test_a_state_never_goes_back(self, clients: JournalClients, state: State) -> None:
        journal = clients.journal()
        await journal.begin(entry())
        await journal.advance("talk-17", State.SAVED, paths={"x#0": "p"})
        late = await journal.advance("talk-17", state, coins=4)
        assert late is not None
        assert (late.state, late.coins, late.paths) == (State.SAVED, 4, {"x#0": "p"})

    async def test_a_key_belongs_to_one_client(self, clients: JournalClients) -> None:
        first, second = clients.journal(), clients.journal()
        begun = await asyncio.gather(first.begin(entry()), second.begin(entry()))
        assert sorted((b.is_owner, b.created) for b in begun) == [(False, False), (True, True)]
        assert begun[0].entry == begun[1].entry
        owner = first if begun[0].is_owner else second
        assert begun[0].entry.owner == owner.owner
        assert await owner.begin(entry()) == evolve(begun[0], is_owner=True, created=False)

    async def test_other_inputs_do_not_take_a_key(self, clients: JournalClients) -> None:
        (journal, time), other = clients.client(), clients.journal()
        await journal.begin(entry())
        clients.crash(time)
        assert await other.begin(entry(digest="d2")) == await other.begin(entry(kind="x"))
        begun = await other.begin(entry(digest="d2"))
        assert (begun.is_owner, begun.created, begun.entry.owner) == (False, False, journal.owner)

    async def test_only_a_dead_owners_entry_is_taken(self, clients: JournalClients) -> None:
        (journal, time), other = clients.client(), clients.journal()
        await journal.begin(entry("a"))
        await journal.begin(entry("b"))
        assert await journal.acquire("a")
        assert not await other.acquire("a")
        clients.crash(time)
        assert await other.acquire("a")
        assert (await other.begin(entry("b"))).is_owner
        assert (await other.get("b") or entry()).owner == other.owner
        assert not await other.acquire("never")

    async def test_a_lease_is_renewed_by_use(self, clients: JournalClients) -> None:
        journal, other = clients.journal(), clients.journal()
        await journal.begin(entry())
        for n in range(4):
            clients.world.now += LEASE_DURATION - 1
            await (journal.get("talk-17") if n % 2 else journal.begin(entry(str(n))))
            assert not await other.acquire("talk-17")

    async def test_a_lease_from_before_a_reboot_is_over(self, clients: JournalClients) -> None:
        journal, other = clients.journal(), clients.journal()
        await journal.begin(entry())
        clients.world.now = 3.0  # the host's clock restarts
        assert await other.acquire("talk-17")

    async def test_a_closed_client_leaves_its_entries(self, clients: JournalClients) -> None:
        journal, other = clients.journal(), clients.journal()
        await journal.begin(entry())
        await journal.aclose()
        assert await other.acquire("talk-17")

    async def test_a_lost_lease_forbids_sending(self, clients: JournalClients) -> None:
        (journal, time), other = clients.client(), clients.journal()
        await journal.begin(entry())
        clients.crash(time)
        assert (await other.begin(entry())).is_owner
        time.frozen = None  # the suspended process continues
        with pytest.raises(LeaseLost):
            await journal.advance("talk-17", State.INTENT, sent_at=9.0)
        with pytest.raises(LeaseLost):
            await journal.advance("talk-17", State.RESERVED)
        assert not await journal.drop("talk-17")
        assert not await journal.acquire("talk-17")
        kept = await other.get("talk-17")
        assert kept is not None
        assert (kept.state, kept.sent_at, kept.owner) == (State.RESERVED, None, other.owner)
        assert await other.advance("talk-17", State.INTENT)

    async def test_dropped_and_accepted_entries_forbid_sending(
        self, clients: JournalClients
    ) -> None:
        journal = clients.journal()
        with pytest.raises(LeaseLost):
            await journal.advance("never", State.INTENT)
        await journal.begin(entry())
        await clients.journal().advance("talk-17", State.ACCEPTED, ids=("a",))
        with pytest.raises(LeaseLost):
            await journal.advance("talk-17", State.INTENT)

    async def test_facts_are_never_refused(self, clients: JournalClients) -> None:
        """Two clients have sent the same key, as one process was suspended: both were charged."""
        (journal, time), other = clients.client(), clients.journal()
        await journal.begin(entry(state=State.INTENT))
        clients.crash(time)
        assert (await other.begin(entry())).is_owner
        await other.advance("talk-17", State.ACCEPTED, ids=("b",), coins=10)
        time.frozen = None
        both = await journal.advance("talk-17", State.ACCEPTED, ids=("a", "b"), coins=7)
        assert both is not None
        assert (both.ids, both.coins, both.owner) == (("b", "a"), 17, other.owner)
        assert await journal.find("dubbing", "a") == await other.find("dubbing", "b") == both
        settled = await other.advance("talk-17", State.FINISHED, ids=("b", "a"), coins=16)
        assert settled is not None
        assert (settled.ids, settled.coins) == (("b", "a"), 16)
        later = await other.advance("talk-17", State.ACCEPTED, ids=("c",), coins=None)
        assert later is not None
        assert (later.ids, later.coins) == (("b", "a", "c"), 16)
        assert await journal.advance("never", State.ACCEPTED, ids=("d",)) is None

    async def test_ids_make_an_entry_accepted(self, clients: JournalClients) -> None:
        journal = clients.journal()
        await journal.begin(entry(state=State.INTENT))
        stepped = await journal.advance("talk-17", State.INTENT, ids=("a",))
        assert stepped is not None
        assert stepped.state is State.ACCEPTED
        assert not await journal.drop("talk-17")
        assert await journal.find("dubbing", "a") == stepped
        assert await journal.find("x", "a") is None

    async def test_an_entry_can_begin_accepted(self, clients: JournalClients) -> None:
        journal = clients.journal()
        begun = await journal.begin(entry(state=State.ACCEPTED, ids=("a",)))
        assert await journal.find("dubbing", "a") == begun.entry
        await journal.begin(entry("second", state=State.ACCEPTED, ids=("a",)))
        assert await journal.find("dubbing", "a") == begun.entry
        assert (await journal.begin(entry())).is_owner is False

    async def test_a_dropped_key_is_free(self, clients: JournalClients) -> None:
        journal, other = clients.journal(), clients.journal()
        await journal.begin(entry(state=State.INTENT))
        assert not await other.drop("talk-17")
        assert await journal.drop("talk-17")
        assert not await journal.drop("talk-17")
        assert await journal.get("talk-17") is None
        assert (await other.begin(entry())).created

    async def test_pages_are_stable_while_others_write(self, clients: JournalClients) -> None:
        journal, other = clients.journal(), clients.journal()
        for n in range(6):
            await journal.begin(entry(str(n)))
        page, after = await journal.entries(limit=3)
        assert [one.key for one in page] == ["0", "1", "2"]
        await journal.drop("1")
        await journal.drop("5")
        await other.begin(entry("6"))
        await other.advance("3", State.SAVED)
        page, after = await journal.entries(after=after, limit=3)
        assert [one.key for one in page] == ["3", "4", "6"]
        assert await journal.entries(after=after, limit=3) == ([], 0)
        assert await keys(journal, limit=1) == ["0", "2", "3", "4", "6"]

    async def test_entries_are_filtered(self, clients: JournalClients) -> None:
        journal = clients.journal()
        for state in State:
            await journal.begin(entry(state.name, state=state))
        await journal.begin(entry("failed", state=State.FINISHED, succeeded=False))
        await journal.begin(entry("done", state=State.FINISHED, succeeded=True))
        # It failed, and has a good output that nobody has yet.
        await journal.begin(entry("in part", state=State.FINISHED, failure="blurry", outputs=1))
        is_open = ["RESERVED", "INTENT", "ACCEPTED", "FINISHED", "done", "in part"]
        assert await keys(journal, open_only=True, limit=2) == is_open
        assert await keys(journal, states=[State.SAVED, State.INTENT]) == ["INTENT", "SAVED"]
        finished = {State.FINISHED}
        assert await keys(journal, states=finished, open_only=True) == is_open[3:]
        assert await keys(journal, states=()) == []

    async def test_only_old_and_closed_entries_are_pruned(self, clients: JournalClients) -> None:
        journal, other = clients.journal(), clients.journal()
        for state in State:
            await journal.begin(entry(state.name, state=state, ids=(f"id-{state.name}",)))
        await journal.begin(entry("failed", state=State.FINISHED, succeeded=False, coins=3))
        clients.world.now += 100
        await other.begin(entry("young", state=State.SAVED))
        before = 1_768_000_000.0 + clients.world.now
        ledger = await journal.spent()
        assert await other.prune(before, states=[State.FINISHED]) == 1
        assert await other.prune(before) == 1
        assert await keys(other) == ["RESERVED", "INTENT", "ACCEPTED", "FINISHED", "young"]
        assert await other.find("dubbing", "id-SAVED") is None
        assert await other.find("dubbing", "id-ACCEPTED") is not None
        assert await other.spent() == ledger
        assert (await other.begin(entry("failed"))).created

    async def test_money_is_summed_by_day_and_kind(self, clients: JournalClients) -> None:
        journal = clients.journal()
        values: list[dict[str, Any]] = [
            {"coins": 10, "reserved": 12, "state": State.SAVED},
            {"coins": 5, "state": State.ACCEPTED},
            {"reserved": 30, "state": State.INTENT},
            {"reserved": 7, "state": State.ACCEPTED},
            {"reserved": 100, "state": State.FINISHED, "succeeded": False},
            {"kind": "animate", "coins": 1},
        ]
        for n, some in enumerate(values):
            await journal.begin(entry(str(n), **some))
        clients.world.now += 86_400
        await journal.begin(entry("tomorrow", coins=2))
        assert await clients.journal().spent() == [
            SpendSummary(day=DAY, kind="animate", coins=1, reserved=0, starts=1),
            SpendSummary(day=DAY, kind="dubbing", coins=15, reserved=37, starts=5),
            SpendSummary(day="2026-01-10", kind="dubbing", coins=2, reserved=0, starts=1),
        ]

    async def test_key_listeners_get_changes_of_others(self, clients: JournalClients) -> None:
        journal, other = clients.journal(), clients.journal()
        changes: list[Entry | None] = []
        unwatched: list[Entry | None] = []
        await journal.begin(entry())
        await journal.begin(entry("b", state=State.INTENT))
        end = journal.watch("talk-17", changes.append)
        journal.watch("b", unwatched.append)()
        assert await journal.get("talk-17") is not None
        await journal.advance("talk-17", State.INTENT)
        await journal.advance("b", State.INTENT)
        changed = await other.advance("talk-17", State.ACCEPTED, ids=("a",))
        await wait_until(lambda: changes)
        await journal.advance("talk-17", State.FINISHED)
        saved = await other.advance("talk-17", State.SAVED)
        await wait_until(lambda: changes[-1] == saved)
        assert changes == [changed, saved]
        await other.prune(float("inf"))
        await wait_until(lambda: changes[-1] is None)
        await other.begin(entry())
        await wait_until(lambda: changes[-1] is not None)
        await other.drop("talk-17")
        await wait_until(lambda: changes[-1] is None)
        end()
        await other.begin(entry())
        marker: list[Entry | None] = []
        journal.watch("marker", marker.append)
        await journal.get("marker")
        await other.begin(entry("marker"))
        await wait_until(lambda: marker)
        assert [one and one.state for one in changes] == [2, 4, None, 0, None]
        assert not unwatched

    async def test_entry_listeners_get_all_changes_of_others(self, clients: JournalClients) -> None:
        journal, other = clients.journal(), clients.journal()
        changes: list[Entry] = []
        await other.begin(entry("old"))
        end = journal.watch_all(changes.append)
        await journal.get("old")  # from here on
        await journal.begin(entry("mine"))
        begun = await other.begin(entry("a", hook="h-a"))
        await wait_until(lambda: changes == [begun.entry])
        steps = await asyncio.gather(
            other.advance("a", State.ACCEPTED, ids=("1",)),
            other.advance("mine", State.FINISHED, succeeded=True),
            journal.advance("old", State.FINISHED),
        )
        await wait_until(lambda: len(changes) >= 3)
        assert {one.key: one for one in changes} == {"a": steps[0], "mine": steps[1]}
        await other.drop("old")
        await other.prune(float("inf"))
        end()
        marker: list[Entry] = []
        journal.watch_all(marker.append)
        await journal.get("a")
        await other.begin(entry("marker"))
        await wait_until(lambda: marker)
        assert [one.key for one in changes] == ["a", "a", "mine"]

    async def test_a_webhook_event_notifies_all_others(self, clients: JournalClients) -> None:
        """Any client may record the event, even before the start's task is known."""
        owner, receiver = clients.journal(), clients.journal()
        await owner.begin(entry(hook="h-17", state=State.INTENT))
        await owner.begin(entry("b"))
        await owner.advance("b", State.INTENT, hook="h-b")
        changes: list[Entry] = []
        owner.watch_all(changes.append)
        await owner.get("b")
        clients.world.now += 1
        now = 1_768_000_000.0 + clients.world.now
        recorded = await receiver.record_event("h-17")
        assert recorded is not None
        assert (recorded.key, recorded.state, recorded.event_at) == ("talk-17", State.INTENT, now)
        assert (recorded.owner, recorded.updated_at) == (owner.owner, now)
        await wait_until(lambda: changes == [recorded])
        assert await receiver.get("talk-17") == recorded
        assert (await owner.record_event("h-b") or entry()).key == "b"
        assert await receiver.record_event("h-none") is None

    async def test_a_webhook_event_does_not_change_a_closed_entry(
        self, clients: JournalClients
    ) -> None:
        journal = clients.journal()
        await journal.begin(entry("done", hook="h-1", state=State.SAVED, ids=("1",)))
        failed = {"state": State.FINISHED, "succeeded": False}
        await journal.begin(entry("failed", hook="h-2", ids=("2",), **failed))
        clients.world.now += 50
        for key, hook in (("done", "h-1"), ("failed", "h-2")):
            before = await journal.get(key)
            assert await journal.record_event(hook) == before == await journal.get(key)
            assert (before or entry()).event_at is None

    async def test_watching_before_getting_misses_nothing(self, clients: JournalClients) -> None:
        journal, other = clients.journal(), clients.journal()
        for n in range(6):
            key = str(n)
            await other.begin(entry(key))
            changes: list[Entry | None] = []
            end = journal.watch(key, changes.append)
            _, seen = await asyncio.gather(
                other.advance(key, State.ACCEPTED, ids=(f"a{n}",)), journal.get(key)
            )
            assert seen is not None
            if not seen.ids:
                # The creation of the entry, just before, may be reported first.
                await wait_until(partial(any_accepted, changes))
            end()

    # -- accounts ------------------------------------------------------------------------------

    async def test_one_key_in_two_accounts_is_two_starts(self, clients: JournalClients) -> None:
        one, two = clients.journal("one"), clients.journal("two")
        begun = [
            await journal.begin(entry(digest=digest))
            for journal, digest in ((one, "d1"), (two, "d2"))
        ]
        assert [(b.created, b.entry.account) for b in begun] == [(True, "one"), (True, "two")]
        await one.advance("talk-17", State.ACCEPTED, ids=("a",), coins=3)
        await two.advance("talk-17", State.ACCEPTED, ids=("a", "b"), coins=5)
        assert [
            (await one.get("talk-17") or entry()).ids,
            (await two.get("talk-17") or entry()).ids,
        ] == [("a",), ("a", "b")]
        assert (await one.find("dubbing", "a") or entry()).account == "one"
        assert (await two.find("dubbing", "a") or entry()).account == "two"
        assert await one.find("dubbing", "b") is None
        assert [sum(day.coins for day in await journal.spent()) for journal in (one, two)] == [3, 5]
        assert sum(day.coins for day in await clients.journal().spent()) == 8
        assert await clients.journal().accounts() == [
            AccountEntries(account="one", entries=1, open=1),
            AccountEntries(account="two", entries=1, open=1),
        ]

    async def test_nothing_of_another_account_is_seen_or_changed(
        self, clients: JournalClients
    ) -> None:
        one, time = clients.client()
        one.bind("one")
        two = clients.journal("two")
        paid = {"state": State.ACCEPTED, "ids": ("a",), "hook": "h-1"}
        kept = (await one.begin(entry(**paid))).entry
        await one.begin(entry("done", state=State.SAVED, coins=2))
        clients.crash(time)
        assert await two.get("talk-17") is None
        assert await two.find("dubbing", "a") is None
        assert await two.record_event("h-1") is None
        assert await keys(two) == await keys(two, open_only=True) == []
        assert not await two.acquire("talk-17")
        assert not await two.drop("talk-17")
        assert await two.advance("talk-17", State.SAVED) is None
        with pytest.raises(LeaseLost):
            await two.advance("talk-17", State.INTENT)
        assert await two.prune(float("inf")) == 0
        assert await two.spent() == []
        assert await clients.journal("one").get("talk-17") == kept

    async def test_changes_of_another_account_are_not_reported(
        self, clients: JournalClients
    ) -> None:
        one, two, peer = (clients.journal(name) for name in ("one", "two", "one"))
        changes: list[Entry] = []
        key_changes: list[Entry | None] = []
        one.watch_all(changes.append)
        one.watch("talk-17", key_changes.append)
        await one.get("talk-17")
        await two.begin(entry())
        begun = await peer.begin(entry())
        await wait_until(lambda: changes and key_changes)
        assert changes == key_changes == [begun.entry]

    async def test_a_journal_serves_one_account(self, clients: JournalClients) -> None:
        journal = clients.journal("one")
        journal.bind("one")
        with pytest.raises(ConfigurationError, match="one account"):
            journal.bind("two")

    async def test_an_entry_without_account_gets_the_one_that_advances_it(
        self, clients: JournalClients
    ) -> None:
        """Entries of earlier versions have no account."""
        old, one, two = clients.journal(), clients.journal("one"), clients.journal("two")
        await old.begin(entry(state=State.ACCEPTED, ids=("a",)))
        await old.aclose()
        for journal in (one, two):
            assert not (await journal.begin(entry())).created
            assert await journal.find("dubbing", "a") is not None
        assert await two.acquire("talk-17")
        await two.advance("talk-17", State.ACCEPTED, missing_since=5.0)
        assert (await one.get("talk-17") or entry()).account == ""
        seen = await one.advance("talk-17", State.FINISHED, succeeded=True, missing_since=None)
        assert (seen or entry()).account == "one"
        assert await one.find("dubbing", "a") == seen
        assert await two.get("talk-17") is await two.find("dubbing", "a") is None
        assert (await two.begin(entry())).created

    async def test_a_former_accounts_entries_are_adopted(self, clients: JournalClients) -> None:
        old, new = clients.journal("old"), clients.journal("new")
        await old.begin(entry("a", state=State.ACCEPTED, ids=("1",), coins=4))
        await old.begin(entry("b", state=State.SAVED, ids=("2",), coins=2))
        await old.begin(entry("both", state=State.ACCEPTED, ids=("3",)))
        await old.record_upload_cost(1)
        await old.prune(float("inf"))
        await old.begin(entry("task", state=State.ACCEPTED, ids=("4",)))
        await new.begin(entry("both"))
        await new.begin(entry("other", state=State.ACCEPTED, ids=("4",)))
        await new.record_upload_cost(1)
        assert await new.adopt_account("old") == 1
        assert (await new.find("dubbing", "1") or entry()).key == "a"
        assert sorted(await keys(new)) == ["a", "both", "other"]
        assert await keys(old) == ["both", "task"]
        assert (await old.find("dubbing", "3") or entry()).key == "both"
        assert [(day.kind, day.coins) for day in await new.spent()] == [
            ("dubbing", 6),
            ("upload", 2),
        ]
        assert (
            await new.adopt_account("old")
            == await new.adopt_account("nobody")
            == await new.adopt_account("new")
            == 0
        )

    async def test_an_adopted_entry_is_no_longer_dropped(self, clients: JournalClients) -> None:
        """It belongs to the other account now, also for the client that began it."""
        old, new = clients.journal("old"), clients.journal("new")
        await old.begin(entry("a", state=State.RESERVED))
        assert await new.adopt_account("old") == 1
        assert not await old.drop("a")
        assert await keys(new) == ["a"]

    # -- values from the service -----------------------------------------------------------------

    async def test_a_task_belongs_to_one_entry(self, clients: JournalClients) -> None:
        journal, other = clients.journal(), clients.journal()
        await journal.begin(entry("a", state=State.INTENT))
        await other.begin(entry("b", state=State.INTENT))
        first = await journal.advance("a", State.ACCEPTED, ids=("1",), coins=4)
        refused = await other.advance("b", State.ACCEPTED, ids=("1",), coins=4)
        assert refused is not None
        assert (refused.ids, refused.state, refused.coins) == ((), State.INTENT, None)
        some = await other.advance("b", State.ACCEPTED, ids=("1", "2"), coins=5)
        assert some is not None
        assert (some.ids, some.state, some.coins) == (("2",), State.ACCEPTED, 5)
        late = (await other.begin(entry("c", state=State.ACCEPTED, ids=("1", "2")))).entry
        assert (late.ids, late.state) == ((), State.INTENT)
        assert await other.find("dubbing", "1") == first
        assert await journal.find("dubbing", "2") == some
        assert [one.ids for one in (await journal.entries())[0]] == [("1",), ("2",), ()]

    async def test_two_clients_that_claim_one_task_at_once(self, clients: JournalClients) -> None:
        journals = [clients.journal() for _ in range(4)]
        for n, journal in enumerate(journals):
            await journal.begin(entry(str(n), state=State.INTENT))
        steps = await asyncio.gather(
            *(
                journal.advance(str(n), State.ACCEPTED, ids=("a",))
                for n, journal in enumerate(journals)
            )
        )
        assert sorted(len(step.ids) for step in steps if step) == [0, 0, 0, 1]

    @pytest.mark.parametrize(
        "coins", [2**40 + 1, 2**63, 2**70, -1, True, float("nan"), "x", [1]], ids=str
    )
    async def test_an_invalid_price_does_not_block_an_id(
        self, clients: JournalClients, coins: Any
    ) -> None:
        journal = clients.journal()
        await journal.begin(entry(state=State.INTENT, reserved=9))
        paid = await journal.advance("talk-17", State.ACCEPTED, ids=("a",), coins=coins)
        begun = await journal.begin(entry("b", coins=coins, reserved=coins))
        assert paid is not None
        assert (paid.ids, paid.coins, begun.created) == (("a",), None, True)
        assert (begun.entry.coins, begun.entry.reserved) == (None, None)
        assert [(day.coins, day.reserved) for day in await journal.spent()] == [(0, 9)]

    @pytest.mark.parametrize(("price", "coins"), [(1.5, 2), ("7", 7), (4.0, 4)], ids=str)
    async def test_a_price_is_kept_in_whole_coins(
        self, clients: JournalClients, price: Any, coins: int
    ) -> None:
        journal = clients.journal()
        begun = await journal.begin(entry(state=State.INTENT, reserved=price))
        paid = await journal.advance("talk-17", State.ACCEPTED, ids=("a",), coins=price)
        assert paid is not None
        assert (begun.entry.reserved, paid.coins) == (coins, coins)

    async def test_sums_of_the_highest_prices_can_be_kept(self, clients: JournalClients) -> None:
        journal = clients.journal()
        for n in range(3):
            await journal.begin(entry(str(n), state=State.SAVED, coins=MAX_COINS))
        await journal.prune(float("inf"))
        (day,) = await journal.spent()
        assert day.coins == 3 * MAX_COINS

    # -- missing tasks, uploads -------------------------------------------------------------------

    async def test_a_missing_task_stays_open_until_it_is_pruned(
        self, clients: JournalClients
    ) -> None:
        journal = clients.journal()
        await journal.begin(entry("a", state=State.ACCEPTED, ids=("1",), coins=3))
        await journal.begin(entry("b", state=State.ACCEPTED, ids=("2",)))
        await journal.advance("a", State.ACCEPTED, missing_since=50.0)
        assert await keys(journal, open_only=True) == ["a", "b"]
        assert await journal.prune(float("inf")) == 0
        assert await journal.prune(50.0, missing=True) == 0
        assert await journal.prune(51.0, missing=True) == 1
        assert await keys(journal) == ["b"]
        assert await journal.find("dubbing", "1") is None
        assert sum(day.coins for day in await journal.spent()) == 3

    async def test_an_upload_is_kept_until_it_expires(self, clients: JournalClients) -> None:
        journal, other = clients.journal("one"), clients.journal("one")
        until = 1_768_000_000.0 + clients.world.now + 60
        upload = UploadedInput(
            digest="d", content_type="audio/wav", url="https://x/a", valid_until=until
        )
        assert await journal.find_upload("d", "audio/wav") is None
        await journal.save_upload(upload)
        await journal.save_upload(upload)
        assert await other.find_upload("d", "audio/wav") == upload
        assert await other.find_upload("d", "video/mp4") is None
        assert await clients.journal("two").find_upload("d", "audio/wav") is None
        clients.world.now += 61
        assert await other.find_upload("d", "audio/wav") is None
        later = evolve(upload, url="https://x/b", valid_until=until + 3600)
        await journal.save_upload(later)
        assert await other.find_upload("d", "audio/wav") == later

    async def test_what_is_paid_for_uploads_is_summed(self, clients: JournalClients) -> None:
        journal = clients.journal("one")
        await journal.record_upload_cost(2)
        await journal.record_upload_cost(1)
        await journal.record_upload_cost(0, reserved=4)
        assert await clients.journal().spent() == [
            SpendSummary(day=DAY, kind="upload", coins=3, reserved=4, starts=3)
        ]
        assert await clients.journal("two").spent() == []
