"""Runs the command line: in this process for speed, in another where signals and streams count."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from a2e_async.cli import main
from a2e_async.client import A2E
from a2e_async.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
KEY = "sk_test_0123456789abcdefghij"


@frozen
class Result:
    """How a command ended, and its output."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


Invoke = Callable[..., Result]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=2000, api_key=KEY, seed=7, make_results="stdlib") as running:
        yield running


@pytest.fixture
def quiet_env(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty directory and an environment that names no account."""
    for name in [name for name in os.environ if name.startswith("A2E_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def invoke(quiet_env: Path, capfd: pytest.CaptureFixture[str]) -> Invoke:
    """Run a command in this process; no output may hold the key."""

    def call(*words: str) -> Result:
        capfd.readouterr()
        code = main(words)
        out, err = capfd.readouterr()
        assert KEY not in out + err
        return Result(code, out, err)

    return call


@pytest.fixture
def a2e(invoke: Invoke, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run a command in this process against the sandbox."""
    # A poll every two seconds would take most of the time of these tests.
    monkeypatch.setitem(A2E.__init__.__kwdefaults__, "poll_interval", 0.05)
    monkeypatch.setenv("A2E_API_KEY", KEY)
    monkeypatch.setenv("A2E_BASE_URL", sandbox.base_url)
    return invoke


def environment(sandbox: Sandbox | None = None, **more: str) -> dict[str, str]:
    """Return the environment of a process that runs the command."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("A2E_")}
    env |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "TERM": "xterm"}
    if sandbox is not None:
        env |= {"A2E_API_KEY": KEY, "A2E_BASE_URL": sandbox.base_url}
    return env | more


def popen(*words: str, env: Mapping[str, str], cwd: Path, **more: Any) -> subprocess.Popen[str]:
    """Start the command in another process, in a group of its own."""
    usual = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-m", "a2e_async", *words],
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
        **({"encoding": "utf-8"} | usual | more),
    )


def ended(process: subprocess.Popen[str], seconds: float = 60) -> Result:
    """Return how a process ended; no output may hold the key."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert KEY not in (out or "") + (err or "")
    return Result(process.returncode, out or "", err or "")


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> None:
    """Do what Ctrl-C does: a signal to the whole process group."""
    os.killpg(process.pid, number)
