"""The worker: a directory of jobs, each processed once, whatever happens to the process."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from a2e_async.sandbox import Sandbox

from .programs import EXAMPLES, Program, wait_for

DUB = {"kind": "dubbing", "source_url": "https://media.example/a.wav", "target_lang": "es"}


def test_killed_and_stopped(
    tmp_path: Path, sandbox: Sandbox, program: Callable[..., Program]
) -> None:
    """Killed, stopped by a signal, restarted: each job is charged and done once."""
    inbox = tmp_path / "jobs"
    inbox.mkdir()
    names = ["a.json", "b.json"]
    for name in names:
        (inbox / name).write_text(json.dumps(DUB))
    for name, text in {
        "no-kind.json": "{}",
        "no-json.json": "{",
        "list.json": "[]",
        "typo.json": json.dumps({**DUB, "lang": "es"}),
        "nowhere.json": json.dumps({**DUB, "source_url": "nowhere.wav"}),
    }.items():
        (inbox / name).write_text(text)
    (inbox / "folder.json").mkdir()
    (inbox / "gone.json").symlink_to("nowhere")
    (inbox / "deep.json").write_text("[" * 100_000)
    worker = program(EXAMPLES / "worker.py", "jobs").start()
    wait_for(lambda: len(sandbox.ledger.starts()) == 2)
    wait_for(lambda: len(list((inbox / "failed").iterdir())) == 8)
    worker.kill()
    worker.start()
    (inbox / "c.json").write_text(json.dumps(DUB))  # comes while others run
    wait_for(lambda: len(sandbox.ledger.starts()) == 3)
    worker.stop()
    sandbox.advance(600)
    worker.start()
    wait_for(lambda: (inbox / "done").exists() and len(list((inbox / "done").iterdir())) == 3)
    worker.stop()
    assert not list(inbox.glob("*.json"))
    assert len(list((inbox / "results").iterdir())) == 3
    assert len(sandbox.ledger.starts()) == 3


def test_trouble_is_not_failure(
    tmp_path: Path, sandbox: Sandbox, program: Callable[..., Program]
) -> None:
    """A failed job is reported; one with a temporary error stays and is retried."""
    (tmp_path / "fails.json").write_text(json.dumps(DUB))
    sandbox.faults.fail("dubbing", times=1)
    worker = program(EXAMPLES / "worker.py", ".").start()
    wait_for(lambda: sandbox.ledger.starts())
    sandbox.advance(600)
    wait_for(lambda: (tmp_path / "failed" / "fails.json").exists())
    assert "fails.json: failed: " in worker.log.read_text()
    removed = tmp_path / "removed.json"
    removed.write_text(json.dumps(DUB))
    wait_for(lambda: len(sandbox.ledger.starts()) == 2)
    removed.unlink()
    sandbox.advance(600)
    wait_for(lambda: "removed.json: done: " in worker.log.read_text())
    assert len(list((tmp_path / "results").iterdir())) == 1  # it is paid
    worker.stop()


def test_usage() -> None:
    done = subprocess.run([sys.executable, EXAMPLES / "worker.py"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: ")
