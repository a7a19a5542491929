"""`key`: the same key gives the same task, charged once, whatever happened to the first start."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.errors import InvalidInput, KeyConflict, RateLimited, StartOutcomeUnknown
from a2e_async.sandbox import Sandbox, media

from .conftest import BLIND, DUB, TALK, own_tasks, paid, starts_sent, turns, until


async def test_same_key(a2e: A2E, sandbox: Sandbox) -> None:
    """The same key gives the same task, sequentially and concurrently, charged once."""
    tasks = await asyncio.gather(*(a2e.dubbing.start(**DUB, key="k") for _ in range(20)))
    tasks.append(await a2e.dubbing.start(**DUB, key="k"))
    assert len({id(task) for task in tasks}) == 1
    await tasks[0]
    assert (await a2e.dubbing.start(**DUB, key="k")).done
    assert starts_sent(sandbox) == len(paid(sandbox)) == 1


async def test_without_key_every_start_is_new(a2e: A2E, sandbox: Sandbox) -> None:
    """Equal inputs without a key are new jobs."""
    tasks = await asyncio.gather(*(a2e.dubbing.start(**DUB) for _ in range(3)))
    assert len({task.ref for task in tasks}) == len(paid(sandbox)) == 3


async def test_key_conflict(a2e: A2E, sandbox: Sandbox) -> None:
    """A key used with other inputs or for another kind is refused; the error names the use."""
    task = await a2e.dubbing.start(**DUB, key="k")
    for other in (
        a2e.dubbing.start(**{**DUB, "target_lang": "fr"}, key="k"),
        a2e.dubbing.start(**DUB, num_speakers=2, key="k"),
        a2e.dubbing.start(source_url=media.speech(), target_lang="es", key="k"),
        a2e.talking_video.start(**TALK, key="k"),
    ):
        with pytest.raises(KeyConflict) as caught:
            await other
        assert (caught.value.key, caught.value.ref) == ("k", task.ref)
    assert len(sandbox.ledger.charges) == 1


async def test_key_conflict_in_flight(a2e: A2E, sandbox: Sandbox) -> None:
    """A conflict is also detected while the first start is in flight."""
    sandbox.faults.slow(0.1, "start")
    first = asyncio.create_task(a2e.dubbing.start(**DUB, key="k"))
    await until(lambda: starts_sent(sandbox))
    with pytest.raises(KeyConflict) as caught:
        await a2e.dubbing.start(**{**DUB, "target_lang": "fr"}, key="k")
    assert caught.value.ref is None
    assert (await first).ids == paid(sandbox)[0].ids


async def test_names_and_queries_do_not_count(a2e: A2E) -> None:
    """Neither the name nor the query of a signed URL makes a different job under a key."""
    task = await a2e.dubbing.start(**DUB, key="k", name="one")
    signed = {**DUB, "source_url": DUB["source_url"] + "?Signature=abc"}
    assert (await a2e.dubbing.start(**signed, key="k", name="two")) is task


async def test_same_content_elsewhere(a2e: A2E, sandbox: Sandbox, tmp_path: Path) -> None:
    """A local file is identified by its content, not by its path or form."""
    twin = tmp_path / "other.wav"
    twin.write_bytes(media.speech().read_bytes())
    sources: list[Any] = [media.speech(), twin, str(twin), twin.read_bytes()]
    tasks = [await a2e.dubbing.start(source_url=s, target_lang="es", key="k") for s in sources]
    assert len({id(task) for task in tasks}) == 1
    assert len(sandbox.ledger.charges) == 2  # a presign and a start
    twin.write_bytes(media.speech().read_bytes() + b"\0\0")
    with pytest.raises(KeyConflict):
        await a2e.dubbing.start(source_url=twin, target_lang="es", key="k")
    assert len(sandbox.ledger.charges) == 2


async def test_key_after_cancel_before_sending(a2e: A2E, sandbox: Sandbox) -> None:
    """A withdrawn start frees its key, for other inputs as well."""
    first = asyncio.create_task(a2e.dubbing.start(**DUB, key="k"))
    await turns(2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    task = await a2e.dubbing.start(**{**DUB, "target_lang": "fr"}, key="k")
    assert [c.ids for c in paid(sandbox)] == [task.ids]
    assert starts_sent(sandbox) == 1


async def test_key_after_cancel_behind_sending(a2e: A2E, sandbox: Sandbox) -> None:
    """A start cancelled after sending is joined by its key and then has an owner."""
    sandbox.faults.slow(0.1, "start", accepted=True)
    first = asyncio.create_task(a2e.dubbing.start(**DUB, key="k"))
    await until(lambda: paid(sandbox))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    task = await a2e.dubbing.start(**DUB, key="k")
    assert [c.ids for c in paid(sandbox)] == [task.ids]
    assert a2e.unclaimed() == ()


async def test_key_takes_an_unclaimed_task_over(a2e: A2E, sandbox: Sandbox) -> None:
    """Starting with the key of an unclaimed task claims it."""
    sandbox.faults.slow(0.05, "start", accepted=True)
    first = asyncio.create_task(a2e.dubbing.start(**DUB, key="k"))
    await until(lambda: paid(sandbox))
    first.cancel()
    await until(a2e.unclaimed)
    task = await a2e.dubbing.start(**DUB, key="k")
    assert a2e.unclaimed() == ()
    assert [c.ids for c in paid(sandbox)] == [task.ids]


@BLIND
async def test_key_after_unknown(a2e: A2E, sandbox: Sandbox) -> None:
    """A key with an unknown outcome is not sent again: it raises the same error."""
    sandbox.faults.drop_after_accept()
    errors = []
    for _ in range(3):
        with pytest.raises(StartOutcomeUnknown) as caught:
            await a2e.dubbing.start(**DUB, key="k")
        errors.append(caught.value)
    assert len({error.recovery for error in errors}) == 1
    assert starts_sent(sandbox) == 1
    with pytest.raises(KeyConflict):
        await a2e.dubbing.start(**{**DUB, "target_lang": "fr"}, key="k")


@BLIND
async def test_an_unknown_outcome_raises_in_all_callers(a2e: A2E, sandbox: Sandbox) -> None:
    """All callers of one key get its unknown outcome."""
    sandbox.faults.drop_after_accept()
    results = await asyncio.gather(
        *(a2e.dubbing.start(**DUB, key="k") for _ in range(5)), return_exceptions=True
    )
    assert {type(result) for result in results} == {StartOutcomeUnknown}
    assert starts_sent(sandbox) == 1


async def test_key_after_refusal(a2e: A2E, sandbox: Sandbox) -> None:
    """A refusal frees the key for all who waited for it."""
    sandbox.faults.http_error(429, role="start", retry_after=3600)
    results = await asyncio.gather(
        *(a2e.dubbing.start(**DUB, key="k") for _ in range(5)), return_exceptions=True
    )
    assert {type(result) for result in results} == {RateLimited}
    assert starts_sent(sandbox) == 1
    assert paid(sandbox) == ()


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_one_of_two_callers_cancelled(a2e: A2E, sandbox: Sandbox, cancelled: int) -> None:
    """Of two callers with one key, either can be cancelled; the other gets the task."""
    for k in range(0, 60, 3):
        key = f"k{k}"
        callers = [asyncio.create_task(a2e.dubbing.start(**DUB, key=key)) for _ in range(2)]
        await turns(k)
        callers[cancelled].cancel()
        task = await callers[1 - cancelled]
        await asyncio.wait(callers)
        assert paid(sandbox)[-1].ids == task.ids
        assert (await a2e.dubbing.start(**DUB, key=key)) is task
    assert a2e.unclaimed() == ()
    assert len(paid(sandbox)) == starts_sent(sandbox) == 20


async def test_both_callers_cancelled(a2e: A2E, sandbox: Sandbox) -> None:
    """When the last caller of a key is cancelled before sending, the start is withdrawn."""
    callers = [asyncio.create_task(a2e.dubbing.start(**DUB, key="k")) for _ in range(3)]
    for caller in callers:
        await turns(1)
        caller.cancel()
    await asyncio.wait(callers)
    await until(lambda: not own_tasks())
    assert starts_sent(sandbox) == 0
    assert a2e.unclaimed() == ()


@pytest.mark.parametrize("key", ["", "  ", "x" * 201, 7, b"k"])
async def test_bad_key(a2e: A2E, sandbox: Sandbox, key: Any) -> None:
    """An invalid key is refused before anything is sent."""
    with pytest.raises(InvalidInput, match="key"):
        await a2e.dubbing.start(**DUB, key=key)
    assert sandbox.calls_total == 0
