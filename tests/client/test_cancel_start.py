"""Cancelling a start at any moment: either withdrawn, or charged once and known."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from typing import Any

import anyio
import pytest

from a2e_async import A2E
from a2e_async.events import Accepted, Event
from a2e_async.sandbox import Sandbox, media

from .conftest import (
    DUB,
    KEY,
    MakeClient,
    assert_accounted,
    own_tasks,
    paid,
    starts_sent,
    turns,
    until,
)

LOCAL = {"source_url": media.speech(), "target_lang": "es"}


async def cancel_at(client: A2E, k: int, inputs: dict[str, Any]) -> tuple[str, ...] | None:
    """Cancel a start after ``k`` loop iterations; return the ids if it had finished by then."""
    starting = asyncio.create_task(client.dubbing.start(**inputs))
    await turns(k)
    starting.cancel()
    try:
        return (await starting).ids
    except asyncio.CancelledError:
        return None


async def matrix(
    client: A2E, sandbox: Sandbox, ks: Iterable[int], inputs: dict[str, Any] = DUB, **fault: Any
) -> tuple[int, int]:
    """Cancel at every ``k`` until a start finishes first; count withdrawn and unclaimed starts."""
    known: set[str] = set()
    withdrawn = 0
    for k in ks:
        sandbox.faults.clear()
        if fault:
            sandbox.faults.http_error(**fault)
        unclaimed = len(client.unclaimed())
        charged = len(paid(sandbox))
        ids = await cancel_at(client, k, inputs)
        await until(lambda: not own_tasks())
        known.update(ids or ())
        known.update(i for task in client.unclaimed() for i in task.ids)
        assert_accounted(sandbox, known)
        new = len(paid(sandbox)) - charged
        assert new == (1 if ids else len(client.unclaimed()) - unclaimed)
        withdrawn += not new
        if ids:
            break
    else:
        pytest.fail("no start was over before it was cancelled: the matrix has no end")
    sandbox.faults.clear()
    task = await client.dubbing.start(**inputs)
    assert paid(sandbox)[-1].ids == task.ids
    assert task not in client.unclaimed()
    return withdrawn, len(client.unclaimed())


def growing(first: int, step: int, factor: float = 1.0) -> Iterable[int]:
    """Yield every k up to ``first``, then growing steps up to a hundred thousand."""
    yield from range(first)
    k = float(first)
    while k < 100_000:
        yield int(k)
        step = max(step, int(k * (factor - 1)))
        k += step


async def test_every_turn(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Cancelled after k loop iterations, for every k: each start is withdrawn or known."""
    events: list[Event] = []
    client = make_client(on_event=events.append)
    withdrawn, unclaimed = await matrix(client, sandbox, growing(400, 1, 1.1))
    assert withdrawn
    assert unclaimed
    refs = [e.ref for e in events if isinstance(e, Accepted) and not e.claimed]
    assert {t.ref for t in client.unclaimed()} >= set(refs) != set()
    for task in client.unclaimed():
        assert (await task).output
    assert client.unclaimed() == ()


async def test_every_turn_warm(a2e: A2E, sandbox: Sandbox) -> None:
    """The same over connections that are already open."""
    await a2e.credits.balance()
    withdrawn, unclaimed = await matrix(a2e, sandbox, growing(400, 1, 1.1))
    assert withdrawn
    assert unclaimed


async def test_upload(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Cancelled while hashing, presigning or uploading: nothing is lost or sent twice."""
    withdrawn, _ = await matrix(make_client(), sandbox, growing(60, 4, 1.12), LOCAL)
    assert withdrawn
    assert sandbox.calls["presign", ""] == 1
    assert sandbox.leaks == ()


async def test_upload_each_new(make_client: MakeClient, sandbox: Sandbox) -> None:
    """The same with new content: a cancelled upload is not followed by a start."""
    client = make_client()
    sound = media.speech().read_bytes()
    known: set[str] = set()
    for n, k in enumerate(growing(20, 7, 1.25)):
        ids = await cancel_at(client, k, {**LOCAL, "source_url": sound + n.to_bytes(4, "big")})
        await until(lambda: not own_tasks())
        known.update(ids or ())
        known.update(i for task in client.unclaimed() for i in task.ids)
        assert_accounted(sandbox, known)
        if ids:
            break
    assert known


async def test_hold(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Cancelled around a 429 and its pause: withdrawn, or charged once and known."""
    client = make_client()
    fault = {"status": 429, "role": "start", "retry_after": 0.02}
    withdrawn, _ = await matrix(client, sandbox, growing(80, 5, 1.2), **fault)
    assert withdrawn


@pytest.mark.parametrize("after", [0, 0.2])
async def test_429_to_a_start_without_a_caller(a2e: A2E, sandbox: Sandbox, after: float) -> None:
    """A start cancelled in flight and then refused with 429 is not sent again."""
    await a2e.credits.balance()
    sandbox.faults.http_error(429, role="start", retry_after=after)
    starting = asyncio.create_task(a2e.dubbing.start(**DUB, key="k"))
    while not starts_sent(sandbox):
        await asyncio.sleep(0)
    starting.cancel()
    await until(lambda: not own_tasks())
    assert starts_sent(sandbox) == 1
    assert paid(sandbox) == a2e.unclaimed() == ()
    task = await a2e.dubbing.start(**{**DUB, "target_lang": "fr"}, key="k")
    assert [c.ids for c in paid(sandbox)] == [task.ids]


async def test_queue(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Starts cancelled in the rate-limit queue give their turn to the others."""
    client = make_client(rate=5, burst=1)
    async with asyncio.timeout(30):
        starting = [asyncio.create_task(client.dubbing.start(**DUB)) for _ in range(12)]
        for k, caller in enumerate(starting):
            if k % 3:
                await turns(k)
                caller.cancel()
        results = await asyncio.gather(*starting, return_exceptions=True)
    await until(lambda: not own_tasks())
    known = {i for r in results if not isinstance(r, BaseException) for i in r.ids}
    known |= {i for task in client.unclaimed() for i in task.ids}
    assert_accounted(sandbox, known)
    assert len(paid(sandbox)) < 8


async def test_gate(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Starts cancelled while waiting for a connection pass their turn on; none is lost."""
    client = make_client(max_connections=2)
    sandbox.faults.slow(0.01, "start", times=None)
    starting = [asyncio.create_task(client.dubbing.start(**DUB)) for _ in range(20)]
    for k, caller in enumerate(starting):
        await turns(k)
        if k % 2:
            caller.cancel()
    results = await asyncio.gather(*starting, return_exceptions=True)
    await until(lambda: not own_tasks())
    known = {i for r in results if not isinstance(r, BaseException) for i in r.ids}
    known |= {i for task in client.unclaimed() for i in task.ids}
    assert_accounted(sandbox, known)
    sandbox.faults.clear()
    assert await client.dubbing.start(**DUB)


async def _by_asyncio_timeout(client: A2E, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await client.dubbing.start(**DUB)


async def _by_wait_for(client: A2E, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.dubbing.start(**DUB), seconds)


async def _by_anyio(client: A2E, seconds: float) -> None:
    with anyio.move_on_after(seconds) as scope:
        await client.dubbing.start(**DUB)
    assert scope.cancelled_caught


async def _by_group(client: A2E, seconds: float) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: client.dubbing.start(**DUB))
        await asyncio.sleep(seconds)
        group.cancel_scope.cancel()


HOW = {f.__name__: f for f in (_by_asyncio_timeout, _by_wait_for, _by_anyio, _by_group)}


@pytest.mark.parametrize("how", HOW)
async def test_ways_to_cancel(a2e: A2E, sandbox: Sandbox, how: str) -> None:
    """Every cancellation in asyncio and anyio leaves the charged start to the client."""
    for seconds in (0.1, 1.0, 10.0):  # until the machine was fast enough to send it in that time
        sandbox.faults.slow(2 * seconds, "start", accepted=True)
        await HOW[how](a2e, seconds)
        if a2e.stats().starts:  # it was sent, although it may not have arrived yet
            break
        sandbox.faults.clear()
    await until(lambda: paid(sandbox))
    assert len(paid(sandbox)) == 1
    await until(a2e.unclaimed)
    assert [t.ids for t in a2e.unclaimed()] == [paid(sandbox)[0].ids]
    assert a2e.unclaimed()[0].status is not None
    # Before anything was sent: here the pause of the service keeps it.
    sandbox.faults.http_error(429, role="start", retry_after=20)
    for seconds in (0.1, 1.0, 10.0):
        await HOW[how](a2e, seconds)
        if starts_sent(sandbox) == 2:
            break
    assert starts_sent(sandbox) == 2
    assert len(paid(sandbox)) == 1


async def test_run_cancelled_while_it_waits(a2e: A2E, sandbox: Sandbox) -> None:
    """A run() cancelled while waiting leaves its task where it can be found."""
    sandbox.faults.stuck()
    running = asyncio.create_task(a2e.dubbing.run(**DUB))
    await until(lambda: sandbox.calls["detail", "dubbing"])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [t.ids for t in a2e.unclaimed()] == [paid(sandbox)[0].ids]


async def test_close_lets_starts_finish(a2e: A2E, sandbox: Sandbox) -> None:
    """Closing waits for a start that was sent; its caller gets the task."""
    sandbox.faults.slow(0.2, "start", accepted=True)
    starting = asyncio.create_task(a2e.dubbing.start(**DUB))
    await until(lambda: paid(sandbox))
    await asyncio.gather(a2e.aclose(), a2e.aclose())
    assert starting.done()
    assert (await starting).ids == paid(sandbox)[0].ids


async def test_close_at_every_turn(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Closing at any point of a start either refuses it uncharged or lets it finish."""
    from a2e_async.errors import ClientClosed

    known: set[str] = set()
    for k in range(0, 45, 2):
        client = make_client()
        starting = asyncio.create_task(client.dubbing.start(**DUB))
        await turns(k)
        await client.aclose()
        with contextlib.suppress(ClientClosed):
            known.update((await starting).ids)
        assert_accounted(sandbox, known)
    assert known


async def test_close_cancelled(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A cancelled close still closes the client and loses no charged start silently."""
    client = make_client()
    sandbox.faults.slow(0.3, "start", accepted=True)
    starting = asyncio.create_task(client.dubbing.start(**DUB))
    await until(lambda: paid(sandbox))
    with anyio.move_on_after(0.05):
        await client.aclose()
    assert client.closed
    assert (await starting).ids == paid(sandbox)[0].ids


PROGRAM = """
    import asyncio, logging, os, signal, sys
    from a2e_async import A2E
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")

    async def main(close):
        a2e = A2E({key!r}, base_url={url!r})
        start = a2e.dubbing.start(source_url="https://m.example/a.wav", target_lang="es")
        print("ready", flush=True)
        if not close:
            await start
        try:
            async with a2e:
                await start
        finally:
            print("unclaimed", [t.ref for t in a2e.unclaimed()], flush=True)

    try:
        asyncio.run(main({close}))
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.skipif(os.name == "nt", reason="a console has no SIGINT for one process there")
@pytest.mark.parametrize("close", [False, True])
async def test_interrupted_program(sandbox: Sandbox, close: bool) -> None:
    """Ctrl-C during a start: closing the client ends it; otherwise the log has the mark."""
    sandbox.faults.slow(1.0, "start", accepted=True)
    code = textwrap.dedent(PROGRAM).format(key=KEY, url=sandbox.base_url, close=close)
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        await until(lambda: paid(sandbox), 30)
        program.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            out, err = (text.decode() for text in await program.communicate())
    finally:
        if program.returncode is None:
            program.kill()
    (charge,) = paid(sandbox)
    assert "interrupted" in out
    assert KEY not in out + err
    if close:
        assert f"unclaimed ['dubbing:{charge.ids[0]}']" in out
    else:
        assert "WARNING a2e_async.submission" in err
        assert charge.body["name"] in err
