"""Ctrl-C, SIGTERM, SIGHUP: nothing that was paid is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from a2e_async.cli import exit_codes
from a2e_async.sandbox import Sandbox

from .conftest import ended, environment, interrupt, popen
from .test_commands import DUB

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals to a process group are POSIX")


def until(true: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


SIGNALS = (
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)] if os.name != "nt" else []
)


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_running_task_is_reported(
    sandbox: Sandbox, tmp_path: Path, number: int, code: int
) -> None:
    sandbox.faults.stuck("dubbing")
    process = popen("run", *DUB, env=environment(sandbox), cwd=tmp_path)
    until(lambda: sandbox.calls["list_processing", "dubbing"] or sandbox.calls["detail", "dubbing"])
    interrupt(process, number)
    result = ended(process)
    assert result.code == code
    assert f"a2e task wait dubbing:{sandbox.tasks[0].id}" in result.err
    assert "Traceback" not in result.err
    assert not result.out


def test_an_interrupted_recipe_says_how_to_continue(sandbox: Sandbox, tmp_path: Path) -> None:
    """Waiting for the task of one step alone would not make the video."""
    sandbox.faults.stuck("dubbing")
    command = ("dub-video", "https://media.example/clip.mp4", "--target-lang", "es")
    keyed = ("--journal", "jobs.db", "--key", "clip")
    process = popen(*command, *keyed, env=environment(sandbox), cwd=tmp_path)
    until(lambda: sandbox.calls["list_processing", "dubbing"] or sandbox.calls["detail", "dubbing"])
    interrupt(process)
    result = ended(process)
    assert result.code == 130
    assert "Run the same command again" in result.err
    assert len(sandbox.ledger.starts("dubbing")) == 1


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_start_in_flight_is_awaited_and_reported(
    sandbox: Sandbox, tmp_path: Path, number: int, code: int
) -> None:
    sandbox.faults.slow(1.5, role="start", accepted=True)
    process = popen("start", *DUB, "--json", env=environment(sandbox), cwd=tmp_path)
    until(lambda: sandbox.ledger.starts("dubbing"))
    interrupt(process, number)
    result = ended(process)
    assert result.code == code
    ref = f"dubbing:{sandbox.tasks[0].id}"
    assert "waiting for its response" in result.err
    assert f"a2e task wait {ref}" in result.err
    error = json.loads(result.out)["error"]
    assert error["refs"] == [ref]
    assert error["exit_code"] == code
    assert len(sandbox.ledger.starts("dubbing")) == 1


@pytest.mark.parametrize(("number", "code"), SIGNALS[1:2])
def test_a_start_given_up_is_reported_with_its_recovery(
    sandbox: Sandbox, tmp_path: Path, number: int, code: int
) -> None:
    sandbox.faults.slow(60, role="start", accepted=True)
    process = popen("start", *DUB, env=environment(sandbox), cwd=tmp_path)
    until(lambda: sandbox.ledger.starts("dubbing"))
    interrupt(process, number)
    assert process.stderr is not None
    until(lambda: "waiting for its response" in process.stderr.readline())  # type: ignore[union-attr]
    interrupt(process, number)
    result = ended(process)
    assert result.code == code
    assert "may have been charged" in result.err
    recovery = json.loads(next(x for x in result.err.splitlines() if x.startswith("{")))
    assert recovery["kind"] == "dubbing"
    assert "Traceback" not in result.err


def test_what_cannot_be_waited_for_is_not_said_to_be(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults.slow(1.5, role="start", accepted=True)
    words = ["start", "wan30", "--model", "wan3.0-video", "--prompt", "wave"]
    process = popen(*words, env=environment(sandbox), cwd=tmp_path)
    until(lambda: sandbox.ledger.starts("wan30"))
    interrupt(process)
    result = ended(process)
    assert result.code == exit_codes.INTERRUPTED
    assert f"wan30:{sandbox.tasks[0].id}: its result is shown on the service's site." in result.err
    assert "a2e task" not in result.err


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


def test_a_response_lost_while_it_is_awaited_is_reported_once(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.faults.slow(1.5, role="start", accepted=True)
    sandbox.faults.malformed(role="start")
    process = popen("start", *DUB, "--json", env=environment(sandbox), cwd=tmp_path)
    until(lambda: sandbox.ledger.starts("dubbing"))
    interrupt(process, signal.SIGTERM)
    result = ended(process, 60)
    error = json.loads(result.out)["error"]
    assert result.code == 143
    assert len(error["refs"]) + len(error["recoveries"]) == 1


def test_what_is_ignored_stays_ignored(sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults.slow(1.5, role="start", accepted=True)
    words = ["start", *DUB]
    process = popen(
        *words,
        env=environment(sandbox),
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    until(lambda: sandbox.ledger.starts("dubbing"))
    interrupt(process, signal.SIGHUP)
    result = ended(process)
    assert result.code == 0
    assert result.out == f"dubbing:{sandbox.tasks[0].id}\n"


def demo_at_work(tmp_path: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    """Start a demo whose tasks never end; return it and its sandbox."""
    words = ["demo", "--jobs", "3", "--speed", "0.001"]
    process = popen(*words, env=environment(), cwd=tmp_path)
    assert process.stderr is not None
    until(lambda: "uploaded" in process.stderr.readline())  # type: ignore[union-attr]
    (sandbox,) = psutil.Process(process.pid).children()
    time.sleep(0.5)
    return process, sandbox


@pytest.mark.parametrize(("number", "code"), SIGNALS[:2])
def test_the_demo_says_that_its_tasks_are_gone(tmp_path: Path, number: int, code: int) -> None:
    process, sandbox = demo_at_work(tmp_path)
    interrupt(process, number)
    result = ended(process)
    assert result.code == code
    assert "The sandbox has ended" in result.err
    assert "0 files of this run" in result.err
    assert "Traceback" not in result.err
    until(lambda: not sandbox.is_running())


@pytest.mark.parametrize("pause", [0.0, 0.1])
def test_the_demo_ends_with_130_however_often_it_is_interrupted(
    tmp_path: Path, pause: float
) -> None:
    process, sandbox = demo_at_work(tmp_path)
    for _ in range(3):
        interrupt(process)
        time.sleep(pause)
    result = ended(process)
    assert result.code == exit_codes.INTERRUPTED
    assert "Traceback" not in result.err
    until(lambda: not sandbox.is_running())


def test_a_third_signal_ends_a_command_whose_tasks_never_end(tmp_path: Path) -> None:
    """It is raised in whatever the loop runs, so a call that a task waits for may be lost."""
    program = """
import asyncio, signal, sys
from a2e_async.cli.common_flags import OutputFlags
from a2e_async.cli.runner import run_command

async def wait_for_a_lost_call():
    try:
        await asyncio.Future()
    finally:
        await asyncio.Future()

async def work(context):
    await asyncio.to_thread(int)  # a thread that Python would wait for
    task = asyncio.create_task(wait_for_a_lost_call())
    await asyncio.sleep(0)
    for _ in range(3):
        signal.raise_signal(signal.SIGINT)

sys.exit(run_command(OutputFlags(), work))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (exit_codes.INTERRUPTED, "interrupted\n")


def test_an_interrupted_demo_leaves_no_parts_and_counts_its_files(tmp_path: Path) -> None:
    out = tmp_path / "a2e-demo"
    out.mkdir()
    (out / ".theirs.0123abcd.part").write_text("half")
    (out / "old.mp4").write_text("old")
    process = popen("demo", "--jobs", "60", "--speed", "150", env=environment(), cwd=tmp_path)
    until(lambda: len(list(out.iterdir())) > 8)
    interrupt(process, signal.SIGTERM)
    result = ended(process)
    assert result.code == 143
    left = {path.name for path in out.iterdir()} - {"old.mp4"}
    assert {name for name in left if name.endswith(".part")} == {".theirs.0123abcd.part"}
    assert f"{len(left) - 1} files of this run" in result.err
