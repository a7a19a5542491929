"""The service without I/O under random requests: its invariants."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from a2e_async.sandbox._core.api_messages import SandboxRequest, SandboxResponse
from a2e_async.sandbox._core.api_spec import kind_table
from a2e_async.sandbox._core.clock import Moment
from a2e_async.sandbox._core.dispatch import handle, router
from a2e_async.sandbox._core.faults import Faults
from a2e_async.sandbox._core.kinds.kind import SimulatedKind
from a2e_async.sandbox._core.kinds.registry import KINDS
from a2e_async.sandbox._core.ledger import Ledger
from a2e_async.sandbox._core.object_store import ObjectStore
from a2e_async.sandbox._core.service import Service

from .conftest import BODIES, STARTS

BATCH = {
    name: kind_table()[name]["batch_detail"].partition(" ")[2]
    for name in ("talking_video", "image_to_video", "veo", "photobook")
}


def status_order(kind: SimulatedKind) -> list[str]:
    """Return the status words of a kind in their possible order."""
    words = [word for word, _ in kind.status_sequence.steps]
    return [*words, kind.status_sequence.done, kind.status_sequence.failed]


def detail_path(kind: str, task_id: str) -> str:
    """Return the path of the detail; DELETE uses the same one."""
    return (
        str(kind_table()[kind]["detail"])
        .partition(" ")[2]
        .replace("{_id}", task_id)
        .replace("{id}", task_id)
    )


class World:
    """A service whose clock only the test advances."""

    def __init__(self, seed: int = 0, balance: int = 500, failure_rate: float = 0.3) -> None:
        self.now = Moment(0.0, 1e9)
        self.service = Service(
            random.Random(seed),
            ObjectStore(b"secret", "http://storage.test"),
            Faults(),
            Ledger(balance),
            failure_rate=failure_rate,
        )
        self.service.grant_initial_balance(self.now)

    def send(self, method: str, path: str, body: Any = None, query: Any = None) -> SandboxResponse:
        found = router().find(method, path)
        assert found is not None
        return handle(self.service, SandboxRequest(*found, query or {}, body), self.now)

    def wait(self, seconds: float) -> None:
        self.now = Moment(self.now.service_time + seconds, self.now.calendar + seconds)


ACTIONS = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(sorted(KINDS)), st.integers(1, 4)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 5.0, 40.0, 300.0]), st.just(0)),
    st.tuples(st.just("delete"), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("look"), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("quote"), st.sampled_from(sorted(KINDS)), st.just(0)),
    st.tuples(st.just("presign"), st.just(""), st.just(0)),
)


def _step(world: World, action: tuple[str, Any, int], ids: list[tuple[str, str]]) -> None:
    name, value, count = action
    if name == "wait":
        world.wait(value)
    elif name == "start":
        many = {"number_of_images": count} if value == "image_to_video" else {}
        answer = world.send("POST", STARTS[value], {**BODIES[value], **many})
        data = answer.data if answer.status == 200 else list[Any]()
        ids += [(value, row["_id"]) for row in (data if isinstance(data, list) else [data])]
    elif name in {"delete", "look"} and ids:
        kind, task_id = ids[value % len(ids)]
        method = "DELETE" if name == "delete" else "GET"
        path = detail_path(kind, task_id) if "detail" in kind_table()[kind] else ""
        if router().find(method, path) and task_id in path:
            world.send(method, path)
    elif name == "quote":
        before = world.service.ledger.spent
        world.send(
            "POST",
            "/api/v1/generation/quote",
            {"endpoint": STARTS[value], "requestBody": BODIES[value]},
        )
        assert world.service.ledger.spent <= before
    elif name == "presign":
        world.send("POST", "/api/v1/r2/upload-presigned-url", {"key": "a"})


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTIONS, max_size=40), st.integers(0, 5))
def test_the_ledger_balances_and_statuses_only_move_forward(
    actions: list[tuple[str, Any, int]], seed: int
) -> None:
    world, ids = World(seed), list[tuple[str, str]]()
    ranks: dict[str, int] = {}
    for action in actions:
        _step(world, action, ids)
        world.service.process_ended_tasks(world.now)
        ledger = world.service.ledger
        assert ledger.balance == 500 - ledger.spent >= 0
        assert ledger.spent == sum(item.coins - item.refunded for item in ledger.charges)
        assert ledger.balance == sum(item.amount for item in ledger.transactions)
        assert all(0 <= item.refunded <= item.coins for item in ledger.charges)
        for task in world.service.tasks.values():
            rank = status_order(task.kind).index(task.status(world.now))
            assert rank >= ranks.get(task.id, 0)
            ranks[task.id] = rank
    paid = {task_id for charge in world.service.ledger.charges for task_id in charge.ids}
    assert set(world.service.tasks) <= paid


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 25), max_size=200), st.floats(0, 500))
def test_batch_detail_answers_a_subset_that_agrees_with_detail(
    picks: list[int], wait: float
) -> None:
    world = World(1, balance=10_000)
    for kind in BATCH:
        for _ in range(10):
            world.send("POST", STARTS[kind], BODIES[kind])
    known = [*world.service.tasks, *(f"{number:024x}" for number in range(6))]
    world.wait(wait)
    ids = [known[pick] for pick in picks]
    for kind, path in BATCH.items():
        rows = world.send("POST", path, {"ids": ids}).data
        own = {task.id for task in world.service.tasks.values() if task.kind.name == kind}
        assert {row["_id"] for row in rows} == set(ids) & own
        assert len(rows) == len({row["_id"] for row in rows})
        for row in rows:
            path = detail_path(kind, row["_id"])
            assert world.send("GET", path).data == row


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["source_url", "image_url", "name", "video_time", "duration", "ids"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.lists(st.text())),
    )
)
def test_no_body_breaks_the_service(body: dict[str, Any]) -> None:
    world = World()
    for kind, path in STARTS.items():
        for sent in (body, {**BODIES[kind], **body}):
            assert world.send("POST", path, sent).status in {200, 400}
            quote = {"endpoint": path, "requestBody": sent}
            assert world.send("POST", "/api/v1/generation/quote", quote).status in {200, 400}
    for path in BATCH.values():
        assert world.send("POST", path, body).status in {200, 400}


def lines(do: Callable[[], object]) -> int:
    """Return how many lines of Python a call executes: a measure independent of machine load."""
    count = 0

    def trace(*_: object) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        do()
    finally:
        sys.settrace(before)
    return count


def test_among_ten_thousand_tasks_each_costs_what_the_first_did() -> None:
    world = World(2, balance=10**7, failure_rate=0)

    def start() -> None:
        world.send("POST", STARTS["talking_video"], BODIES["talking_video"])

    def read(ids: list[str]) -> None:
        assert len(world.send("POST", BATCH["talking_video"], {"ids": ids}).data) == 200

    for _ in range(200):
        start()
    first = list(world.service.tasks)
    alone = lines(start), lines(lambda: read(first))
    for _ in range(10_000):
        start()
    last = list(world.service.tasks)[-200:]
    among = lines(start), lines(lambda: read(last))
    assert among[0] < 1.2 * alone[0]
    assert among[1] < 1.2 * alone[1]
