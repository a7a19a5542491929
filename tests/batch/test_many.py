"""Two thousand jobs, a tenth of them with a fault: every one ends, none is paid twice."""

import asyncio
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.errors import A2EError
from a2e_async.sandbox import Sandbox

from .conftest import MakeClient

pytestmark = pytest.mark.anyio

JOBS = 2000


async def test_two_thousand_jobs(
    make_client: MakeClient, sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal and the service's ledger agree exactly."""
    chance = random.Random(7)
    faults = sandbox.faults
    orders = (
        lambda: faults.drop_after_accept(),
        lambda: faults.http_error(503, role="start", accepted=True),
        lambda: faults.http_error(500, role="start", accepted=True, html=True),
        lambda: faults.malformed("start"),
        lambda: faults.http_error(429, role="start", retry_after=0.01),
        lambda: faults.list_lag(20),
        lambda: faults.fail(),
        lambda: faults.http_error(400, role="start"),
        lambda: faults.not_found_after_start(30),
        lambda: faults.http_error(502, role="batch_detail"),
        lambda: faults.reset("detail"),
        lambda: faults.html("batch_detail"),
    )
    client = make_client()

    def jobs() -> Any:
        for n in range(JOBS):
            if n % 10 == 0:
                chance.choice(orders)()
            if n % 4:
                yield client.talking_video.job(
                    video_url=f"https://m.example/{n}.mp4",
                    prompt="p",
                    negative_prompt="n",
                    key=f"job-{n}",
                )
            else:
                yield client.text_to_image.job(prompt=f"lake {n}", key=f"job-{n}")

    outcomes = [outcome async for outcome in client.batch(jobs(), limit=100)]
    assert len(outcomes) == JOBS
    errors = [o.error for o in outcomes if o.error is not None]
    assert all(isinstance(error, A2EError) for error in errors)
    assert 0 < len(errors) < JOBS // 10
    charges = sandbox.ledger.starts()
    names = [charge.body["name"] for charge in charges]
    assert len(set(names)) == len(names)
    await client.aclose()
    db = sqlite3.connect(journal)
    rows = db.execute("SELECT ids, coins FROM jobs WHERE ids IS NOT NULL").fetchall()
    open_ = db.execute("SELECT count(*) FROM jobs WHERE state < 2").fetchone()[0]
    db.close()
    assert sorted(row[0] for row in rows) == sorted("+".join(c.ids) for c in charges)
    assert sum(row[1] or 0 for row in rows) == sum(charge.coins for charge in charges)
    assert open_ == 0


async def test_two_clients_one_dies(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Another client finishes the work of a dead one once its lease has expired."""
    from a2e_async._core.journal.sqlite import SqliteJournal

    path, later = tmp_path / "shared.db", 0.0
    first = make_client(journal=SqliteJournal(path))
    second = make_client(journal=SqliteJournal(path, host_clock=lambda: _now() + later))

    async def run(client: A2E, count: int) -> int:
        jobs = (
            client.dubbing.job(
                source_url=f"https://m.example/{n}.wav", target_lang="es", key=f"job-{n}"
            )
            for n in range(20)
        )
        seen = 0
        async for outcome in client.batch(jobs, limit=4, download_to=tmp_path / "out"):
            assert outcome.ok, outcome.error
            seen += 1
            if seen == count:
                break
        return seen

    dying = asyncio.create_task(run(first, 5))
    await dying
    # It stays there, and beats, but does nothing more: as a process that hangs does.
    later = 100.0
    assert await run(second, 20) == 20
    assert len(sandbox.ledger.starts()) == 20
    assert len(list((tmp_path / "out").iterdir())) == 20


def _now() -> float:
    import time

    return time.monotonic()
