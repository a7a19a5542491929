"""Leader polling in virtual time: clients die, connections break, messages are lost."""

import random
from collections.abc import Callable
from typing import Any

import pytest
from attrs import define, field

from a2e_async._core.journal.peers import PeerCallbacks
from a2e_async._core.journal.protocol import LEASE_DURATION
from a2e_async._core.polling.leader import LeaderPolling
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
    fleet: "Fleet"
    schedule: PollSchedule = field(init=False)
    shared: LeaderPolling = field(init=False)
    member: PeerCallbacks | None = None
    alive: bool = True
    disconnected: bool = False
    waiting: set[Ref] = field(factory=set)
    seen_ends: dict[Ref, float] = field(factory=dict)
    polls: list[tuple[float, PollMode, int]] = field(factory=list)
    in_flight: list[PollRequest] = field(factory=list)
    broken: bool = False
    """Its polls fail, those of others do not."""

    def __attrs_post_init__(self) -> None:
        self.schedule = PollSchedule(interval=1.0, poll_rate=None, jitter=self.fleet.rng.random)
        self.shared = LeaderPolling(
            self,
            self.schedule,
            clock=lambda: self.fleet.now,
            kind_named=lambda name: NAMED[name],
            deliver=self.deliver,
            drop_if_unused=self.drop_if_unused,
            wake=lambda: None,
            ensure_running=lambda: None,
        )

    # -- its peer group ----------------------------------------------------------------

    def join(self, member: PeerCallbacks) -> None:
        self.member = member

    def request_flush(self) -> None:
        """The fleet collects each outbox at every step."""

    def resign(self) -> None:
        self.fleet.resign(self)

    # -- its poller ------------------------------------------------------------------------

    def wait(self, ref: Ref, *, started: bool = True) -> None:
        """Wait for a task: just started here, or brought back."""
        self.shared.join()
        self.waiting.add(ref)
        now = self.fleet.now
        if self.schedule.find(*ref) is None:
            due = now + 1.0 if started else now
            polled = self.schedule.add(NAMED[ref[0]], ref[1], now=now, due_at=due)
            if polled.had_time_for_event:
                self.shared.offer_to_leader(polled, now)

    def leave(self, ref: Ref) -> None:
        """Stop waiting."""
        self.waiting.discard(ref)
        polled = self.schedule.find(*ref)
        if polled is not None and not polled.in_flight:
            self.drop_if_unused(polled)

    def drop_if_unused(self, polled: PolledTask) -> None:
        if (polled.kind.name, polled.id) not in self.waiting and not polled.followers:
            self.schedule.drop(polled)

    def deliver(self, polled: PolledTask, row: Any) -> bool:
        """Receive what another client has seen."""
        if row["id"] != polled.id:
            return False
        self._take_in(polled, row["done"], None)
        return True

    def step(self) -> None:
        """Answer the polls of the last step and plan new ones."""
        in_flight, self.in_flight = self.in_flight, []
        for request in in_flight:
            self._answered(request)
        for request in self.schedule.plan(self.fleet.now):
            self.polls.append((self.fleet.now, request.mode, len(request.polled_tasks)))
            self.in_flight.append(request)

    def _answered(self, request: PollRequest) -> None:
        fleet, now = self.fleet, self.fleet.now
        if self.broken:
            self.schedule.request_failed(request, A2EError("failed"), now)
            self.shared.poll_failed(request.polled_tasks)
            return
        for polled in request.polled_tasks:
            if polled.dropped:
                continue
            done = fleet.ends[polled.kind.name, polled.id] <= request.planned_at
            if done and request.mode is PollMode.PROCESSING:
                self.schedule.record_absent(polled, request, now)
                continue
            row = {"id": polled.id, "done": done}
            status = Status.SUCCEEDED if done else Status.RUNNING
            record = Record(id=polled.id, status=status, raw_status=status)
            self.shared.notify_followers(polled, row, record)
            if not done:
                self.shared.offer_to_leader(polled, now)
            self._take_in(polled, done, request)
        for polled in request.polled_tasks:
            if not polled.dropped and not polled.in_flight:
                self.drop_if_unused(polled)

    def _take_in(self, polled: PolledTask, done: bool, request: PollRequest | None) -> None:
        if done:
            self.schedule.record_end(polled, self.fleet.now)
            ref = polled.kind.name, polled.id
            if ref in self.waiting:
                self.waiting.discard(ref)
                self.seen_ends[ref] = self.fleet.now
        elif request is None:
            self.schedule.reported_by_leader(polled, self.fleet.now)
        else:
            self.schedule.record_unfinished(polled, request, self.fleet.now)


@define(eq=False)
class Fleet:
    """The service, and the store through which the clients know of each other."""

    rng: random.Random
    now: float = 1000.0
    ends: dict[Ref, float] = field(factory=dict)
    clients: list[Client] = field(factory=list)
    leader: Client | None = None
    lease: float = 0.0
    no_lead_before: dict[str, float] = field(factory=dict)
    known_leaders: dict[str, str | None] = field(factory=dict)
    """The leader that each client knows of."""
    senders: set[str] = field(factory=set)
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
        self.no_lead_before[client.name] = self.now + 60
        if self.leader is client:
            self.leader = None
        self._notify_leader(client, None)

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
        able = [c for c in self.clients if c.alive and not c.disconnected and c.member is not None]
        if self.leader in able:
            self.lease = self.now + LEASE_DURATION
        elif self.leader is None or self.now >= self.lease:
            ready = [c for c in able if self.no_lead_before.get(c.name, 0) <= self.now]
            self.leader = self.rng.choice(ready) if ready else None
            self.lease = self.now + LEASE_DURATION
            for client in able:
                self._notify_leader(client, self.leader)
        for client in self.clients:
            if client.member is None or not client.alive:
                continue
            leader = None if client.disconnected else self.leader
            if self.known_leaders.get(client.name) != (leader and leader.name):
                for other in able if client is leader else [client]:  # it announces itself
                    self._notify_leader(other, leader)
        for name in self.senders - {c.name for c in self.clients if c.alive}:
            self.senders.discard(name)
            if self.leader in able and self.leader is not None:
                self.leader.shared.peer_left(name)

    def _notify_leader(self, client: Client, leader: Client | None) -> None:
        self.known_leaders[client.name] = leader and leader.name
        client.shared.leader_changed(leader and leader.name)

    def _deliver(self) -> None:
        by_name = {client.name: client for client in self.clients}
        for client in self.clients:
            if not client.alive or client.member is None:
                continue
            for to, text in client.shared.take_outbox():
                other = by_name[to]
                if (
                    client.disconnected
                    or other.disconnected
                    or not other.alive
                    or self.rng.random() < self.loss
                ):
                    continue
                self.messages += 1
                self.senders.add(client.name)
                other.shared.message_received(client.name, text)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet(random.Random(7))


def calls(client: Client, since: float) -> int:
    return sum(1 for at, _, _ in client.polls if at > since)


@pytest.mark.parametrize("of", ["batch", "processing", "detail"])
def test_the_calls_of_many_are_those_of_one(fleet: Fleet, of: str) -> None:
    clients = [fleet.client() for _ in range(5)]
    for n in range(50):
        clients[n % 5].wait(fleet.task(of, 1e9))
    fleet.run(1005)
    fleet.run(1065)
    made = sum(calls(client, 1005) for client in clients)
    rounds = 60 * (50 if of == "detail" else 1)
    assert 0.85 * rounds <= made <= 1.02 * rounds
    assert sum(1 for client in clients if calls(client, 1005)) == 1


def test_nothing_is_said_while_nothing_changes(fleet: Fleet) -> None:
    clients = [fleet.client() for _ in range(3)]
    for n in range(30):
        clients[n % 3].wait(fleet.task("batch", 1e9))
    fleet.run(1010)
    before = fleet.messages
    fleet.run(1100)
    assert fleet.messages == before


@pytest.mark.parametrize("seed", range(12))
def test_every_end_is_seen_in_time(seed: int) -> None:
    """Clients die, join, miss messages and leave; every wait learns of its end."""
    rng = random.Random(seed)
    fleet = Fleet(rng)
    for _ in range(4):
        fleet.client()
    waited: dict[tuple[str, Ref], Client] = {}
    cuts: dict[str, float] = {}

    def act() -> None:
        alive = [c for c in fleet.clients if c.alive]
        if rng.random() < 0.2 and fleet.now < 1400:
            ref = fleet.task(
                rng.choice([BATCH, PROCESSING, DETAIL]).name, fleet.now + rng.expovariate(1 / 40)
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
            fleet.client()
        if rng.random() < 0.004:
            client = rng.choice(alive)
            client.disconnected, cuts[client.name] = True, fleet.now + rng.uniform(1, 20)
        if rng.random() < 0.003:
            rng.choice(alive).broken = True
        for client in alive:
            if client.disconnected and cuts[client.name] <= fleet.now:
                client.disconnected = False
            if client.broken and rng.random() < 0.02:
                client.broken = False

    fleet.run(1400, act)
    for client in fleet.clients:
        client.disconnected = client.broken = False
    fleet.run(1400 + 400)
    late = 0.0
    for (_, ref), client in waited.items():
        if client.alive:
            assert ref in client.seen_ends, (client.name, ref)
            late = max(late, client.seen_ends[ref] - fleet.ends[ref])
    assert late <= LEASE_DURATION + 62, late
    for client in fleet.clients:
        if client.alive:
            assert len(client.schedule) == 0, client.name


def test_a_lost_message_costs_a_delay_and_no_more(fleet: Fleet) -> None:
    first, second = fleet.client(), fleet.client()
    first.wait(fleet.task("batch", 1e9))
    fleet.run(1002)
    ref = fleet.task("batch", 1020.0)
    second.wait(ref)
    fleet.run(1010)
    fleet.loss = 1.0
    fleet.run(1030)
    fleet.loss = 0.0
    assert ref not in second.seen_ends
    fleet.run(1010 + DELEGATED_POLL_INTERVAL + 5)
    assert second.seen_ends[ref] <= 1010 + DELEGATED_POLL_INTERVAL + 2


def test_a_leader_whose_polls_fail_resigns(fleet: Fleet) -> None:
    clients = [fleet.client() for _ in range(3)]
    refs = [fleet.task("batch", 1060.0) for _ in range(9)]
    for n, ref in enumerate(refs):
        clients[n % 3].wait(ref)
    fleet.run(1010)
    leader = fleet.leader
    assert leader is not None
    leader.broken = True
    fleet.run(1050)
    assert fleet.leader not in (leader, None)
    fleet.run(1065)
    others = [(n % 3, ref) for n, ref in enumerate(refs) if clients[n % 3] is not leader]
    assert all(ref in clients[n].seen_ends for n, ref in others)


def test_a_kind_that_the_leader_does_not_know(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = fleet.client(), fleet.client()
    first.wait(fleet.task("batch", 1e9))
    fleet.run(1002)

    def unknown(_: str) -> Any:
        raise InvalidInput("no such kind")

    monkeypatch.setitem(NAMED, "newer", kind("newer", "detail"))
    monkeypatch.setattr(first.shared, "_kind_named", unknown)
    ref = fleet.task("newer", 1010.0)
    second.wait(ref)
    fleet.run(1012)
    assert second.seen_ends[ref] <= 1011.5


@pytest.mark.parametrize("first_polls_alone", [True, False])
def test_a_task_for_which_the_leader_awaits_an_event(fleet: Fleet, first_polls_alone: bool) -> None:
    """It polls too rarely for a client without webhooks."""
    first, second = fleet.client(), fleet.client()
    first.schedule = PollSchedule(
        interval=1.0, poll_rate=None, jitter=fleet.rng.random, webhook_factor=200.0
    )
    first.shared._schedule = first.schedule
    first.schedule.on_dropped = first.shared._on_dropped
    first.wait(fleet.task("batch", 1e9))
    fleet.run(1002)
    ref = fleet.task("detail", 1050.5)
    if first_polls_alone:
        first.wait(ref)
        fleet.run(1005)
        first.schedule.set_webhook_id(first.schedule.find(*ref), "hook")  # type: ignore[arg-type]  # it waits
    second.wait(ref)
    fleet.run(1010)
    if not first_polls_alone:
        first.wait(ref)
        polled = first.schedule.find(*ref)
        assert polled is not None
        assert polled.followers
        first.schedule.set_webhook_id(polled, "hook")
    fleet.run(1060)
    assert second.seen_ends[ref] <= 1052


def test_a_repeated_request_gets_the_record_again(fleet: Fleet) -> None:
    """The last message to it may be the one that was lost."""
    first, second = fleet.client(), fleet.client()
    first.wait(fleet.task("batch", 1e9))
    fleet.run(1002)
    ref = fleet.task("batch", 1e9)
    second.wait(ref)
    fleet.run(1005)
    polled = second.schedule.find(*ref)
    assert polled is not None
    before = polled.last_success_at
    second.leave(ref)
    second.wait(ref)
    fleet.run(1010)
    polled = second.schedule.find(*ref)
    assert polled is not None
    assert polled.last_success_at > max(before, 1005.2)
