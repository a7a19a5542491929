"""What every journal does. A new implementation is held to it by a subclass with a fixture:

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

from a2e_async.tasks.journal import LEASE, Begun, Entry, Journal, Spent, State, TakenOver

from .model import Time, World

DAY = "2026-01-09"


@frozen(eq=False)
class Clients:
    """Makes clients of one journal. Each has a clock of its own, on the world's time."""

    make: Callable[[Time], Journal]
    world: World = field(factory=World)

    def client(self) -> tuple[Journal, Time]:
        time = Time(self.world)
        return self.make(time), time

    def journal(self) -> Journal:
        return self.client()[0]

    def crash(self, time: Time) -> None:
        """Let a client's process be gone for longer than its lease."""
        time.frozen = self.world.now
        self.world.now += LEASE + 2


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


async def soon(condition: Callable[[], Any]) -> None:
    """Return when a condition holds; fail after 10 s."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


def accepted(told: list[Entry | None]) -> bool:
    return any(one is not None and one.ids for one in told)


class JournalContract:
    """The behaviour of a `Journal`."""

    async def test_an_entry_comes_back_as_it_was_written(self, clients: Clients) -> None:
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
        assert begun == Begun(full, mine=True, new=True)
        assert await clients.journal().get("talk-17") == full
        assert await journal.get("other") is None
        await journal.begin(entry("empty", meta={}))
        assert (await journal.get("empty") or full).meta == {}

    async def test_each_step_is_kept(self, clients: Clients) -> None:
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
    async def test_a_state_never_goes_back(self, clients: Clients, state: State) -> None:
        journal = clients.journal()
        await journal.begin(entry())
        await journal.advance("talk-17", State.SAVED, paths={"x#0": "p"})
        late = await journal.advance("talk-17", state, coins=4)
        assert late is not None
        assert (late.state, late.coins, late.paths) == (State.SAVED, 4, {"x#0": "p"})

    async def test_a_key_belongs_to_one_client(self, clients: Clients) -> None:
        first, second = clients.journal(), clients.journal()
        begun = await asyncio.gather(first.begin(entry()), second.begin(entry()))
        assert sorted((b.mine, b.new) for b in begun) == [(False, False), (True, True)]
        assert begun[0].entry == begun[1].entry
        owner = first if begun[0].mine else second
        assert begun[0].entry.owner == owner.owner
        assert await owner.begin(entry()) == evolve(begun[0], mine=True, new=False)

    async def test_other_inputs_do_not_take_a_key(self, clients: Clients) -> None:
        (journal, time), other = clients.client(), clients.journal()
        await journal.begin(entry())
        clients.crash(time)
        assert await other.begin(entry(digest="d2")) == await other.begin(entry(kind="x"))
        begun = await other.begin(entry(digest="d2"))
        assert (begun.mine, begun.new, begun.entry.owner) == (False, False, journal.owner)

    async def test_only_a_dead_owners_entry_is_taken(self, clients: Clients) -> None:
        (journal, time), other = clients.client(), clients.journal()
        await journal.begin(entry("a"))
        await journal.begin(entry("b"))
        assert await journal.take("a")
        assert not await other.take("a")
        clients.crash(time)
        assert await other.take("a")
        assert (await other.begin(entry("b"))).mine
        assert (await other.get("b") or entry()).owner == other.owner
        assert not await other.take("never")

    async def test_a_lease_is_renewed_by_use(self, clients: Clients) -> None:
        journal, other = clients.journal(), clients.journal()
        await journal.begin(entry())
        for n in range(4):
            clients.world.now += LEASE - 1
            await (journal.get("talk-17") if n % 2 else journal.begin(entry(str(n))))
            assert not await other.take("talk-17")

    async def test_a_lease_from_before_a_reboot_is_over(self, clients: Clients) -> None:
        journal, other = clients.journal(), clients.journal()
        await journal.begin(entry())
        clients.world.now = 3.0  # the host's clock begins anew
        assert await other.take("talk-17")

    async def test_a_closed_client_leaves_its_entries(self, clients: Clients) -> None:
        journal, other = clients.journal(), clients.journal()
        await journal.begin(entry())
        await journal.aclose()
        assert await other.take("talk-17")

    async def test_nothing_is_sent_for_what_another_took(self, clients: Clients) -> None:
        (journal, time), other = clients.client(), clients.journal()
        await journal.begin(entry())
        clients.crash(time)
        assert (await other.begin(entry())).mine
        time.frozen = None  # the stopped process goes on
        with pytest.raises(TakenOver):
            await journal.advance("talk-17", State.INTENT, sent_at=9.0)
        with pytest.raises(TakenOver):
            await journal.advance("talk-17", State.RESERVED)
        assert not await journal.drop("talk-17")
        assert not await journal.take("talk-17")
        kept = await other.get("talk-17")
        assert kept is not None
        assert (kept.state, kept.sent_at, kept.owner) == (State.RESERVED, None, other.owner)
        assert await other.advance("talk-17", State.INTENT)

    async def test_nothing_is_sent_for_what_is_gone_or_accepted(self, clients: Clients) -> None:
        journal = clients.journal()
        with pytest.raises(TakenOver):
            await journal.advance("never", State.INTENT)
        await journal.begin(entry())
        await clients.journal().advance("talk-17", State.ACCEPTED, ids=("a",))
        with pytest.raises(TakenOver):
            await journal.advance("talk-17", State.INTENT)

    async def test_facts_are_never_refused(self, clients: Clients) -> None:
        """Two clients sent for one key, as a process was stopped in between: both paid."""
        (journal, time), other = clients.client(), clients.journal()
        await journal.begin(entry(state=State.INTENT))
        clients.crash(time)
        assert (await other.begin(entry())).mine
        await other.advance("talk-17", State.ACCEPTED, ids=("b",), coins=10)
        time.frozen = None
        both = await journal.advance("talk-17", State.ACCEPTED, ids=("a", "b"), coins=7)
        assert both is not None
        assert (both.ids, both.coins, both.owner) == (("b", "a"), 17, other.owner)
        assert await journal.find("dubbing", "a") == await other.find("dubbing", "b") == both
        settled = await other.advance("talk-17", State.FINISHED, ids=("b", "a"), coins=16)
        assert settled is not None
        assert (settled.ids, settled.coins) == (("b", "a"), 16)
        assert await journal.advance("never", State.ACCEPTED, ids=("c",)) is None

    async def test_ids_make_an_entry_accepted(self, clients: Clients) -> None:
        journal = clients.journal()
        await journal.begin(entry(state=State.INTENT))
        stepped = await journal.advance("talk-17", State.INTENT, ids=("a",))
        assert stepped is not None
        assert stepped.state is State.ACCEPTED
        assert not await journal.drop("talk-17")
        assert await journal.find("dubbing", "a") == stepped
        assert await journal.find("x", "a") is None

    async def test_an_entry_can_begin_accepted(self, clients: Clients) -> None:
        journal = clients.journal()
        begun = await journal.begin(entry(state=State.ACCEPTED, ids=("a",)))
        assert await journal.find("dubbing", "a") == begun.entry
        await journal.begin(entry("second", state=State.ACCEPTED, ids=("a",)))
        assert await journal.find("dubbing", "a") == begun.entry
        assert (await journal.begin(entry())).mine is False

    async def test_a_dropped_key_is_free(self, clients: Clients) -> None:
        journal, other = clients.journal(), clients.journal()
        await journal.begin(entry(state=State.INTENT))
        assert not await other.drop("talk-17")
        assert await journal.drop("talk-17")
        assert not await journal.drop("talk-17")
        assert await journal.get("talk-17") is None
        assert (await other.begin(entry())).new

    async def test_pages_are_stable_while_others_write(self, clients: Clients) -> None:
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

    async def test_entries_are_filtered(self, clients: Clients) -> None:
        journal = clients.journal()
        for state in State:
            await journal.begin(entry(state.name, state=state))
        await journal.begin(entry("failed", state=State.FINISHED, succeeded=False))
        await journal.begin(entry("done", state=State.FINISHED, succeeded=True))
        is_open = ["RESERVED", "INTENT", "ACCEPTED", "FINISHED", "done"]
        assert await keys(journal, open_only=True, limit=2) == is_open
        assert await keys(journal, states=[State.SAVED, State.INTENT]) == ["INTENT", "SAVED"]
        finished = {State.FINISHED}
        assert await keys(journal, states=finished, open_only=True) == ["FINISHED", "done"]
        assert await keys(journal, states=()) == []

    async def test_only_old_and_closed_entries_are_pruned(self, clients: Clients) -> None:
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
        assert (await other.begin(entry("failed"))).new

    async def test_money_is_summed_by_day_and_kind(self, clients: Clients) -> None:
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
            Spent(day=DAY, kind="animate", coins=1, reserved=0, starts=1),
            Spent(day=DAY, kind="dubbing", coins=15, reserved=37, starts=5),
            Spent(day="2026-01-10", kind="dubbing", coins=2, reserved=0, starts=1),
        ]

    async def test_watchers_hear_of_others_alone(self, clients: Clients) -> None:
        journal, other = clients.journal(), clients.journal()
        told: list[Entry | None] = []
        unwatched: list[Entry | None] = []
        await journal.begin(entry())
        await journal.begin(entry("b", state=State.INTENT))
        end = journal.watch("talk-17", told.append)
        journal.watch("b", unwatched.append)()
        assert await journal.get("talk-17") is not None
        await journal.advance("talk-17", State.INTENT)
        await journal.advance("b", State.INTENT)
        changed = await other.advance("talk-17", State.ACCEPTED, ids=("a",))
        await soon(lambda: told)
        await journal.advance("talk-17", State.FINISHED)
        saved = await other.advance("talk-17", State.SAVED)
        await soon(lambda: told[-1] == saved)
        assert told == [changed, saved]
        await other.prune(float("inf"))
        await soon(lambda: told[-1] is None)
        await other.begin(entry())
        await soon(lambda: told[-1] is not None)
        await other.drop("talk-17")
        await soon(lambda: told[-1] is None)
        end()
        await other.begin(entry())
        marker: list[Entry | None] = []
        journal.watch("marker", marker.append)
        await journal.get("marker")
        await other.begin(entry("marker"))
        await soon(lambda: marker)
        assert [one and one.state for one in told] == [2, 4, None, 0, None]
        assert not unwatched

    async def test_all_changes_of_others_are_heard(self, clients: Clients) -> None:
        journal, other = clients.journal(), clients.journal()
        told: list[Entry] = []
        await other.begin(entry("old"))
        end = journal.watch_all(told.append)
        await journal.get("old")  # from here on
        await journal.begin(entry("mine"))
        begun = await other.begin(entry("a", hook="h-a"))
        await soon(lambda: told == [begun.entry])
        steps = await asyncio.gather(
            other.advance("a", State.ACCEPTED, ids=("1",)),
            other.advance("mine", State.FINISHED, succeeded=True),
            journal.advance("old", State.FINISHED),
        )
        await soon(lambda: len(told) >= 3)
        assert {one.key: one for one in told} == {"a": steps[0], "mine": steps[1]}
        await other.drop("old")
        await other.prune(float("inf"))
        end()
        marker: list[Entry] = []
        journal.watch_all(marker.append)
        await journal.get("a")
        await other.begin(entry("marker"))
        await soon(lambda: marker)
        assert [one.key for one in told] == ["a", "a", "mine"]

    async def test_an_event_is_told_to_all_others(self, clients: Clients) -> None:
        """Whichever client hears of it, and before it is known what the start has made."""
        owner, receiver = clients.journal(), clients.journal()
        await owner.begin(entry(hook="h-17", state=State.INTENT))
        await owner.begin(entry("b"))
        await owner.advance("b", State.INTENT, hook="h-b")
        told: list[Entry] = []
        owner.watch_all(told.append)
        await owner.get("b")
        clients.world.now += 1
        now = 1_768_000_000.0 + clients.world.now
        heard = await receiver.heard("h-17")
        assert heard is not None
        assert (heard.key, heard.state, heard.event_at) == ("talk-17", State.INTENT, now)
        assert (heard.owner, heard.updated_at) == (owner.owner, now)
        await soon(lambda: told == [heard])
        assert await receiver.get("talk-17") == heard
        assert (await owner.heard("h-b") or entry()).key == "b"
        assert await receiver.heard("h-none") is None

    async def test_an_event_changes_nothing_that_is_over(self, clients: Clients) -> None:
        journal = clients.journal()
        await journal.begin(entry("done", hook="h-1", state=State.SAVED, ids=("1",)))
        failed = {"state": State.FINISHED, "succeeded": False}
        await journal.begin(entry("failed", hook="h-2", ids=("2",), **failed))
        clients.world.now += 50
        for key, hook in (("done", "h-1"), ("failed", "h-2")):
            before = await journal.get(key)
            assert await journal.heard(hook) == before == await journal.get(key)
            assert (before or entry()).event_at is None

    async def test_watching_before_getting_misses_nothing(self, clients: Clients) -> None:
        journal, other = clients.journal(), clients.journal()
        for n in range(6):
            key = str(n)
            await other.begin(entry(key))
            told: list[Entry | None] = []
            end = journal.watch(key, told.append)
            _, seen = await asyncio.gather(
                other.advance(key, State.ACCEPTED, ids=("a",)), journal.get(key)
            )
            assert seen is not None
            if not seen.ids:
                # It may first hear of the entry's beginning, which was just before.
                await soon(partial(accepted, told))
            end()
