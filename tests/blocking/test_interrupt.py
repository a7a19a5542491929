"""Ctrl-C, sent to a real program: the error comes out once, no thread hangs, nothing is lost."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from a2e_async import A2E
from a2e_async.sandbox import Sandbox
from tests.samples import LEAST

from .conftest import KEY, LONG

BEGIN = r"""
import os, sys, threading, time
import a2e_async
from a2e_async.events import Accepted

def say(*words):
    # print() writes a line and its end apart; two threads speak here.
    os.write(1, (" ".join(map(str, words)) + "\n").encode())

def on_event(event):
    if isinstance(event, Accepted):
        say("accepted", event.ref, event.claimed)

def client():
    return a2e_async.blocking(rate=None, poll_interval=0.02, on_event=on_event, journal=sys.argv[1])

"""


class Program:
    """A child process that runs a script against the sandbox."""

    def __init__(self, sandbox: Sandbox, folder: Path, code: str) -> None:
        self.journal = folder / "jobs.db"
        script = folder / "script.py"
        dub = f"DUB = {LEAST['dubbing']!r}\n"
        script.write_text(BEGIN + dub + textwrap.dedent(code))
        self.process = subprocess.Popen(
            [sys.executable, script, self.journal],
            env={**os.environ, "A2E_API_KEY": KEY, "A2E_BASE_URL": sandbox.base_url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str, str]:
        """Return how it ended, and what it said; it must end by itself."""
        try:
            out, err = self.process.communicate(timeout=60)
        finally:
            self.process.kill()
        return self.process.returncode, out, err


def wait_for(true: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def poll_count(sandbox: Sandbox) -> int:
    return sum(count for (role, _), count in sandbox.calls.items() if role == "detail")


async def unfinished_refs(sandbox: Sandbox, journal: Path) -> list[str]:
    async with A2E(KEY, base_url=sandbox.base_url, journal=journal) as a2e:
        return [task.ref async for task in a2e.unfinished()]


def assert_once(error: str) -> None:
    assert error.count("KeyboardInterrupt") == 1, error
    for trouble in ("never retrieved", "never awaited", "was destroyed", "Exception ignored"):
        assert trouble not in error


@LONG
def test_while_a_task_is_waited_for(sandbox: Sandbox, tmp_path: Path) -> None:
    """The program ends; the task is in the journal, and comes back."""
    program = Program(
        sandbox,
        tmp_path,
        """
        with client() as a2e:
            a2e.dubbing.run(**DUB)
        """,
    )
    wait_for(lambda: poll_count(sandbox))
    program.interrupt()
    code, out, error = program.end()
    assert code == -signal.SIGINT
    assert_once(error)
    (charge,) = sandbox.ledger.starts()
    assert out == f"accepted dubbing:{charge.ids[0]} True\n"
    assert asyncio.run(unfinished_refs(sandbox, program.journal)) == [f"dubbing:{charge.ids[0]}"]


@LONG
def test_while_a_start_is_on_its_way(sandbox: Sandbox, tmp_path: Path) -> None:
    """It ends as with aclose: its answer is heard before the program ends."""
    sandbox.faults.slow(1.5, "start", accepted=True)
    program = Program(
        sandbox,
        tmp_path,
        """
        with client() as a2e:
            a2e.dubbing.start(**DUB)
        """,
    )
    wait_for(lambda: sandbox.calls["start", "dubbing"])
    program.interrupt()
    code, out, error = program.end()
    assert code == -signal.SIGINT
    assert_once(error)
    (charge,) = sandbox.ledger.starts()
    assert out == f"accepted dubbing:{charge.ids[0]} False\n"


@LONG
def test_the_program_goes_on(sandbox: Sandbox, tmp_path: Path) -> None:
    """As in a notebook: the cell is interrupted, and the same client works in the next one."""
    program = Program(
        sandbox,
        tmp_path,
        """
        a2e = client()
        try:
            a2e.dubbing.run(**DUB)
        except KeyboardInterrupt:
            say("interrupted")
        (left,) = a2e.unclaimed()
        say(left.ref)
        outcomes = a2e.batch((a2e.dubbing.job(**DUB, key=str(n)) for n in range(9)), limit=2)
        try:
            next(outcomes)
        except KeyboardInterrupt:
            say("interrupted", [t.name for t in threading.enumerate()][1:])
        a2e.credits.balance()
        """,
    )
    wait_for(lambda: poll_count(sandbox))
    program.interrupt()
    wait_for(lambda: len(sandbox.ledger.starts()) == 3)
    program.interrupt()
    code, out, error = program.end()
    assert (code, error) == (0, "")
    lines = [line for line in out.splitlines() if not line.startswith("accepted")]
    assert lines[0] == "interrupted"
    assert lines[1].startswith("dubbing:")
    assert lines[2].startswith("interrupted ['a2e_async-blocking'")
    assert len(sandbox.ledger.starts()) == 3


@LONG
def test_twice(sandbox: Sandbox, tmp_path: Path) -> None:
    """Who does not want to wait for the answer need not; the journal knows what was sent."""
    sandbox.faults.slow(3600, "start", accepted=True)
    program = Program(
        sandbox,
        tmp_path,
        """
        with client() as a2e:
            try:
                a2e.dubbing.start(**DUB)
            finally:
                say("leaving")
        """,
    )
    wait_for(lambda: sandbox.calls["start", "dubbing"])
    program.interrupt()
    assert program.process.stdout is not None
    assert program.process.stdout.readline() == "leaving\n"
    time.sleep(0.1)  # within the closing; at any other instant the program ends as well
    program.interrupt()
    code, _, _ = program.end()
    assert code != 0
    sandbox.faults.clear()
    (charge,) = sandbox.ledger.starts()
    assert asyncio.run(unfinished_refs(sandbox, program.journal)) == [f"dubbing:{charge.ids[0]}"]


@pytest.mark.parametrize("how", ["", "sys.exit(3)", "raise ValueError('mine')"])
def test_never_closed(sandbox: Sandbox, tmp_path: Path, how: str) -> None:
    """A program that forgets to close ends as it would, and its starts are heard of."""
    sandbox.faults.slow(0.3, "start", accepted=True)
    program = Program(
        sandbox,
        tmp_path,
        f"""
        a2e = client()
        thread = threading.Thread(target=lambda: a2e.dubbing.start(**DUB), daemon=True)
        thread.start()
        while not a2e._inner._components.start_registry._requests:
            time.sleep(0.001)
        while not any(f.sent for f in a2e._inner._components.start_registry._requests):
            time.sleep(0.001)
        {how}
        """,
    )
    code, out, error = program.end()
    assert code == {"": 0, "sys.exit(3)": 3}.get(how, 1)
    assert error.count("Traceback") == ("ValueError" in how)
    assert out.startswith("accepted dubbing:")


def test_in_a_forked_process(sandbox: Sandbox, tmp_path: Path) -> None:
    """The child has no such thread: it gets an error, and does not hang."""
    program = Program(
        sandbox,
        tmp_path,
        """
        import os, warnings
        a2e = client()
        a2e.credits.balance()
        warnings.simplefilter("ignore")  # that threads and fork do not mix is what is tested
        if not os.fork():
            try:
                a2e.credits.balance()
            except a2e_async.errors.ConfigurationError as error:
                say(error)
            a2e.close()
            os._exit(0)
        os.wait()
        say(a2e.credits.balance().coins > 0)
        """,
    )
    code, out, error = program.end()
    assert (code, error) == (0, "")
    assert "forked" in out
    assert out.endswith("True\n")
