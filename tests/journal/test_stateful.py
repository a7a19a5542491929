"""The SQLite journal behaves like the model, whatever its clients do, in any order."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from attrs import frozen
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from a2e_async._core.journal.protocol import Entry, Journal, LeaseLost, State, UploadedInput
from a2e_async._core.journal.sqlite import SqliteJournal

from .model import ClientClocks, ModelJournal, SharedJournalState

KEYS = st.sampled_from(["a", "b", "c"])
IDS = st.lists(st.sampled_from(["1", "2", "3"]), max_size=2, unique=True).map(tuple)
PRICES = st.none() | st.integers(0, 50) | st.sampled_from([-1, 2**40, 2**63, True, 0.5, "7"])
ACCOUNTS: list[Any] = [None, "x", "y"]
"""The accounts of the clients; the first client is not bound to one."""
VALUES = st.fixed_dictionaries(
    {},
    optional={
        "ids": IDS,
        "coins": PRICES,
        "reserved": PRICES,
        "sent_at": st.none() | st.floats(0, 1e9),
        "succeeded": st.none() | st.booleans(),
        "missing_since": st.none() | st.floats(1.767e9, 1.769e9),
        "uploads": st.integers(0, 3),
        "failure": st.none() | st.text(st.characters(codec="utf-8"), max_size=5),
        "paths": st.dictionaries(st.sampled_from(["x#0", "x#1"]), st.text("ab/", min_size=1)),
        "hook": st.sampled_from(["h1", "h2"]),
        "meta": st.none() | st.dictionaries(st.text("xy"), st.integers()),
    },
)


@frozen(eq=False)
class JournalPair:
    """One client of the file and one of the model, with the same clock."""

    real: SqliteJournal
    model: ModelJournal
    time: ClientClocks


class JournalStateMachine(RuleBasedStateMachine):
    """Up to three clients of one file. Some are suspended, some die, time passes."""

    who = st.integers(0, 2)

    @initialize()
    def begin_all(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.world = SharedJournalState()
        self.gone: list[JournalPair] = []
        self.pairs = [self.pair(who) for who in range(3)]

    def pair(self, who: int) -> JournalPair:
        time = ClientClocks(self.world)
        path = self.directory / "jobs.db"
        real = SqliteJournal(path, clock=time.wall, host_clock=time.host)
        pair = JournalPair(
            real, ModelJournal(self.world, self.runner.run(owner_of(real)), time), time
        )
        if ACCOUNTS[who] is not None:
            pair.real.bind(ACCOUNTS[who])
            pair.model.bind(ACCOUNTS[who])
        return pair

    def both(self, pair: JournalPair, method: str, *args: Any, **values: Any) -> Any:
        """Call a method of both and return both results."""
        answers = [
            self.runner.run(answer(getattr(journal, method)(*args, **values)))
            for journal in (pair.real, pair.model)
        ]
        assert answers[0] == answers[1]
        return answers[0]

    @rule(who=who, key=KEYS, digest=st.sampled_from(["d1", "d1", "d2"]), ids=IDS, money=PRICES)
    def begin(self, who: int, key: str, digest: str, ids: tuple[str, ...], money: Any) -> None:
        state = State.ACCEPTED if ids else State.RESERVED
        entry = Entry(key=key, kind="k", digest=digest, state=state, ids=ids, reserved=money)
        self.both(self.pairs[who], "begin", entry)

    @rule(who=who, key=KEYS, state=st.sampled_from(State), values=VALUES)
    def advance(self, who: int, key: str, state: State, values: dict[str, Any]) -> None:
        self.both(self.pairs[who], "advance", key, state, **values)

    @rule(who=who, key=KEYS)
    def drop(self, who: int, key: str) -> None:
        self.both(self.pairs[who], "drop", key)

    @rule(who=who, key=KEYS)
    def take(self, who: int, key: str) -> None:
        self.both(self.pairs[who], "acquire", key)

    @rule(who=who, hook=st.sampled_from(["h1", "h2"]))
    def record_event(self, who: int, hook: str) -> None:
        self.both(self.pairs[who], "record_event", hook)

    @rule(
        who=who,
        ago=st.integers(0, 60),
        states=st.sets(st.sampled_from(State)),
        missing=st.booleans(),
    )
    def prune(self, who: int, ago: int, states: set[State], missing: bool) -> None:
        pair = self.pairs[who]
        self.both(pair, "prune", pair.time.wall() - ago, states=states, missing=missing)

    @rule(who=st.integers(1, 2))
    def adopt(self, who: int) -> None:
        self.both(self.pairs[who], "adopt_account", ACCOUNTS[3 - who])

    @rule(who=who, coins=st.integers(0, 5), reserved=st.integers(0, 2), lives=st.floats(1, 100))
    def upload(self, who: int, coins: int, reserved: int, lives: float) -> None:
        pair = self.pairs[who]
        self.both(pair, "record_upload_cost", coins, reserved=reserved)
        until = pair.time.wall() + lives
        upload = UploadedInput(
            digest="d", content_type="audio/wav", url=f"https://x/{until}", valid_until=until
        )
        self.both(pair, "save_upload", upload)

    @rule(who=who)
    def close_and_open_again(self, who: int) -> None:
        self.both(self.pairs[who], "aclose")
        self.pairs[who] = self.pair(who)

    @rule(who=who)
    def crash(self, who: int) -> None:
        """Kill a process and start another one."""
        self.pairs[who].time.frozen = self.world.now
        self.gone.append(self.pairs[who])
        self.pairs[who] = self.pair(who)

    @rule(who=who)
    def stop(self, who: int) -> None:
        """Suspend a client: its clock stops, and its operations run at that earlier time."""
        self.pairs[who].time.frozen = self.pairs[who].time.host()

    @precondition(lambda self: any(pair.time.frozen is not None for pair in self.pairs))
    @rule()
    def go_on(self) -> None:
        for pair in self.pairs:
            pair.time.frozen = None
            # Its thread would renew the lease soon; do it now, so that the test is deterministic.
            self.both(pair, "get", "a")

    @rule(seconds=st.sampled_from([0.5, 4.0, 6.0, 29.0, 31.0, 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds
        for pair in self.pairs:
            if pair.time.frozen is None:
                self.both(pair, "get", "a")

    @rule()
    def reboot(self) -> None:
        """Kill all processes and restart the host's clock."""
        for who in range(3):
            self.crash(who)
        self.world.now = 1.0

    @rule(id=st.sampled_from(["1", "2", "3"]), who=who)
    def find(self, who: int, id: str) -> None:
        self.both(self.pairs[who], "find", "k", id)

    @invariant()
    def both_hold_the_same(self) -> None:
        pair = self.pairs[0]
        for filters in ({}, {"open_only": True}, {"states": [State.INTENT, State.SAVED]}):
            assert self.runner.run(pages(pair.real, filters)) == self.runner.run(
                pages(pair.model, filters)
            )
        self.both(pair, "accounts")
        self.both(pair, "accounts", open_only=True)
        for pair in self.pairs:
            self.both(pair, "spent")
            self.both(pair, "find_upload", "d", "audio/wav")
            for id in "123":
                self.both(pair, "find", "k", id)

    def teardown(self) -> None:
        for pair in (*self.pairs, *self.gone):
            self.runner.run(pair.real.aclose())
        self.runner.close()
        shutil.rmtree(self.directory)


async def owner_of(journal: Journal) -> str:
    return journal.owner


async def answer(call: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await call
    except LeaseLost:
        return LeaseLost


async def pages(journal: Journal, filters: dict[str, Any]) -> list[Entry]:
    found, after = await journal.entries(**filters, limit=2)
    seen = list(found)
    while after:
        found, after = await journal.entries(**filters, after=after, limit=2)
        seen += found
    return seen


TestJournalStateMachine = JournalStateMachine.TestCase
TestJournalStateMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
