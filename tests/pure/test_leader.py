"""Leader polling in virtual time: clients die, connections break, messages are lost."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field

from a2e_async._core.journal.protocol import LEASE_DURATION
from a2e_async._core.polling.leader import LeaderPolling
from a2e_async._core.polling.peers import PeerCallbacks
from a2e_async._core.polling.polled_tasks import PolledTask, PollMode, PollRequest
from a2e_async._core.polling.schedule import DELEGATED_POLL_INTERVAL, PollSchedule
from a2e_async.errors import A2EError, InvalidInput
from a2e_async.models import Record, Status

from .world import BATCH, DETAIL, KINDS, PROCESSING, kind

TICK = 0.1
"""Virtual seconds per step: messages and responses arrive with the next step."""

Ref = tuple[str, str]
NAMED = {one.name: one for one in KINDS}


@define(eq=False)
class Client:
    """One client: its schedule, its polls, and its waiters."""

    name: str
    town: "Town"
    schedule: PollSchedule = field(init=False)
    shared: LeaderPolling = field(init=False)
    member: PeerCallbacks | None = None
    alive: bool = True
    cut: bool = False
    waiting: set[Ref] = field(factory=set)
    heard: dict[Ref, float] = field(factory=dict)
    looks: list[tuple[float, PollMode, int]] = field(factory=list)
    flying: list[PollRequest] = field(factory=list)
    broken: bool = False
    """Its polls fail, those of others do not."""

    def __attrs_post_init__(self) -> None:
        self.schedule = PollSchedule(interval=1.0, poll_rate=None, jitter=self.town.rng.random)
        self.shared = LeaderPolling(
            self,
            self.schedule,
            clock=lambda: self.town.now,
            kind_named=lambda name: NAMED[name],
            deliver=self.show,
            drop_if_unused=self.spare,
            wake=lambda: None,
            ensure_running=lambda: None,
        )

    # -- its crew --------------------------------------------------------------------------

    def join(self, member: PeerCallbacks) -> None:
        self.member = member

    def request_flush(self) -> None:
        """The town collects each outbox at every step."""

    def resign(self) -> None:
        self.town.resign(self)

    # -- its poller ------------------------------------------------------------------------

    def wait(self, ref: Ref, *, started: bool = True) -> None:
        """Wait for a task: just started here, or brought back."""
        self.shared.join()
        self.waiting.add(ref)
        now = self.town.now
        if self.schedule.find(*ref) is None:
            due = now + 1.0 if started else now
            watch = self.schedule.add(NAMED[ref[0]], ref[1], now=now, due_at=due)
            if watch.had_time_for_event:
                self.shared.offer_to_leader(watch, now)

    def leave(self, ref: Ref) -> None:
        """Stop waiting."""
        self.waiting.discard(ref)
        watch = self.schedule.find(*ref)
        if watch is not None and not watch.in_flight:
            self.spare(watch)

    def spare(self, watch: PolledTask) -> None:
        if (watch.kind.name, watch.id) not in self.waiting and not watch.followers:
            self.schedule.drop(watch)

    def show(self, watch: PolledTask, row: Any) -> bool:
        """Receive what another client has seen."""
        if row["id"] != watch.id:
            return False
        self._take_in(watch, row["done"], None)
        return True

    def step(self) -> None:
        """Answer the polls of the last step and plan new ones."""
        flying, self.flying = self.flying, []
        for look in flying:
            self._answered(look)
        for look in self.schedule.plan(self.town.now):
            self.looks.append((self.town.now, look.mode, len(look.polled_tasks)))
            self.flying.append(look)

    def _answered(self, look: PollRequest) -> None:
        town, now = self.town, self.town.now
        if self.broken:
            self.schedule.request_failed(look, A2EError("failed"), now)
            self.shared.poll_failed(look.polled_tasks)
            return
        for watch in look.polled_tasks:
            if watch.dropped:
                continue
            done = town.ends[watch.kind.name, watch.id] <= look.planned_at
            if done and look.mode is PollMode.PROCESSING:
                self.schedule.record_absent(watch, look, now)
                continue
            row = {"id": watch.id, "done": done}
            status = Status.SUCCEEDED if done else Status.RUNNING
            record = Record(id=watch.id, status=status, raw_status=status)
            self.shared.notify_followers(watch, row, record)
            if not done:
                self.shared.offer_to_leader(watch, now)
            self._take_in(watch, done, look)
        for watch in look.polled_tasks:
            if not watch.dropped and not watch.in_flight:
                self.spare(watch)

    def _take_in(self, watch: PolledTask, done: bool, look: PollRequest | None) -> None:
        if done:
            self.schedule.record_end(watch, self.town.now)
            ref = watch.kind.name, watch.id
            if ref in self.waiting:
                self.waiting.discard(ref)
                self.heard[ref] = self.town.now
        elif look is None:
            self.schedule.reported_by_leader(watch, self.town.now)
        else:
            self.schedule.record_unfinished(watch, look, self.town.now)


@define(eq=False)
class Town:
    """The service, and the store through which the clients know of each other."""

    rng: random.Random
    now: float = 1000.0
    ends: dict[Ref, float] = field(factory=dict)
    clients: list[Client] = field(factory=list)
    leader: Client | None = None
    lease: float = 0.0
    rests: dict[str, float] = field(factory=dict)
    told: dict[str, str | None] = field(factory=dict)
    """Whom each client knows as the leader."""
    spoken: set[str] = field(factory=set)
    loss: float = 0.0
    messages: int = 0

    def client(self) -> Client:
        """Return a new client."""
        made = Client(f"c{len(self.clients)}", self)
        self.clients.append(made)
        return made

    def task(self, of: str, end: float) -> Ref:
        """Return a new task that ends then."""
        ref = of, f"{len(self.ends):024x}"
        self.ends[ref] = end
        return ref

    def resign(self, client: Client) -> None:
        """Make another client the leader."""
        self.rests[client.name] = self.now + 60
        if self.leader is client:
            self.leader = None
        self._tell(client, None)

    def run(self, until: float, act: Callable[[], None] = lambda: None) -> None:
        """Advance the virtual time."""
        while self.now < until:
            self.now += TICK
            act()
            self._settle()
            for client in self.clients:
                if client.alive:
                    client.step()
            self._deliver()

    def _settle(self) -> None:
        able = [c for c in self.clients if c.alive and not c.cut and c.member is not None]
        if self.leader in able:
            self.lease = self.now + LEASE_DURATION
        elif self.leader is None or self.now >= self.lease:
            ready = [c for c in able if self.rests.get(c.name, 0) <= self.now]
            self.leader = self.rng.choice(ready) if ready else None
            self.lease = self.now + LEASE_DURATION
            for client in able:
                self._tell(client, self.leader)
        for client in self.clients:
            if client.member is None or not client.alive:
                continue
            leader = None if client.cut else self.leader
            if self.told.get(client.name) != (leader and leader.name):
                for other in able if client is leader else [client]:  # it announces itself
                    self._tell(other, leader)
        for name in self.spoken - {c.name for c in self.clients if c.alive}:
            self.spoken.discard(name)
            if self.leader in able and self.leader is not None:
                self.leader.shared.peer_left(name)

    def _tell(self, client: Client, leader: Client | None) -> None:
        self.told[client.name] = leader and leader.name
        client.shared.leader_changed(leader and leader.name)

    def _deliver(self) -> None:
        by_name = {client.name: client for client in self.clients}
        for client in self.clients:
            if not client.alive or client.member is None:
                continue
            for to, text in client.shared.take_outbox():
                other = by_name[to]
                if client.cut or other.cut or not other.alive or self.rng.random() < self.loss:
                    continue
                self.messages += 1
                self.spoken.add(client.name)
                other.shared.message_received(client.name, text)


@pytest.fixture
def town() -> Town:
    return Town(random.Random(7))


def calls(client: Client, since: float) -> int:
    return sum(1 for at, _, _ in client.looks if at > since)


@pytest.mark.parametrize("of", ["batch", "processing", "detail"])
def test_the_calls_of_many_are_those_of_one(town: Town, of: str) -> None:
    clients = [town.client() for _ in range(5)]
    for n in range(50):
        clients[n % 5].wait(town.task(of, 1e9))
    town.run(1005)
    town.run(1065)
    made = sum(calls(client, 1005) for client in clients)
    rounds = 60 * (50 if of == "detail" else 1)
    assert 0.85 * rounds <= made <= 1.02 * rounds
    assert sum(1 for client in clients if calls(client, 1005)) == 1


def test_nothing_is_said_while_nothing_changes(town: Town) -> None:
    clients = [town.client() for _ in range(3)]
    for n in range(30):
        clients[n % 3].wait(town.task("batch", 1e9))
    town.run(1010)
    before = town.messages
    town.run(1100)
    assert town.messages == before


@pytest.mark.parametrize("seed", range(12))
def test_every_end_is_told_in_time(seed: int) -> None:
    """Clients die, join, miss messages and leave; every wait learns of its end."""
    rng = random.Random(seed)
    town = Town(rng)
    for _ in range(4):
        town.client()
    waited: dict[tuple[str, Ref], Client] = {}
    cuts: dict[str, float] = {}

    def act() -> None:
        alive = [c for c in town.clients if c.alive]
        if rng.random() < 0.2 and town.now < 1400:
            ref = town.task(
                rng.choice([BATCH, PROCESSING, DETAIL]).name, town.now + rng.expovariate(1 / 40)
            )
            for client in rng.sample(alive, rng.choice([1, 1, 2])):
                client.wait(ref, started=rng.random() < 0.7)
                waited[client.name, ref] = client
        if rng.random() < 0.01:
            client = rng.choice(alive)
            if client.waiting:
                ref = rng.choice(sorted(client.waiting))
                client.leave(ref)
                waited.pop((client.name, ref), None)
        if rng.random() < 0.004 and len(alive) > 2:
            rng.choice(alive).alive = False
            town.client()
        if rng.random() < 0.004:
            client = rng.choice(alive)
            client.cut, cuts[client.name] = True, town.now + rng.uniform(1, 20)
        if rng.random() < 0.003:
            rng.choice(alive).broken = True
        for client in alive:
            if client.cut and cuts[client.name] <= town.now:
                client.cut = False
            if client.broken and rng.random() < 0.02:
                client.broken = False

    town.run(1400, act)
    for client in town.clients:
        client.cut = client.broken = False
    town.run(1400 + 400)
    late = 0.0
    for (_, ref), client in waited.items():
        if client.alive:
            assert ref in client.heard, (client.name, ref)
            late = max(late, client.heard[ref] - town.ends[ref])
    assert late <= LEASE_DURATION + 62, late
    for client in town.clients:
        if client.alive:
            assert len(client.schedule) == 0, client.name


def test_a_lost_message_costs_a_delay_and_no_more(town: Town) -> None:
    first, second = town.client(), town.client()
    first.wait(town.task("batch", 1e9))
    town.run(1002)
    ref = town.task("batch", 1020.0)
    second.wait(ref)
    town.run(1010)
    town.loss = 1.0
    town.run(1030)
    town.loss = 0.0
    assert ref not in second.heard
    town.run(1010 + DELEGATED_POLL_INTERVAL + 5)
    assert second.heard[ref] <= 1010 + DELEGATED_POLL_INTERVAL + 2


def test_one_whose_looks_fail_gives_the_lead_away(town: Town) -> None:
    clients = [town.client() for _ in range(3)]
    refs = [town.task("batch", 1060.0) for _ in range(9)]
    for n, ref in enumerate(refs):
        clients[n % 3].wait(ref)
    town.run(1010)
    leader = town.leader
    assert leader is not None
    leader.broken = True
    town.run(1050)
    assert town.leader not in (leader, None)
    town.run(1065)
    others = [(n % 3, ref) for n, ref in enumerate(refs) if clients[n % 3] is not leader]
    assert all(ref in clients[n].heard for n, ref in others)


def test_a_kind_that_the_leader_does_not_know(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = town.client(), town.client()
    first.wait(town.task("batch", 1e9))
    town.run(1002)

    def unknown(_: str) -> Any:
        raise InvalidInput("no such kind")

    monkeypatch.setitem(NAMED, "newer", kind("newer", "detail"))
    monkeypatch.setattr(first.shared, "_kind_named", unknown)
    ref = town.task("newer", 1010.0)
    second.wait(ref)
    town.run(1012)
    assert second.heard[ref] <= 1011.5


@pytest.mark.parametrize("first_alone", [True, False])
def test_a_task_for_which_the_leader_awaits_an_event(town: Town, first_alone: bool) -> None:
    """It polls too rarely for a client without webhooks."""
    first, second = town.client(), town.client()
    first.schedule = PollSchedule(
        interval=1.0, poll_rate=None, jitter=town.rng.random, webhook_factor=200.0
    )
    first.shared._schedule = first.schedule
    first.schedule.on_dropped = first.shared._on_dropped
    first.wait(town.task("batch", 1e9))
    town.run(1002)
    ref = town.task("detail", 1050.5)
    if first_alone:
        first.wait(ref)
        town.run(1005)
        first.schedule.set_webhook_id(first.schedule.find(*ref), "hook")  # type: ignore[arg-type]  # it waits
    second.wait(ref)
    town.run(1010)
    if not first_alone:
        first.wait(ref)
        watch = first.schedule.find(*ref)
        assert watch is not None
        assert watch.followers
        first.schedule.set_webhook_id(watch, "hook")
    town.run(1060)
    assert second.heard[ref] <= 1052


def test_who_asks_again_is_told_again(town: Town) -> None:
    """What it was told last may be what it has lost."""
    first, second = town.client(), town.client()
    first.wait(town.task("batch", 1e9))
    town.run(1002)
    ref = town.task("batch", 1e9)
    second.wait(ref)
    town.run(1005)
    watch = second.schedule.find(*ref)
    assert watch is not None
    before = watch.last_success_at
    second.leave(ref)
    second.wait(ref)
    town.run(1010)
    watch = second.schedule.find(*ref)
    assert watch is not None
    assert watch.last_success_at > max(before, 1005.2)
