"""What a client writes to its journal at each step, and how it handles journal errors."""

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve

from a2e_async import Budget
from a2e_async._core.journal import recorder as module
from a2e_async._core.journal.keys import remaining_tasks_key, start_key_of_remaining_tasks
from a2e_async._core.journal.protocol import (
    ClosedBy,
    Entry,
    EntryChanges,
    JournalCapabilities,
    LeaseLost,
    State,
)
from a2e_async._core.journal.recorder import JournalRecorder, recovery_from_entry
from a2e_async._core.journal.rules import MAX_TIME_IN_FLIGHT
from a2e_async._core.schema.inputs import TaskInput
from a2e_async._core.submission.attempt import StartAttempt, StartSpec
from a2e_async._core.submission.budget import Reservation
from a2e_async._core.submission.calls import CallAttempt, ChargedCall
from a2e_async.errors import JournalError, KeyConflict
from a2e_async.kinds.registry import kind_named
from a2e_async.models import Failure, Output, Record, Recovery, Status
from tests.journal.model import ClientClocks, ModelJournal, SharedJournalState

DUBBING = kind_named("dubbing")
VOICE = kind_named("voice_clone")
NO_POLL = evolve(
    DUBBING, name="blind", detail=None, list=None, batch_detail=None, processing_list=None
)
A, B, C = "a" * 24, "b" * 24, "c" * 24
NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
LATER = datetime(2026, 1, 10, 12, 1, tzinfo=UTC)
LONGEST = 10.0


class Failing(ModelJournal, JournalCapabilities):
    """A journal whose methods named in ``fails`` raise."""

    fails: frozenset[str] = frozenset()
    opened: int = 0
    closed: int = 0
    withdrawn: tuple[tuple[str, float], ...] = ()

    def __getattribute__(self, name: str) -> Any:
        if name in object.__getattribute__(self, "fails"):
            return self._fail
        return object.__getattribute__(self, name)

    async def _fail(self, *_: Any, **__: Any) -> Any:
        raise JournalError("The disk is full.")

    def instead(self, **methods: Any) -> None:
        """Have these methods do something else."""
        self.__dict__.update(methods)

    async def open(self) -> None:
        self.opened += 1

    async def aclose(self) -> None:
        self.closed += 1

    def withdraw(self, key: str, sent_at: float) -> None:
        self.withdrawn += ((key, sent_at),)
        if "drop" in self.fails:
            raise JournalError("no")


class Clients:
    """Clients of one journal."""

    def __init__(self) -> None:
        self.world = SharedJournalState()

    def recorder(
        self, account: str = "x", *, former: str | None = None
    ) -> tuple[JournalRecorder, Failing]:
        name = f"client{len(self.world.leases)}"
        self.world.leases[name] = 1e9
        journal = Failing(self.world, name, ClientClocks(self.world))
        return JournalRecorder(journal, account, former_account=former), journal  # type: ignore[arg-type]

    @property
    def entries(self) -> list[Entry]:
        return list(self.world.entries.values())

    def change(self, **values: Any) -> None:
        """Change the only entry."""
        ((at, entry),) = self.world.entries.items()
        self.world.entries[at] = evolve(entry, **values)


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Clients:
    """Give the clients of one journal, ten seconds after `NOW`."""
    monkeypatch.setattr(module, "wall_time", lambda: NOW.timestamp() + 10)
    return Clients()


def recovery(**values: Any) -> Recovery:
    given = {"kind": "dubbing", "path": "/start", "name": "n", "mark": "m", "digest": "d"}
    given |= {"sent_at": NOW, "expected": 2, "echo": {"e": "1"}}
    return Recovery(**{**given, **values})


def start_attempt(key: str | None = "k", **values: Any) -> StartAttempt:
    fixed: dict[str, Any] = {"kind": DUBBING, "inputs": TaskInput(meta={"a": 1}), "media": {}}
    fixed |= {"digest": "d", "services": None}
    spec = StartSpec(**{name: values.pop(name, value) for name, value in fixed.items()})
    given: dict[str, Any] = {"name": "n", "mark": "m", "timeout": 1.0, "key": key}
    return StartAttempt(spec=spec, **{**given, **values})


async def take_over(recorder: JournalRecorder, start: StartAttempt) -> None:
    """Take over the start that an earlier process has sent."""
    entry = await recorder.reserve_key(start)
    assert entry is not None
    start.continue_from(entry)


def held(coins: int) -> Reservation:
    made = Reservation((Budget(100),))
    made.reserve(("dubbing", coins))
    return made


def sent(key: str | None = "k", **values: Any) -> StartAttempt:
    """Return a start that is about to be sent."""
    return start_attempt(key, **{"recovery": recovery(), **values})


def sent_call() -> Any:
    """Return an API call that was sent."""
    return SimpleNamespace(sent=True)


def call(key: str = "k") -> CallAttempt[Any]:
    """Return a paid call without a task that is about to be sent."""
    spec = ChargedCall[Any](
        kind="speech", path="/start", body={}, timeout=1, read_result=lambda response: response
    )
    return CallAttempt(
        charged_call=spec,
        timeout=1,
        key=key,
        key_generated=True,
        recovery=recovery(kind="speech"),
    )


def of(*ids: str, kind: Any = DUBBING) -> Any:
    """Return a task as the journal recorder sees it."""
    return SimpleNamespace(kind=kind, ids=ids, meta=None)


async def accepted(
    recorder: JournalRecorder, *ids: str, coins: int | None = 5, **values: Any
) -> None:
    """Record an accepted start."""
    start = sent(**values)
    await recorder.record_intent(start)
    await recorder.record_accepted(start, ids, coins)


def warned(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno == level]


# -- a key ---------------------------------------------------------------------------------------


async def test_a_start_without_a_key_is_given_one(clients: Clients) -> None:
    recorder, journal = clients.recorder()
    one, other = start_attempt(None), start_attempt(None, media={("url", None): object()})
    for start, opened in ((one, 0), (other, 1)):
        assert await recorder.reserve_key(start) is None
        assert start.key_generated
        assert start.key is not None
        assert start.key.startswith("auto:")
        assert journal.opened == opened
    assert clients.entries == []


async def test_a_free_key_is_taken_with_the_intent(clients: Clients) -> None:
    """One durable step, where nothing is paid before."""
    recorder, _ = clients.recorder()
    start = start_attempt(key_acquired=True)
    assert await recorder.reserve_key(start) is None
    assert not start.key_acquired
    assert clients.entries == []


async def test_a_key_is_taken_before_an_upload_is_paid(clients: Clients) -> None:
    recorder, journal = clients.recorder()
    start = start_attempt(
        media={("url", None): object()}, webhook_id="h", reservation=held(7), upload_coins=2
    )
    assert await recorder.reserve_key(start) is None
    assert start.key_acquired
    (entry,) = clients.entries
    assert entry == Entry(
        key="k",
        kind="dubbing",
        digest="d",
        state=State.RESERVED,
        name="n",
        path=DUBBING.start.path,
        mark="m",
        reserved=7,
        uploads=2,
        hook="h",
        meta={"a": 1},
        account="x",
        owner=journal.owner,
        created_at=entry.created_at,
        updated_at=entry.updated_at,
    )


@pytest.mark.parametrize("check_first", [True, False])
async def test_a_key_gives_the_task_it_stands_for(clients: Clients, check_first: bool) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A)
    other, _ = clients.recorder()
    entry = await other.reserve_key(start_attempt(), check_first=check_first)
    assert (None if entry is None else entry.ids) == ((A,) if check_first else None)


@pytest.mark.parametrize(
    ("other", "what"), [({"digest": "e"}, "other inputs"), ({"kind": VOICE}, "another kind")]
)
async def test_a_key_stands_for_one_start(
    clients: Clients, other: dict[str, Any], what: str
) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A)
    with pytest.raises(KeyConflict) as caught:
        await recorder.reserve_key(start_attempt(**other))
    assert str(caught.value) == (
        f"key 'k' was used before with {what}. The paid task is dubbing:{A}. To start again "
        "(charged again), use another key; to use that result, the same inputs."
    )
    assert (caught.value.key, caught.value.ref) == ("k", f"dubbing:{A}")


async def test_a_key_that_was_closed_by_hand_is_not_free(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    await recorder.record_intent(sent())
    clients.change(state=State.SAVED)
    with pytest.raises(KeyConflict) as caught:
        await recorder.reserve_key(start_attempt())
    assert str(caught.value) == (
        "key 'k' belongs to a start that was charged, was never found and was closed by hand "
        "(a2e journal settle). To start again (charged again), use another key."
    )
    assert caught.value.key == "k"


async def test_a_start_whose_process_died_is_searched_for(clients: Clients) -> None:
    recorder, journal = clients.recorder()
    await recorder.record_intent(sent(reservation=held(7), webhook_id="h"))
    del clients.world.leases[journal.owner]
    other, _ = clients.recorder()
    budget = Budget(100)
    start = start_attempt(name=None, mark="other", reservation=Reservation((budget,)))
    await take_over(other, start)
    assert start.sent
    assert start.recovery == recovery(path=DUBBING.start.path, expected=1)
    assert (start.name, start.mark, start.webhook_id, start.key_acquired) == ("n", "m", "h", True)
    assert budget.reserved == 7
    start.reservation.retain("k")
    again = start_attempt(reservation=held(4))
    await take_over(other, again)
    assert again.reservation.price == 4


async def test_what_a_budget_holds_for_a_key_stands_for_its_start(clients: Clients) -> None:
    recorder, journal = clients.recorder()
    await recorder.record_intent(sent(reservation=held(7)))
    del clients.world.leases[journal.owner]
    other, _ = clients.recorder()
    budget = Budget(100)
    budget.retain(budget.reserve("dubbing", 4), "k", "dubbing")
    await take_over(other, start_attempt(reservation=Reservation((budget,))))
    assert budget.reserved == 4


async def test_a_start_that_was_not_sent_is_begun_again(clients: Clients) -> None:
    recorder, journal = clients.recorder()
    local = {("url", None): object()}
    await recorder.reserve_key(start_attempt(media=local))
    del clients.world.leases[journal.owner]
    other, _ = clients.recorder()
    start = start_attempt(name="mine", mark="other", reservation=Reservation((Budget(100),)))
    assert await other.reserve_key(start) is None
    assert (start.key_acquired, start.recovery, start.name, start.mark) == (
        True,
        None,
        "mine",
        "other",
    )
    assert not start.reservation


async def test_a_start_of_another_process_is_waited_for(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECHECK_INTERVAL", 1000.0)
    recorder, _ = clients.recorder()
    start = sent()
    await recorder.record_intent(start)
    other, _ = clients.recorder()
    waiting = asyncio.create_task(other.reserve_key(start_attempt()))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    await recorder.record_accepted(start, (A,), 5)
    entry = await asyncio.wait_for(waiting, LONGEST)
    assert entry is not None
    assert entry.ids == (A,)
    assert clients.world.watchers == []


@pytest.mark.parametrize(
    ("values", "foreign"),
    [
        ({"lost_at": LATER.timestamp()}, True),
        ({"sent_at": NOW.timestamp() + 10 - MAX_TIME_IN_FLIGHT - 0.1}, True),
        ({"sent_at": NOW.timestamp() + 10 - MAX_TIME_IN_FLIGHT}, False),
        ({"sent_at": None, "lost_at": 1.0}, False),
        ({"state": State.RESERVED, "lost_at": 1.0}, False),
    ],
)
async def test_a_start_that_a_living_process_gave_up_is_searched_for(
    clients: Clients, values: dict[str, Any], foreign: bool
) -> None:
    """It stays with that process: this one neither sends nor releases it."""
    recorder, _ = clients.recorder()
    await recorder.record_intent(sent())
    clients.change(**values)
    other, _ = clients.recorder()
    start = start_attempt(owned_by_other_client=True)
    waiting = asyncio.create_task(other.reserve_key(start))
    for _ in range(5):
        await asyncio.sleep(0)
    assert waiting.done() is foreign
    assert start.owned_by_other_client is foreign
    assert not start.key_acquired
    if foreign:
        entry = waiting.result()
        assert entry is not None
        assert entry.state is State.INTENT
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    start.recovery = recovery(lost_at=NOW)
    before = clients.entries
    if foreign:
        await other.record_lost(start)
    assert clients.entries == before


async def test_a_process_that_dies_without_a_word_is_noticed(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RECHECK_INTERVAL", 0.01)
    recorder, journal = clients.recorder()
    await recorder.record_intent(sent())
    other, _ = clients.recorder()
    start = start_attempt()
    waiting = asyncio.create_task(other.reserve_key(start))
    await asyncio.sleep(0)
    del clients.world.leases[journal.owner]
    entry = await asyncio.wait_for(waiting, LONGEST)
    assert entry is not None
    assert entry.state is State.INTENT


# -- an intent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
async def test_an_intent_holds_all_that_finds_the_start_again(clients: Clients, own: bool) -> None:
    recorder, journal = clients.recorder()
    start = sent(webhook_id="h", reservation=held(7), upload_coins=2, key_generated=own)
    await recorder.record_intent(start)
    assert start.key_acquired
    (entry,) = clients.entries
    assert entry == Entry(
        key="k",
        kind="dubbing",
        digest="d",
        state=State.INTENT,
        name="n",
        path=DUBBING.start.path,
        mark="m",
        reserved=7,
        uploads=2,
        hook="h",
        meta={"a": 1},
        account="x",
        owner=journal.owner,
        own_key=own,
        sent_at=NOW.timestamp(),
        echo={"e": "1"},
        created_at=entry.created_at,
        updated_at=entry.updated_at,
    )


async def test_an_intent_contains_the_expected_number_of_tasks(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    kind = evolve(DUBBING, expected_tasks=lambda inputs: inputs.meta["a"] + 3)
    await recorder.record_intent(sent(kind=kind))
    assert clients.entries[0].expected == 4


async def test_an_intent_after_its_key_was_taken(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    start = start_attempt(media={("url", None): object()})
    await recorder.reserve_key(start)
    clients.change(lost_at=5.0)
    start.name, start.mark = "N", "M"
    start.recovery = recovery(name="N", mark="M", path=DUBBING.start.path, expected=1)
    start.reservation, start.upload_coins, start.webhook_id = held(7), 2, "h"
    await recorder.record_intent(start)
    (entry,) = clients.entries
    assert recovery_from_entry(entry) == start.recovery
    assert (entry.state, entry.lost_at) == (State.INTENT, None)
    assert (entry.reserved, entry.uploads, entry.hook) == (7, 2, "h")


async def test_a_key_that_was_taken_meanwhile_sends_nothing(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    other, _ = clients.recorder()
    await other.record_intent(sent())
    start = sent()
    with pytest.raises(LeaseLost, match=r"^Another start has this key; nothing was sent by"):
        await recorder.record_intent(start)
    assert not start.key_acquired


@pytest.mark.parametrize("make", ["start", "call"])
async def test_the_intent_of_a_second_turn_replaces_the_first(clients: Clients, make: str) -> None:
    """After a 429 or a refused connection it is sent later: a search relies on its time."""
    recorder, journal = clients.recorder()
    request = sent(key_generated=True) if make == "start" else call()
    await recorder.record_intent(request)
    first = request.recovery
    assert first is not None
    request.recovery = evolve(first, sent_at=LATER)
    await recorder.record_intent(request)
    (entry,) = clients.entries
    assert entry.sent_at == LATER.timestamp()
    recorder.withdraw(request.key)
    assert journal.withdrawn == (("k", LATER.timestamp()),)


@pytest.mark.parametrize("make", ["start", "call"])
async def test_a_generated_key_that_was_taken_over_is_replaced(clients: Clients, make: str) -> None:
    """Another client searches for the first turn's; the second is recorded under a new key."""
    recorder, _ = clients.recorder()
    request = sent("auto:1", key_generated=True) if make == "start" else call("call:1")
    await recorder.record_intent(request)
    clients.change(owner="other")
    await recorder.record_intent(request)
    assert request.key is not None
    assert request.key != "auto:1"
    assert request.key.startswith("auto:" if make == "start" else "call:")
    assert [entry.key for entry in clients.entries] == [
        "auto:1" if make == "start" else "call:1",
        request.key,
    ]
    assert list(recorder._intents) == [request.key]


async def test_an_intent_that_was_written_without_a_response_is_updated(clients: Clients) -> None:
    """The journal may write an entry and fail to say so; the request is the same."""
    recorder, _ = clients.recorder()
    start = sent("auto:1", key_generated=True)
    await recorder.record_intent(start)
    start.key_acquired = False
    start.recovery = recovery(sent_at=LATER)
    await recorder.record_intent(start)
    (entry,) = clients.entries
    assert (entry.key, entry.sent_at) == ("auto:1", LATER.timestamp())


async def test_a_generated_key_that_is_another_clients_is_replaced(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    other, _ = clients.recorder()
    await other.record_intent(sent("auto:1", key_generated=True))
    start = sent("auto:1", key_generated=True)
    await recorder.record_intent(start)
    assert start.key != "auto:1"
    assert len(clients.entries) == 2


async def test_an_intent_whose_entry_is_gone_is_recorded_again(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    start = sent("auto:1", key_generated=True)
    await recorder.record_intent(start)
    clients.world.entries.clear()
    await recorder.record_intent(start)
    assert [entry.key for entry in clients.entries] == [start.key]


async def test_what_was_not_sent_is_withdrawn(clients: Clients) -> None:
    recorder, journal = clients.recorder()
    starts = {key: sent(key) for key in "abcde"}
    for start in starts.values():
        await recorder.record_intent(start)
    at = NOW.timestamp()
    starts["b"].api_call = sent_call()
    starts["c"].recovery = recovery(sent_at=LATER)  # of its next turn, after a 429
    recorder.end_intent(starts["e"])
    recorder.end_intent(sent("a"))  # not the one that is recorded
    recorder.end_intent(sent(None))
    recorder.withdraw("a", starts["b"])
    for key in (None, "b", "a", "a", "e", "unknown"):
        recorder.withdraw(key)
    assert journal.withdrawn == (("a", at),)
    recorder.withdraw_all()
    recorder.withdraw_all()
    assert sorted(journal.withdrawn) == [("a", at), ("c", LATER.timestamp()), ("d", at)]
    journal.fails = frozenset({"drop"})
    await recorder.record_intent(sent("f"))
    recorder.withdraw("f")
    assert len(journal.withdrawn) == 4


async def test_at_exit_all_recorders_withdraw(clients: Clients) -> None:
    journals = []
    recorders = []
    for n in range(2):
        recorder, journal = clients.recorder()
        await recorder.record_intent(sent(f"k{n}"))
        recorders.append(recorder)
        journals.append(journal)
    module._withdraw_all()
    assert [one[0] for journal in journals for one in journal.withdrawn] == ["k0", "k1"]


# -- a paid start --------------------------------------------------------------------------------


async def test_what_was_accepted_is_written(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    start = sent()
    await recorder.record_intent(start)
    assert await recorder.record_accepted(start, (A, B), 5) == (A, B)
    (entry,) = clients.entries
    assert (entry.state, entry.ids, entry.coins) == (State.ACCEPTED, (A, B), 5)
    assert entry.closed_by is None


async def test_an_entry_that_is_gone_is_written_again(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    start = sent(reservation=held(7))
    assert await recorder.record_accepted(start, (A,), 5) == (A,)
    (entry,) = clients.entries
    assert (entry.state, entry.ids, entry.coins, entry.reserved) == (State.ACCEPTED, (A,), 5, 7)
    assert entry.sent_at == NOW.timestamp()


@pytest.mark.parametrize("gone", [True, False])
async def test_what_cannot_be_polled_is_closed(clients: Clients, gone: bool) -> None:
    recorder, _ = clients.recorder()
    start = sent(kind=NO_POLL)
    if not gone:
        await recorder.record_intent(start)
    await recorder.record_accepted(start, (A,), 5)
    (entry,) = clients.entries
    assert (entry.state, entry.closed_by) == (State.SAVED, ClosedBy.NO_FILES)


async def test_ids_of_other_entries_are_not_its_own(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A, key="other")
    start = sent()
    await recorder.record_intent(start)
    assert await recorder.record_accepted(start, (A, B), 5) == (B,)
    assert warned(caplog, logging.ERROR) == [f"dubbing:{A} already belongs to another start"]


async def test_without_a_key_nothing_is_written(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    assert await recorder.record_accepted(sent(None), (A,), 5) == (A,)
    assert clients.entries == []


async def test_what_the_journal_could_not_take_is_written_before_the_next_start(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, journal = clients.recorder()
    for key in ("a", "b"):
        await recorder.record_intent(sent(key))
    journal.fails = frozenset({"advance"})
    assert await recorder.record_accepted(sent("a"), (A,), 5) == (A,)
    assert await recorder.record_accepted(sent("b"), (B,), 6) == (B,)
    assert warned(caplog, logging.ERROR) == [
        f"dubbing:{id} is paid but could not be written to the journal; retrying later"
        for id in (A, B)
    ]
    for start in (start_attempt(), start_attempt(None)):
        with pytest.raises(JournalError, match=r"^The disk is full\.$"):
            await recorder.reserve_key(start)
    with pytest.raises(JournalError):
        await recorder.flush_unwritten()
    journal.fails = frozenset()
    await recorder.reserve_key(start_attempt())
    assert [(e.ids, e.coins) for e in clients.entries] == [((A,), 5), ((B,), 6)]
    assert recorder._unwritten == []


async def test_one_that_cannot_be_written_does_not_keep_others_back(clients: Clients) -> None:
    recorder, journal = clients.recorder()
    journal.fails = frozenset({"advance"})
    for key, id in (("a", A), ("b", B), ("c", C)):
        await recorder.record_accepted(sent(key), (id,), 5)

    async def advance(key: str, *_: Any, **__: EntryChanges) -> None:
        if key == "b":
            raise JournalError("The disk is full.")

    journal.fails = frozenset()
    journal.instead(advance=advance)
    with pytest.raises(JournalError):
        await recorder.flush_and_report_others()
    assert [entry.key for entry in clients.entries] == ["a", "c"]
    assert [entry.key for entry in recorder._unwritten] == ["b"]


async def test_a_client_that_stops_while_it_writes_writes_it_later(clients: Clients) -> None:
    recorder, journal = clients.recorder()

    async def cancelled(*_: Any, **__: Any) -> None:
        raise asyncio.CancelledError

    journal.instead(advance=cancelled)
    with pytest.raises(asyncio.CancelledError):
        await recorder.record_accepted(sent(), (A,), 5)
    journal.instead(advance=Failing.advance.__get__(journal))
    await recorder.aclose()
    assert [entry.ids for entry in clients.entries] == [(A,)]
    assert journal.closed == 1


async def test_what_is_never_written_is_named_at_the_end(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, journal = clients.recorder()
    journal.fails = frozenset({"advance"})
    await recorder.record_accepted(sent("a"), (A,), 5)
    await recorder.record_accepted(sent("b"), (B, C), 5)
    caplog.clear()
    with pytest.raises(JournalError) as caught:
        await recorder.aclose()
    named = f"dubbing:{A}, dubbing:{B}+{C}"
    assert str(caught.value) == (
        f"The disk is full. These tasks are paid and not in the journal: {named}. "
        "Attach them with a2e.attach(ref)."
    )
    assert warned(caplog, logging.ERROR) == [
        f"paid tasks could not be written to the journal: {named}"
    ]
    assert journal.closed == 1
    await recorder.aclose()
    assert journal.closed == 2


async def test_hope_that_is_given_up_is_written(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, journal = clients.recorder()
    start = sent()
    await recorder.record_intent(start)
    await recorder.record_lost(start)
    assert clients.entries[0].lost_at is None
    start.recovery = recovery(lost_at=LATER)
    await recorder.record_lost(start)
    assert (clients.entries[0].lost_at, clients.entries[0].state) == (
        LATER.timestamp(),
        State.INTENT,
    )
    await recorder.record_lost(sent(None, recovery=recovery(lost_at=LATER)))
    await recorder.record_lost(start_attempt())
    journal.fails = frozenset({"advance"})
    await recorder.record_lost(start)
    assert warned(caplog) == ["The disk is full."]


# -- dropping ------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
async def test_a_start_that_was_refused_is_dropped(clients: Clients, own: bool) -> None:
    recorder, journal = clients.recorder()
    start = sent(key_generated=own)
    await recorder.record_intent(start)
    await recorder.drop_start(start)
    assert clients.entries == []
    recorder.withdraw("k")
    assert journal.withdrawn == ()
    await recorder.drop_start(sent(None))


async def test_a_start_that_was_never_sent_is_dropped(clients: Clients) -> None:
    """Whatever the outcome: the key belongs to this start."""
    recorder, _ = clients.recorder()
    start = start_attempt(media={("url", None): object()})
    await recorder.reserve_key(start)
    await recorder.drop_start(start)
    assert clients.entries == []
    start = sent(key_generated=True)
    await recorder.record_intent(start)
    start.recovery = None
    await recorder.drop_start(start)
    assert clients.entries == []
    await recorder.drop_start(call("unknown"))


async def test_a_journal_may_have_no_way_to_withdraw_at_once(clients: Clients) -> None:
    clients.world.leases["plain"] = 1e9
    recorder = JournalRecorder(
        ModelJournal(clients.world, "plain", ClientClocks(clients.world)), "x"
    )  # type: ignore[arg-type]
    await recorder.record_intent(sent())
    recorder.withdraw("k")
    assert len(clients.entries) == 1


@pytest.mark.parametrize(
    ("values", "dropped"),
    [
        ({}, True),
        ({"mark": "other"}, False),
        ({"recovery": recovery(sent_at=LATER)}, False),
        ({"recovery": None}, False),
        ({"key": "other"}, False),
    ],
)
async def test_of_a_cancelled_start_only_its_own_entry_is_dropped(
    clients: Clients, values: dict[str, Any], dropped: bool
) -> None:
    """Its key may have been taken by another start in between."""
    recorder, _ = clients.recorder()
    await recorder.record_intent(sent())
    await recorder.drop_start(sent(**values))
    assert (clients.entries == []) is dropped


async def test_the_entry_of_another_client_is_not_dropped(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    await recorder.record_intent(sent())
    other, journal = clients.recorder()
    seen: list[str] = []

    async def drop(key: str) -> bool:
        seen.append(key)
        return False

    journal.instead(drop=drop)
    await other.drop_start(sent())
    assert seen == []
    assert len(clients.entries) == 1


@pytest.mark.parametrize("times", [1, 4, 5, 9])
async def test_dropping_goes_on_while_it_is_cancelled(clients: Clients, times: int) -> None:
    recorder, journal = clients.recorder()
    start = sent()
    await recorder.record_intent(start)
    calls: list[str] = []
    get = journal.get

    async def cancelled(key: str) -> Any:
        calls.append(key)
        if len(calls) <= times:
            raise asyncio.CancelledError
        return await get(key)

    async def drop(key: str) -> bool:
        if not calls:
            return await cancelled(key)  # type: ignore[no-any-return]
        return await ModelJournal.drop(journal, key)

    journal.instead(drop=drop, get=cancelled)
    await recorder.drop_start(start)
    assert len(calls) == min(times + 1, 5)
    assert (clients.entries == []) is (times < 5)


@pytest.mark.parametrize("what", [sent, call])
async def test_a_drop_that_fails_is_logged(
    clients: Clients, caplog: pytest.LogCaptureFixture, what: Any
) -> None:
    recorder, journal = clients.recorder()
    start = what()
    await recorder.record_intent(start)
    journal.fails = frozenset({"drop"})
    await recorder.drop_start(start)
    assert warned(caplog) == ["The disk is full."]
    recorder.withdraw("k")
    assert journal.withdrawn == ()


# -- what is searched for ------------------------------------------------------------------------


async def test_what_was_sent_and_has_no_task_is_unresolved(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, journal = clients.recorder()
    for key in ("a", "b", "c"):
        await recorder.record_intent(sent(key, digest=key))
    await recorder.record_intent(sent("voice", kind=VOICE))
    await accepted(recorder, A, key="done")
    pages = journal.entries

    async def short(**values: Any) -> Any:
        return await pages(**values, limit=2)

    journal.instead(entries=short)
    found = await recorder.unresolved_starts(DUBBING)
    assert [(key, lost.digest) for key, lost in found] == [("a", "a"), ("b", "b"), ("c", "c")]
    journal.fails = frozenset({"entries"})
    with pytest.raises(JournalError):
        await recorder.unresolved_starts(DUBBING)


async def test_a_search_by_its_recovery_has_the_key_of_its_entry(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    await recorder.record_intent(sent("a", recovery=recovery(sent_at=LATER)))
    await recorder.record_intent(sent("b", key_generated=True))
    start = sent(None)
    await recorder.restore_key(start)
    assert (start.key, start.key_generated) == ("b", True)
    start = sent(None, recovery=recovery(digest="e"))
    await recorder.restore_key(start)
    assert (start.key, start.key_generated) == (None, False)


async def test_a_start_whose_tasks_are_all_known_is_complete(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, journal = clients.recorder()
    await recorder.record_intent(sent())
    clients.change(expected=3)
    await recorder.record_no_remaining_tasks("k")
    await recorder.record_no_remaining_tasks("other")
    assert clients.entries[0].expected == 3
    await recorder.record_accepted(sent(), (A, B), 5)
    await recorder.record_no_remaining_tasks("k")
    assert (clients.entries[0].expected, clients.entries[0].state) == (2, State.ACCEPTED)
    journal.fails = frozenset({"advance"})
    await recorder.record_no_remaining_tasks("k")
    assert warned(caplog) == ["The disk is full."]


def test_a_recovery_is_what_an_entry_holds() -> None:
    entry = Entry(key="k", kind="dubbing", digest="d", path="/p", name="n", mark="m", expected=3)
    entry = evolve(entry, echo={"a": "b"}, created_at=NOW.timestamp())
    made = recovery_from_entry(entry)
    assert made == recovery(path="/p", expected=3, echo={"a": "b"})
    made = recovery_from_entry(evolve(entry, sent_at=0.0, lost_at=0.0))
    assert made.sent_at == made.lost_at == datetime(1970, 1, 1, tzinfo=UTC)


# -- remaining tasks of a start ------------------------------------------------------------------

REST = remaining_tasks_key("k", NOW)


async def incomplete(recorder: JournalRecorder, clients: Clients, **values: Any) -> Entry:
    """Record a start that ordered three tasks and whose response named one; return its entry."""
    await accepted(recorder, A)
    clients.change(expected=3, **values)
    return clients.entries[0]


async def test_remaining_tasks_get_an_entry_of_their_own(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    entry = await incomplete(recorder, clients)
    made = await recorder.split_remaining(entry)
    assert made is not None
    assert (made.key, made.state, made.expected, made.ids) == (REST, State.INTENT, 2, ())
    for name in ("kind", "digest", "path", "name", "mark", "echo", "sent_at", "meta"):
        assert getattr(made, name) == getattr(entry, name), name
    assert made.own_key
    assert made.lost_at == NOW.timestamp() + 10  # other clients need not wait for a response
    assert (made.coins, made.reserved, made.uploads, made.hook) == (None, None, 0, None)
    assert clients.entries == [entry, made]
    assert await recorder.split_remaining(entry) == made  # there is one such entry


@pytest.mark.parametrize("values", [{"expected": 1}, {"name": None}, {"ids": ()}])
async def test_nothing_is_split_where_nothing_can_be_found(
    clients: Clients, values: dict[str, Any]
) -> None:
    recorder, _ = clients.recorder()
    entry = await incomplete(recorder, clients, **values) if "expected" not in values else None
    if entry is None:
        await accepted(recorder, A)
        clients.change(**values)
        entry = clients.entries[0]
    assert await recorder.split_remaining(entry) is None
    assert clients.entries == [entry]


async def test_a_later_start_of_the_key_has_another_entry(clients: Clients) -> None:
    """The first one was pruned, and the entry of its remaining tasks was not."""
    recorder, _ = clients.recorder()
    entry = await incomplete(recorder, clients)
    first = await recorder.split_remaining(entry)
    later = await recorder.split_remaining(evolve(entry, sent_at=NOW.timestamp() + 60))
    assert first is not None
    assert later is not None
    assert first.key != later.key
    assert start_key_of_remaining_tasks(first.key) == start_key_of_remaining_tasks(later.key) == "k"
    assert start_key_of_remaining_tasks("k") is None


async def test_remaining_tasks_of_another_client_stay_with_it(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    entry = await incomplete(recorder, clients)
    assert await recorder.split_remaining(entry) is not None
    other, _ = clients.recorder()
    assert await other.split_remaining(entry) is None


@pytest.mark.parametrize("values", [{"own_key": False}, {"state": State.ACCEPTED}])
async def test_what_is_found_or_a_users_is_not_searched_for(
    clients: Clients, values: dict[str, Any]
) -> None:
    recorder, _ = clients.recorder()
    entry = await incomplete(recorder, clients)
    assert await recorder.split_remaining(entry) is not None
    (_, at) = clients.world.entries
    clients.world.entries[at] = evolve(clients.world.entries[at], **values)
    assert await recorder.split_remaining(entry) is None


async def test_found_remaining_tasks_are_accepted(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    entry = await incomplete(recorder, clients)
    rest = await recorder.split_remaining(entry)
    assert rest is not None
    task = SimpleNamespace(kind=DUBBING, ids=(B,), coins=4, meta={"a": 1})
    await recorder.record_remaining_accepted("k", task, recovery_from_entry(rest))  # type: ignore[arg-type]
    first, second = clients.entries
    assert (first.ids, first.expected) == ((A,), 1)
    assert (second.state, second.ids, second.coins) == (State.ACCEPTED, (B,), 4)
    assert not await recorder.is_incomplete("k")


async def test_a_full_disk_keeps_remaining_tasks_in_memory(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, journal = clients.recorder()
    entry = await incomplete(recorder, clients)
    journal.fails = frozenset({"begin"})
    made = await recorder.split_remaining(entry)
    assert made is not None
    assert (made.key, made.state) == (REST, State.INTENT)
    assert clients.entries == [entry]
    assert warned(caplog, logging.ERROR) == [
        "the remaining tasks of a start could not be written to the journal"
    ]
    journal.fails = frozenset()
    await recorder.flush_and_report_others()
    assert [one.key for one in clients.entries] == ["k", REST]

    caplog.clear()
    journal.fails = frozenset({"advance"})
    task = SimpleNamespace(kind=DUBBING, ids=(B,), coins=4, meta=None)
    await recorder.record_remaining_accepted("k", task, recovery_from_entry(made))  # type: ignore[arg-type]
    assert warned(caplog, logging.ERROR) == [
        f"dubbing:{B} could not be written to the journal; retrying later"
    ]
    journal.fails = frozenset()
    await recorder.flush_and_report_others()
    assert clients.entries[1].ids == (B,)


async def test_remaining_tasks_that_do_not_exist_are_dropped(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, journal = clients.recorder()
    entry = await incomplete(recorder, clients)
    assert await recorder.split_remaining(entry) is not None
    assert await recorder.is_incomplete("k")
    assert await recorder.is_incomplete("other")
    journal.fails = frozenset({"acquire", "get"})
    await recorder.drop_remaining("k", NOW)
    assert warned(caplog) == ["The disk is full."] * 2
    assert await recorder.is_incomplete("k")
    journal.fails = frozenset()
    await recorder.drop_remaining("k", NOW)
    assert [(one.key, one.expected) for one in clients.entries] == [("k", 1)]
    assert not await recorder.is_incomplete("k")


# -- paid calls without a task -------------------------------------------------------------------


async def test_a_paid_call_is_written_before_and_after(clients: Clients) -> None:
    recorder, journal = clients.recorder()
    await recorder.record_intent(call())
    (entry,) = clients.entries
    assert (entry.kind, entry.digest, entry.path) == ("speech", "d", "/start")
    assert (entry.state, entry.sent_at, entry.own_key) == (State.INTENT, NOW.timestamp(), True)
    recorder.withdraw("k")
    assert journal.withdrawn == (("k", NOW.timestamp()),)
    await recorder.record_call_result("k", ("https://u",))
    (entry,) = clients.entries
    assert (entry.state, entry.succeeded, entry.urls) == (State.SAVED, True, ("https://u",))
    assert entry.closed_by == ClosedBy.RETURNED


async def test_a_call_that_was_refused_is_forgotten(clients: Clients) -> None:
    recorder, journal = clients.recorder()
    refused = call()
    await recorder.record_intent(refused)
    await recorder.drop_start(refused)
    recorder.withdraw_all()
    assert clients.entries == []
    assert journal.withdrawn == ()


async def test_a_task_that_a_call_made_is_written_once(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, journal = clients.recorder()
    for _ in range(2):
        await recorder.record_found_task(of(A, B), recovery())
    (entry,) = clients.entries
    assert (entry.kind, entry.digest, entry.path) == ("dubbing", "d", "/start")
    assert (entry.state, entry.ids, entry.own_key) == (State.ACCEPTED, (A, B), True)
    assert entry.key.startswith("auto:")
    journal.fails = frozenset({"begin"})
    await recorder.record_found_task(of(C), recovery())
    assert warned(caplog, logging.ERROR) == [
        f"dubbing:{C} could not be written to the journal; retrying later"
    ]
    journal.fails = frozenset()
    await recorder.flush_and_report_others()
    assert [entry.ids for entry in clients.entries] == [(A, B), (C,)]


async def test_a_task_that_another_start_has_just_claimed_stays_with_it(clients: Clients) -> None:
    recorder, journal = clients.recorder()
    await accepted(recorder, A)

    async def nothing(*_: Any) -> None:
        return None

    journal.instead(find=nothing)
    await recorder.record_found_task(of(A), recovery())
    assert [entry.key for entry in clients.entries] == ["k"]


# -- the end of a task ---------------------------------------------------------------------------


def output(index: int = 0, id: str = A) -> Output:
    return Output(url="https://h/x", media="video", ref=f"dubbing:{id}", index=index)


def record(status: Status = Status.SUCCEEDED, outputs: int = 1, **values: Any) -> Record:
    return Record(id=A, status=status, outputs=tuple(output(n) for n in range(outputs)), **values)


async def test_a_good_end_is_finished(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A)
    await recorder.record_end(of(A), record(outputs=2, coins=7))
    (entry,) = clients.entries
    assert (entry.state, entry.succeeded, entry.outputs) == (State.FINISHED, True, 2)
    assert (entry.coins, entry.closed_by, entry.failure) == (7, None, None)
    await recorder.record_end(of(A), record(outputs=5, coins=9))
    assert clients.entries[0].outputs == 2


@pytest.mark.parametrize(("price", "coins"), [(None, 5), (3, 5), (5, 5), (8, 8), (-1, 5)])
async def test_a_price_never_falls(clients: Clients, price: int | None, coins: int) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A)
    await recorder.record_end(of(A), record(coins=price))
    assert clients.entries[0].coins == coins


@pytest.mark.parametrize("price", [0, 3])
async def test_a_price_may_be_known_only_at_the_end(clients: Clients, price: int) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A, coins=None)
    await recorder.record_end(of(A), record(coins=price))
    assert clients.entries[0].coins == price


async def test_a_bad_end_closes(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A)
    said = "no\0 face\ud800" + "x" * 600
    await recorder.record_end(of(A), record(Status.FAILED, 0, failure=Failure(said, "7")))
    (entry,) = clients.entries
    assert (entry.state, entry.succeeded) == (State.FINISHED, False)
    assert (entry.closed_by, entry.outputs) == (ClosedBy.FAILED, 0)
    assert entry.failure is not None
    assert entry.failure.startswith("no face?xxx")
    assert len(entry.failure) == 499  # of 500 characters without the NUL
    assert not entry.open


async def test_good_outputs_of_a_bad_end_keep_it_open(clients: Clients, tmp_path: Path) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A, B, coins=None)
    bad = record(Status.FAILED, 2, failure=Failure("blurry", None))
    await recorder.record_end(of(A), bad)
    (entry,) = clients.entries
    assert (entry.open, entry.failed, entry.state) == (True, True, State.FINISHED)
    assert (entry.succeeded, entry.failure, entry.outputs) == (None, "blurry", 2)
    assert (entry.closed_by, entry.cost) == (None, 0)
    await recorder.record_end(of(A), record(Status.FAILED, 1, failure=Failure("again", None)))
    assert clients.entries == [entry]
    await recorder.record_saved_file(output(0), tmp_path / "0")
    assert clients.entries[0].open
    await recorder.record_saved_file(output(0, B), tmp_path / "1")
    (entry,) = clients.entries
    assert (entry.open, entry.state, entry.succeeded) == (False, State.SAVED, False)
    assert (entry.closed_by, entry.failure, entry.cost) == (ClosedBy.SAVED, "blurry", 0)


async def test_a_new_attempt_at_a_task_with_good_outputs_is_open_as_any(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A)
    await recorder.record_end(of(A), record(Status.FAILED, 1, failure=Failure("blurry", None)))
    await recorder.record_found_task(of(A), recovery())
    (entry,) = clients.entries
    assert (entry.open, entry.failed, entry.outputs) == (True, False, None)
    await recorder.record_end(of(A), record(outputs=2))
    assert (clients.entries[0].succeeded, clients.entries[0].outputs) == (True, 2)


async def test_a_kind_without_files_is_closed_by_its_end(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A, kind=VOICE)
    await recorder.record_end(of(A, kind=VOICE), record(outputs=0, coins=7))
    (entry,) = clients.entries
    assert (entry.state, entry.succeeded, entry.outputs) == (State.SAVED, True, 0)
    assert entry.closed_by == ClosedBy.NO_FILES


async def test_an_end_without_its_result_closes_nothing(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A)
    await recorder.record_end(of(A), None)
    await recorder.record_end(of(A), record(outputs=0, coins=7))
    (entry,) = clients.entries
    assert (entry.state, entry.succeeded, entry.coins) == (State.ACCEPTED, None, 7)
    assert entry.missing_since is None
    parts = (record(), record(outputs=0))
    await recorder.record_end(of(A), record(parts=parts))
    assert clients.entries[0].state is State.ACCEPTED
    await recorder.record_end(of(A), record(parts=(record(), record())))
    assert clients.entries[0].state is State.FINISHED


async def test_a_task_that_is_not_known_any_more_is_missing(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A)
    times = iter([50.0, 60.0])
    monkeypatch.setattr(module, "wall_time", lambda: next(times))
    for _ in range(2):
        await recorder.record_end(of(A), None)
        assert (clients.entries[0].state, clients.entries[0].missing_since) == (
            State.ACCEPTED,
            50.0,
        )
    await recorder.record_end(of(A), record())
    assert (clients.entries[0].state, clients.entries[0].missing_since) == (State.FINISHED, None)
    await recorder.record_end(of(A), None)
    assert clients.entries[0].missing
    await recorder.record_end(of(A), record(outputs=3))
    assert (clients.entries[0].outputs, clients.entries[0].missing_since) == (3, None)


async def test_what_is_closed_or_unknown_stays(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    await recorder.record_end(of(A), record())
    await accepted(recorder, A)
    await recorder.record_acknowledged(of(A))
    before = clients.entries
    await recorder.record_end(of(A), None)
    await recorder.record_end(of(A), record(coins=99))
    assert clients.entries == before


@pytest.mark.parametrize("what", ["find", "advance"])
async def test_an_end_that_cannot_be_written_is_logged(
    clients: Clients, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    recorder, journal = clients.recorder()
    await accepted(recorder, A)
    journal.fails = frozenset({what})
    await recorder.record_end(of(A), record())
    await recorder.record_saved_file(output(), Path("a"))
    assert set(warned(caplog)) == {"The disk is full."}


# -- saved files ---------------------------------------------------------------------------------


async def test_the_last_file_closes(clients: Clients, tmp_path: Path) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A, B)
    await recorder.record_saved_file(output(0), tmp_path / "0")
    assert clients.entries[0].state is State.ACCEPTED
    await recorder.record_end(of(A), record(outputs=2))
    await recorder.record_saved_file(output(0), tmp_path / "0 again")
    assert (clients.entries[0].state, clients.entries[0].closed_by) == (State.FINISHED, None)
    await recorder.record_saved_file(output(1, A), Path("relative"))
    (entry,) = clients.entries
    assert (entry.state, entry.closed_by) == (State.SAVED, ClosedBy.SAVED)
    assert entry.paths == {
        f"{A}#0": str(tmp_path / "0 again"),
        f"{A}#1": str(Path("relative").absolute()),
    }
    assert recorder._path_locks == {}
    await recorder.record_saved_file(
        Output(url="https://h/x", media="video", index=0), tmp_path / "x"
    )
    await recorder.record_saved_file(output(0, C), tmp_path / "x")
    assert clients.entries == [entry]


async def test_files_that_are_saved_at_once_are_all_written(
    clients: Clients, tmp_path: Path
) -> None:
    recorder, journal = clients.recorder()
    await accepted(recorder, A)
    await recorder.record_end(of(A), record(outputs=4))
    advance = journal.advance

    async def slow(*args: Any, **values: Any) -> Any:
        await asyncio.sleep(0)
        return await advance(*args, **values)

    journal.instead(advance=slow)
    await asyncio.gather(
        *(recorder.record_saved_file(output(n), tmp_path / str(n)) for n in range(4))
    )
    (entry,) = clients.entries
    assert (len(entry.paths), entry.state) == (4, State.SAVED)


async def test_why_an_entry_was_closed_stays(clients: Clients, tmp_path: Path) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A)
    await recorder.record_end(of(A), record())
    await recorder.record_acknowledged(of(A))
    assert (clients.entries[0].state, clients.entries[0].closed_by) == (
        State.SAVED,
        ClosedBy.ACKNOWLEDGED,
    )
    await recorder.record_saved_file(output(), tmp_path / "x")
    assert clients.entries[0].closed_by == ClosedBy.ACKNOWLEDGED
    clients.change(closed_by=ClosedBy.SETTLED)
    await recorder.record_acknowledged(of(A))
    await recorder.record_acknowledged(of(B))
    assert clients.entries[0].closed_by == ClosedBy.SETTLED


# -- others --------------------------------------------------------------------------------------


async def test_which_tasks_belong_to_starts(clients: Clients) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A, B)
    assert await recorder.claimed_ids(DUBBING, [A, C, B]) == {A, B}
    assert await recorder.claimed_ids(VOICE, [A]) == set()


async def test_uploads_are_shared(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    recorder, journal = clients.recorder()
    await recorder.save_upload("d", "audio/wav", "https://u", 2e9)
    await recorder.record_upload_cost(3)
    other, _ = clients.recorder()
    assert await other.find_upload("d", "audio/wav") == ("https://u", 2e9)
    assert await other.find_upload("d", "audio/mp3") is None
    assert [paid[2] for paid in clients.world.upload_coins] == [3]
    journal.fails = frozenset({"save_upload", "record_upload_cost"})
    await recorder.save_upload("d", "audio/wav", "https://u", 2e9)
    await recorder.record_upload_cost(3)
    assert warned(caplog) == ["The disk is full."] * 2


async def test_events_are_passed_on(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    recorder, journal = clients.recorder()
    await accepted(recorder, A, webhook_id="h")
    changed = await recorder.record_events(["other", "h"])
    assert [entry.key for entry in changed] == ["k"]
    assert changed[0].event_at is not None
    journal.fails = frozenset({"record_event"})
    assert await recorder.record_events(["h"]) == []
    assert warned(caplog) == ["The disk is full."]


async def test_entries_of_other_accounts_are_reported_once(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    other, _ = clients.recorder("y")
    await accepted(other, A, key="y1")
    await accepted(other, B, key="y2")
    await other.record_acknowledged(of(B))
    third, _ = clients.recorder("z")
    await third.record_intent(sent("z"))
    recorder, _ = clients.recorder("x")
    await accepted(recorder, A)
    await recorder.reserve_key(start_attempt(None))
    assert warned(caplog) == []
    await recorder.reserve_key(start_attempt())
    await recorder.flush_and_report_others()
    assert warned(caplog) == [
        "3 entries of other accounts in this journal were skipped (2 of them open): y, z. "
        "If the API key of this account has changed, run a2e journal adopt to move the entries of "
        "the former key to this account"
    ]
    caplog.clear()
    old = Clients()
    alone, _ = old.recorder()
    await accepted(alone, A)
    old.change(account="")
    await alone.flush_and_report_others()
    assert warned(caplog) == []


async def test_the_entries_of_the_former_name_are_taken_over_once(clients: Clients) -> None:
    old, _ = clients.recorder("y")
    await accepted(old, A)
    recorder, journal = clients.recorder("x", former="y")
    await recorder.flush_and_report_others()
    assert [entry.account for entry in clients.entries] == ["x"]
    journal.fails = frozenset({"adopt"})
    await recorder.flush_and_report_others()
    same, journal = clients.recorder("x", former="x")
    journal.fails = frozenset({"adopt"})
    await same.flush_and_report_others()


async def test_where_an_output_was_saved(clients: Clients, tmp_path: Path) -> None:
    recorder, _ = clients.recorder()
    await accepted(recorder, A, B)
    await recorder.record_saved_file(output(0), tmp_path / "0")
    await recorder.record_saved_file(output(1, A), Path("relative"))
    assert await recorder.was_saved_at(output(0), tmp_path / "0")
    assert await recorder.was_saved_at(output(0), tmp_path / "sub" / ".." / "0")
    assert await recorder.was_saved_at(output(1, A), Path("relative").absolute())
    for one, path in (
        (output(0), tmp_path / "1"),
        (output(1, A), tmp_path / "0"),
        (output(0, B), tmp_path / "0"),
        (output(0, C), tmp_path / "0"),
        (Output(url="https://h/x", media="video", index=0), tmp_path / "0"),
    ):
        assert not await recorder.was_saved_at(one, path)
