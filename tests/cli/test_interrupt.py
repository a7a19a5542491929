"""Ctrl-C: nothing that was paid is lost."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from a2e_async.cli import exits
from a2e_async.sandbox import Sandbox

from .conftest import ended, environment, interrupt, popen
from .test_commands import DUB

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals to a process group are POSIX")


def until(true: Callable[[], object], seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_a_running_task_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults.stuck("dubbing")
    process = popen("run", *DUB, env=environment(sandbox), cwd=tmp_path)
    until(lambda: sandbox.calls["list_processing", "dubbing"] or sandbox.calls["detail", "dubbing"])
    interrupt(process)
    result = ended(process)
    assert result.code == exits.INTERRUPTED
    assert f"a2e task wait dubbing:{sandbox.tasks[0].id}" in result.err
    assert "Traceback" not in result.err
    assert not result.out


def test_a_start_under_way_is_awaited_and_told(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults.slow(1.5, role="start", accepted=True)
    process = popen("start", *DUB, "--json", env=environment(sandbox), cwd=tmp_path)
    until(lambda: sandbox.ledger.starts("dubbing"))
    interrupt(process)
    result = ended(process)
    assert result.code == exits.INTERRUPTED
    ref = f"dubbing:{sandbox.tasks[0].id}"
    assert "waiting for its answer" in result.err
    assert f"a2e task wait {ref}" in result.err
    assert json.loads(result.out)["error"]["refs"] == [ref]
    assert len(sandbox.ledger.starts("dubbing")) == 1


def test_a_start_given_up_is_told_with_its_recovery(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults.slow(60, role="start", accepted=True)
    process = popen("start", *DUB, env=environment(sandbox), cwd=tmp_path)
    until(lambda: sandbox.ledger.starts("dubbing"))
    interrupt(process)
    time.sleep(0.5)
    interrupt(process)
    result = ended(process)
    assert result.code == exits.INTERRUPTED
    assert "may have been charged" in result.err
    recovery = json.loads(next(x for x in result.err.splitlines() if x.startswith("{")))
    assert recovery["kind"] == "dubbing"
    assert "Traceback" not in result.err


def test_the_sandbox_ends_quietly(tmp_path: Path) -> None:
    process = popen("sandbox", "--speed", "90", env=environment(), cwd=tmp_path)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]
    assert "export A2E_BASE_URL=http://127.0.0.1:" in "".join(lines)
    assert "export A2E_API_KEY=" in "".join(lines)
    interrupt(process)
    result = ended(process)
    assert result.code == 0
    assert not result.err


def test_the_demo_says_that_its_tasks_are_gone(tmp_path: Path) -> None:
    words = ["demo", "--jobs", "3", "--speed", "0.001"]
    process = popen(*words, env=environment(), cwd=tmp_path)
    assert process.stderr is not None
    until(lambda: "uploaded" in process.stderr.readline())  # type: ignore[union-attr]
    time.sleep(0.5)
    interrupt(process)
    result = ended(process)
    assert result.code == exits.INTERRUPTED
    assert "The sandbox is gone" in result.err
    assert "Traceback" not in result.err
