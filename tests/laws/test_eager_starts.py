"""Everything works under `asyncio.eager_task_factory`, which runs a new task at once."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Budget
from a2e_async.errors import BudgetExceeded, StartOutcomeUnknown
from tests.hostile import Fault, HostileServer, Step
from tests.laws.conftest import MakeClient
from tests.samples import SAMPLES

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="asyncio.eager_task_factory is new in 3.12"
)

DUB = SAMPLES["dubbing"]


@pytest.fixture(autouse=True)
async def eager(anyio_backend: str) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        yield
    finally:
        loop.set_task_factory(None)


async def lost(a2e: A2E, hostile: HostileServer, _: Path) -> None:
    hostile.faults.add(Step.START, Fault.disconnect())
    assert list((await a2e.dubbing.start(**DUB)).ids) == hostile.ledger.ids


async def lost_for_good(a2e: A2E, hostile: HostileServer, _: Path) -> None:
    hostile.faults.add(Step.START, Fault.disconnect(), after_accept=False)
    with pytest.raises(StartOutcomeUnknown):
        await a2e.dubbing.start(**DUB, key="k")
    assert not a2e.unclaimed()


async def paced(a2e: A2E, hostile: HostileServer, _: Path) -> None:
    hostile.faults.add(Step.START, Fault.refusal(429, 429, Retry_After="0"))
    await a2e.dubbing.start(**DUB)
    assert len(hostile.ledger) == 1


async def cancelled(a2e: A2E, hostile: HostileServer, _: Path) -> None:
    hostile.faults.add(Step.START, Fault.slow(0.05))
    starting = asyncio.create_task(a2e.dubbing.start(**DUB))
    while not hostile.count(Step.START):
        await asyncio.sleep(0.001)
    starting.cancel()
    while not a2e.unclaimed():
        await asyncio.sleep(0.001)


async def run(a2e: A2E, hostile: HostileServer, _: Path) -> None:
    records = await asyncio.gather(*(a2e.dubbing.run(**DUB) for _ in range(5)))
    assert len({record.id for record in records}) == 5


async def wait_for_one_after_the_other(a2e: A2E, hostile: HostileServer, _: Path) -> None:
    for _n in range(3):
        task = await a2e.dubbing.start(**DUB)
        assert (await task.wait(timeout=20)).output
        assert [record async for record in task.updates()]


async def batch(a2e: A2E, hostile: HostileServer, path: Path) -> None:
    jobs = (a2e.dubbing.job(**DUB, key=f"b{n}") for n in range(4))
    outcomes = [one async for one in a2e.batch(jobs, limit=2, download_to=path)]
    assert [one.error for one in outcomes] == [None] * 4


async def speech(a2e: A2E, hostile: HostileServer, _: Path) -> None:
    await a2e.speech.say("Good morning.", tts_id="66ea4dd87db10c73fa29b5aa")
    hostile.faults.add(Step.CHARGED, Fault.disconnect())
    with pytest.raises(StartOutcomeUnknown):
        await a2e.speech.say("Good night.", tts_id="66ea4dd87db10c73fa29b5aa")


async def upload(a2e: A2E, hostile: HostileServer, _: Path) -> None:
    inputs = {
        **SAMPLES["image_to_video"],
        "image_url": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"x" * 99,
    }
    await a2e.image_to_video.start(**inputs)


async def fewer(a2e: A2E, hostile: HostileServer, _: Path) -> None:
    hostile.faults.add(Step.START, Fault.fewer_records())
    task = await a2e.image_to_video.start(**SAMPLES["image_to_video"])
    assert sorted(task.ids) == sorted(hostile.ledger.ids)


async def key_again(a2e: A2E, hostile: HostileServer, _: Path) -> None:
    tasks = await asyncio.gather(*(a2e.dubbing.start(**DUB, key="k") for _ in range(3)))
    tasks.append(await a2e.dubbing.start(**DUB, key="k"))
    assert len({task.ref for task in tasks}) == 1
    assert not a2e.unclaimed()


STEPS: dict[str, Callable[[A2E, HostileServer, Path], Awaitable[None]]] = {
    step.__name__: step
    for step in (
        lost,
        lost_for_good,
        paced,
        cancelled,
        run,
        wait_for_one_after_the_other,
        batch,
        speech,
        upload,
        fewer,
        key_again,
    )
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("journaled", [False, True], ids=["memory", "journal"])
async def test_a_step_ends(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, step: str, journaled: bool
) -> None:
    options: dict[str, Any] = {"journal": tmp_path / "jobs.db"} if journaled else {}
    a2e = make_client(**options)
    async with asyncio.timeout(30):
        await STEPS[step](a2e, hostile, tmp_path)
        await a2e.aclose()


async def test_a_refused_upload_can_be_tried_again(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    """A call that fails before its first await leaves no state behind."""
    budget = Budget(0)
    a2e = make_client(budget=budget)
    picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"x" * 99
    with pytest.raises(BudgetExceeded):
        await a2e.files.upload(picture)
    budget.coins = 5
    assert await a2e.files.upload(picture)
    with contextlib.suppress(BudgetExceeded):
        await a2e.files.upload(picture + b"y")
