"""How webhook events affect waits: they trigger a poll and are never trusted."""

import asyncio
import logging
from typing import Any

import pytest

from a2e_async import A2E, Status
from a2e_async._core.webhooks.tokens import make_token
from a2e_async.errors import ConfigurationError, InvalidRequest, TaskFailed
from a2e_async.sandbox import Sandbox

from .conftest import (
    DUB,
    KEY,
    LATER,
    SECRET,
    Door,
    MakeClient,
    poll_count,
    token_of,
    until,
    waiting,
)

pytestmark = pytest.mark.anyio


async def test_an_event_ends_the_wait(a2e: A2E, sandbox: Sandbox, door: Door) -> None:
    """One start, one event, one poll."""
    task = await a2e.dubbing.start(**DUB)
    wait = await waiting(a2e, task)
    sandbox.advance(4000)
    record = await asyncio.wait_for(wait, 50)
    assert record.status is Status.SUCCEEDED
    assert poll_count(sandbox) == 1
    await until(lambda: door.answers == [204])
    assert (a2e.webhooks.received, a2e.webhooks.refused) == (1, 0)


async def test_a_failure_causes_a_poll_as_well(a2e: A2E, sandbox: Sandbox) -> None:
    sandbox.faults.fail("dubbing", "no speech found")
    wait = await waiting(a2e, await a2e.dubbing.start(**DUB))
    sandbox.advance(4000)
    with pytest.raises(TaskFailed, match="no speech found"):
        await asyncio.wait_for(wait, 50)
    assert poll_count(sandbox) == 1


async def test_a_start_of_several_tasks(a2e: A2E, sandbox: Sandbox) -> None:
    """All its tasks carry the token of the start."""
    task = await a2e.text_to_image.start(prompt="a lake", max_images=2)
    assert len(task.ids) == 2
    wait = await waiting(a2e, task)
    sandbox.advance(4000)
    assert len((await asyncio.wait_for(wait, 50)).outputs) == 2
    assert poll_count(sandbox) <= 2


async def test_twice_is_once(a2e: A2E, sandbox: Sandbox, door: Door) -> None:
    sandbox.faults.repeat_webhook(copies=5)
    wait = await waiting(a2e, await a2e.dubbing.start(**DUB))
    sandbox.advance(4000)
    await asyncio.wait_for(wait, 50)
    await until(lambda: len(door.answers) == 5)
    await asyncio.sleep(0.05)
    assert door.answers == [204] * 5
    assert poll_count(sandbox) == 1


async def test_a_forged_event_costs_nothing(a2e: A2E, sandbox: Sandbox, door: Door) -> None:
    sandbox.faults.forge_webhook()
    sandbox.faults.drop_webhook()
    wait = await waiting(a2e, await a2e.dubbing.start(**DUB))
    sandbox.advance(4000)
    await until(lambda: door.answers)
    await asyncio.sleep(0.05)
    assert door.answers == [401]
    assert not wait.done()
    assert poll_count(sandbox) == 0
    wait.cancel()


async def test_a_lost_event_costs_a_delay(
    make_client: MakeClient, sandbox: Sandbox, door: Door
) -> None:
    """The fallback poll finds the end."""
    sandbox.faults.drop_webhook()
    door.client = a2e = make_client(webhook_url=door.url, poll_interval=0.02)
    wait = await waiting(a2e, await a2e.dubbing.start(**DUB))
    sandbox.advance(4000)
    assert (await asyncio.wait_for(wait, 50)).status is Status.SUCCEEDED
    assert not door.answers


async def test_a_late_event_still_ends_the_wait(a2e: A2E, sandbox: Sandbox, door: Door) -> None:
    """The next poll without an event would be a minute later."""
    sandbox.faults.slow_webhook(0.5)
    wait = await waiting(a2e, await a2e.dubbing.start(**DUB))
    sandbox.advance(4000)
    await asyncio.sleep(0.1)
    assert not door.answers
    assert (await asyncio.wait_for(wait, 50)).status is Status.SUCCEEDED
    assert poll_count(sandbox) == 1


async def test_an_early_event_costs_one_poll(
    make_client: MakeClient, sandbox: Sandbox, door: Door
) -> None:
    """The task is still running: the wait continues at the normal interval."""
    sandbox.faults.early_webhook()
    door.client = a2e = make_client(webhook_url=door.url, poll_interval=0.3)
    wait = await waiting(a2e, await a2e.dubbing.start(**DUB))
    await until(lambda: poll_count(sandbox) == 1)
    assert door.answers == [204]
    assert not wait.done()
    sandbox.faults.drop_webhook()
    sandbox.advance(4000)
    assert (await asyncio.wait_for(wait, 50)).status is Status.SUCCEEDED


async def test_an_event_may_overtake_the_starts_answer(
    a2e: A2E, sandbox: Sandbox, door: Door
) -> None:
    """The event identifies its start before the start's response names the task."""
    sandbox.faults.slow(1.0, "start", accepted=True)
    starting = asyncio.ensure_future(a2e.dubbing.start(**DUB))
    await until(sandbox.ledger.starts)
    sandbox.advance(4000)
    await until(lambda: door.answers == [204])
    assert not starting.done()
    task = await starting
    assert not task.done, "the answer is of before the end"
    assert (await task.wait(timeout=50)).status is Status.SUCCEEDED
    assert poll_count(sandbox) == 1


async def test_an_event_of_a_start_whose_answer_is_lost(a2e: A2E, sandbox: Sandbox) -> None:
    """Once the start is found by its name, waiting works as for any other start."""
    sandbox.faults.drop_after_accept("dubbing")
    task = await a2e.dubbing.start(**DUB)
    before = poll_count(sandbox)
    wait = await waiting(a2e, task)
    sandbox.advance(4000)
    await asyncio.wait_for(wait, 50)
    assert poll_count(sandbox) == before + 1
    assert len(sandbox.ledger.starts()) == 1


async def test_an_event_before_anybody_waits(a2e: A2E, sandbox: Sandbox, door: Door) -> None:
    """It is remembered: the first wait polls at once, and later waits do not poll more often."""
    task = await a2e.dubbing.start(**DUB)
    sandbox.advance(4000)
    await until(lambda: door.answers == [204])
    assert poll_count(sandbox) == 0
    assert (await task.wait(timeout=50)).status is Status.SUCCEEDED


async def test_a_replayed_event_is_no_lever(
    make_client: MakeClient, sandbox: Sandbox, door: Door
) -> None:
    """A thousand valid copies while the task runs cause at most two polls per interval."""
    door.client = a2e = make_client(webhook_url=door.url, poll_interval=0.5)
    task = await a2e.dubbing.start(**DUB)
    wait = await waiting(a2e, task)
    take = a2e.webhooks.app()._on_event
    hook = token_of(sandbox).partition(".")[0]
    begun = asyncio.get_running_loop().time()
    for _ in range(1000):
        assert take(hook)
        await asyncio.sleep(0.001)
    passed = asyncio.get_running_loop().time() - begun
    assert poll_count(sandbox) <= 2 + 2 * passed / 0.5
    assert not wait.done()
    wait.cancel()


async def test_each_wait_after_an_event_is_no_lever_either(
    a2e: A2E, sandbox: Sandbox, door: Door
) -> None:
    """An event arrived too early; repeated short waits do not add polls."""
    sandbox.faults.early_webhook()
    task = await a2e.dubbing.start(**DUB)
    await until(lambda: door.answers == [204])
    for _ in range(5):
        wait = await waiting(a2e, task)
        await asyncio.sleep(0.05)
        wait.cancel()
    assert poll_count(sandbox) == 1


async def test_kinds_without_webhooks_keep_their_interval(
    make_client: MakeClient, sandbox: Sandbox, door: Door
) -> None:
    a2e = make_client(webhook_url=door.url)
    await a2e.photobook.start(face_image_url="https://media.example/a.png")
    (charge,) = sandbox.ledger.starts()
    assert not {"webhook_url", "webhook_token"} & charge.body.keys()


async def test_without_a_webhook_nothing_is_sent(make_client: MakeClient, sandbox: Sandbox) -> None:
    a2e = make_client()
    await a2e.dubbing.start(**DUB)
    assert not {"webhook_url", "webhook_token"} & sandbox.ledger.starts()[0].body.keys()
    for get in (a2e.webhooks.app, a2e.webhooks.aiohttp_app):
        with pytest.raises(ConfigurationError, match="A2E\\(webhook_url="):
            get()


async def test_events_that_never_come_are_reported(
    make_client: MakeClient,
    sandbox: Sandbox,
    door: Door,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A wrong webhook URL must not delay every task for ever: it is logged, and polling adapts."""
    sandbox.faults.drop_webhook(times=None)
    a2e = make_client(webhook_url=door.url, poll_interval=0.02)
    said = ""
    for _ in range(20):
        wait = await waiting(a2e, await a2e.dubbing.start(**DUB))
        sandbox.advance(4000)
        await asyncio.wait_for(wait, 50)
        if said := "".join(r.getMessage() for r in caplog.records if r.levelno > logging.INFO):
            break
    assert "no webhook event arrived for the last 3 tasks" in said


async def test_what_is_sent_and_shown(
    make_client: MakeClient, sandbox: Sandbox, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    """The secret appears nowhere, the token only in the start request."""
    caplog.set_level(logging.DEBUG)
    events: list[Any] = []
    door.client = a2e = make_client(webhook_url=door.url, on_event=events.append)
    task = await a2e.dubbing.start(**DUB, name="of the user")
    sent = token_of(sandbox)
    wait = await waiting(a2e, task)
    sandbox.advance(4000)
    record = await asyncio.wait_for(wait, 50)
    sandbox.faults.code_error(400, f"bad webhook_token {sent} at {door.url}", "start")
    with pytest.raises(InvalidRequest) as caught:
        await a2e.dubbing.start(**DUB)
    shown = [
        repr(x) for x in (a2e, a2e.webhooks, a2e.webhooks.app(), a2e._components, record, task)
    ]
    text = "\n".join(
        [*shown, caplog.text, repr(events), str(caught.value), repr(vars(caught.value))]
    )
    assert SECRET not in text
    assert sent not in text
    assert record.name == "of the user"
    assert "webhook" not in str(record.extra)


async def test_a_key_stays_the_same_with_and_without(
    make_client: MakeClient, sandbox: Sandbox, door: Door, journal: Any
) -> None:
    """The webhook URL is not part of the inputs that a key stands for."""
    with_hook = make_client(webhook_url=door.url, journal=journal)
    task = await with_hook.dubbing.start(**DUB, key="talk-17")
    without = make_client(journal=journal)
    assert (await without.dubbing.start(**DUB, key="talk-17")).ref == task.ref
    assert len(sandbox.ledger.starts()) == 1


async def test_a_missing_secret_is_reported_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("A2E_WEBHOOK_SECRET")
    with pytest.raises(ConfigurationError, match="A2E_WEBHOOK_SECRET is not set"):
        A2E(KEY, webhook_url="https://x.example/a2e")
    A2E(KEY)


async def test_a_closed_client_takes_nothing(a2e: A2E, sandbox: Sandbox) -> None:
    await a2e.dubbing.start(**DUB)
    hook = token_of(sandbox).partition(".")[0]
    app = a2e.webhooks.app()
    assert app._on_event(hook)
    await a2e.aclose()
    assert not app._on_event(hook)


async def test_events_come_in_on_another_loop(
    make_client: MakeClient, sandbox: Sandbox, door: Door
) -> None:
    """The receiver may be served from another thread."""
    a2e = make_client(webhook_url=door.url)
    sandbox.faults.drop_webhook()
    wait = await waiting(a2e, await a2e.dubbing.start(**DUB))
    sandbox.advance(4000)
    hook = token_of(sandbox).partition(".")[0]

    async def elsewhere() -> bool:
        return a2e.webhooks.app()._on_event(hook)

    assert await asyncio.to_thread(asyncio.run, elsewhere())
    assert (await asyncio.wait_for(wait, 50)).status is Status.SUCCEEDED


def test_the_interval_is_long_enough_to_prove_something() -> None:
    assert LATER > 10
    assert len(make_token(SECRET, "a2e-0123456789abcdefghij")) <= 256
