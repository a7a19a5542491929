"""The recipe for SAQ in the documentation: stopped and killed workers, one charge."""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psycopg
import pytest
from saq.worker import Worker

from a2e_async.sandbox import Sandbox

from .show import ROOT

TALK = {"url": "https://media.example/talk.wav", "language": "es"}
MAKE_OLD = """UPDATE saq_jobs SET job = convert_to(regexp_replace(
    convert_from(job, 'UTF8'), '"touched": \\d+', '"touched": 1'), 'UTF8')"""


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(speed=1, make_results="stdlib") as made:
        monkeypatch.setenv("A2E_API_KEY", made.api_key)
        monkeypatch.setenv("A2E_BASE_URL", made.base_url)
        yield made


@pytest.fixture
def recipe(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the documentation, on the database of the test."""
    page = (ROOT / "docs/how-to/fleet.md").read_text()
    (code,) = re.findall(r"^```python\n(# saq_worker\.py\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    code = code.replace("postgresql://a2e@db.internal/a2e", url)
    Path("saq_worker.py").write_text(code)
    made = ModuleType("saq_worker")
    exec(compile(code, "saq_worker.py", "exec"), vars(made))
    return made


async def until(what: Any) -> None:
    async with asyncio.timeout(120):
        while not await what():
            await asyncio.sleep(0.02)


async def test_stopped_and_killed_workers(recipe: ModuleType, url: str, sandbox: Sandbox) -> None:
    async def charged() -> bool:
        return len(sandbox.ledger.starts()) == 1

    async def done() -> bool:
        job = await recipe.queue.job("talk-17")
        return bool(job.status == "complete")

    def worker() -> Worker[Any]:
        return Worker(**recipe.settings, timers={"sweep": 1})

    await recipe.queue.connect()
    job = await recipe.add(**TALK, key="talk-17")
    assert await recipe.add(**TALK, key="talk-17") is None  # it is queued already
    killed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "saq", "saq_worker.settings"),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    await until(charged)
    killed.kill()
    await killed.wait()
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(MAKE_OLD)
    stopped = worker()
    running = asyncio.create_task(stopped.start())

    async def taken_over() -> bool:
        await job.refresh()
        return job.worker_id == stopped.id

    await until(taken_over)
    await stopped.stop()
    await running
    sandbox.advance(600)
    last = worker()
    running = asyncio.create_task(last.start())
    await until(done)
    await last.stop()
    await running
    await job.refresh()
    (saved,) = job.result
    assert Path(saved).stat().st_size > 1000
    assert len(sandbox.ledger.starts()) == 1
    await recipe.queue.disconnect()
