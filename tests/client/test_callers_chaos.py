"""Many tenants under random faults: no slot is lost or left without a holder."""

import asyncio
import random
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.errors import A2EError, TooBusy
from a2e_async.sandbox import Sandbox

from .conftest import DUB, MakeClient, turns

pytestmark = pytest.mark.parametrize(
    "sandbox_options", [{"durations": {"dubbing": 60.0, "text_to_image": 60.0}}], ids=["minutes"]
)
CALLERS = ("a", "b", "c")


def disturb(sandbox: Sandbox, rng: random.Random) -> None:
    """Queue a few random faults."""
    for _ in range(6):
        rng.choice(
            (
                lambda: sandbox.faults.http_error(429, role="start", retry_after=0),
                lambda: sandbox.faults.http_error(400, role="start"),
                lambda: sandbox.faults.http_error(500, role="start", accepted=True),
                lambda: sandbox.faults.http_error(404),
                sandbox.faults.drop_after_accept,
                sandbox.faults.drop_before_accept,
                sandbox.faults.fail,
            )
        )()


async def act(client: A2E, rng: random.Random) -> str:
    """Start a task, perhaps cancelling it; then wait for it, delete it, or leave it."""
    if rng.random() < 0.7:
        starting = asyncio.create_task(client.dubbing.start(**DUB))
    else:
        starting = asyncio.create_task(client.text_to_image.start(prompt="x", max_images=2))  # type: ignore[arg-type]  # a task of either
    if rng.random() < 0.3:
        await turns(rng.randrange(30))
        starting.cancel()
    try:
        task: Any = await starting
        after = rng.random()
        if after < 0.3:
            await task
        elif after < 0.4:
            await task.delete()
    except TooBusy:
        return "busy"
    except (A2EError, asyncio.CancelledError) as error:
        return type(error).__name__
    return task.ref  # type: ignore[no-any-return]  # a text


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens(make_client: MakeClient, sandbox: Sandbox, seed: int) -> None:
    """At the end every slot is free and each tenant can start again."""
    rng = random.Random(seed)
    most = (None, 2, 3, 8)[seed]
    client = make_client(max_unfinished=most)
    disturb(sandbox, rng)

    def one() -> A2E:
        caller = rng.choice((None, *CALLERS))
        if caller is None:
            return client
        own, longest = rng.choice((None, 1, 3)), rng.choice((None, 0, 0.05, 2))
        return client.for_caller(caller, max_unfinished=own, max_wait=longest)

    ends = await asyncio.gather(*(act(one(), rng) for _ in range(80)))
    assert any(end == "busy" for end in ends)
    assert any(":" in end for end in ends)
    sandbox.faults.clear()
    places = client._context.starter.admission
    for caller in CALLERS:
        sandbox.advance(3600)
        user = client.for_caller(caller, max_unfinished=1)
        assert await (await user.dubbing.start(**DUB))
    assert not places._waiting_slots
    assert places._fair_queue.waiting_count == 0
    held = sum(len(place.unfinished_ids) for place in places._occupied_slots)
    assert places._fair_queue.total_unfinished == held == len(places._slot_by_task)
    assert not any(queue.admitted for queue in places._fair_queue._tenant_queues.values())
