"""Tests of a function of mine: ``pytest tests_of_my_code.py``."""

from pathlib import Path

import pytest

from a2e_async import A2E, errors
from a2e_async.sandbox import Sandbox, media

pytestmark = pytest.mark.anyio


async def dub(a2e: A2E, talk: Path, directory: Path) -> Path:
    """Dub a talk into Spanish and save it (the function under test)."""
    record = await a2e.dubbing.run(source_url=talk, target_lang="es", key=talk.stem)
    return await record.output.save(directory / f"{talk.stem}-es.mp3")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def client(sandbox: Sandbox) -> A2E:
    return A2E(sandbox.api_key, base_url=sandbox.base_url, poll_interval=0.05)


@pytest.mark.a2e_sandbox(speed=6000)
async def test_a_429_delays_the_start(a2e_sandbox: Sandbox, tmp_path: Path) -> None:
    a2e_sandbox.faults.http_error(429, role="start", retry_after=0.1)
    async with client(a2e_sandbox) as a2e:
        path = await dub(a2e, media.speech(), tmp_path)
    assert path.stat().st_size > 1000
    assert len(a2e_sandbox.ledger.starts("dubbing")) == 1
    assert a2e_sandbox.calls["start", "dubbing"] == 2


@pytest.mark.a2e_sandbox(speed=6000)
async def test_a_lost_start_is_charged_once(a2e_sandbox: Sandbox, tmp_path: Path) -> None:
    a2e_sandbox.faults.drop_after_accept("dubbing")
    async with client(a2e_sandbox) as a2e:
        await dub(a2e, media.speech(), tmp_path)
        await dub(a2e, media.speech(), tmp_path)  # the same key: the same task
    assert [charge.kind for charge in a2e_sandbox.ledger.charges] == ["presign", "dubbing"]


@pytest.mark.a2e_sandbox(speed=6000)
async def test_a_failure_is_reported(a2e_sandbox: Sandbox, tmp_path: Path) -> None:
    a2e_sandbox.faults.fail("dubbing", "no speech found")
    async with client(a2e_sandbox) as a2e:
        with pytest.raises(errors.TaskFailed, match="no speech found") as caught:
            await dub(a2e, media.speech(), tmp_path)
    assert caught.value.record.status == "failed"
    assert list(tmp_path.iterdir()) == []
