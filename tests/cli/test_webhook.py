"""``a2e webhook listen``: events are shown, tokens never."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async._core.webhooks.tokens import make_token

from .conftest import Invoke, environment

SECRET = "a secret of the test, long enough"
HOOK = "a2e-0123456789abcdefghij"
TOKEN = make_token(SECRET, HOOK)


Listen = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def listen() -> Iterator[Listen]:
    made: list[subprocess.Popen[str]] = []

    def start(*words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "a2e_async", "webhook", "listen", "--port", "0", *words]
        made.append(
            subprocess.Popen(
                command,
                env=environment(A2E_WEBHOOK_SECRET=SECRET),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.communicate()


def address(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    found = re.search(r"http://\S+", process.stderr.readline())
    assert found is not None
    return found[0]


def post(url: str, given: str | None, body: bytes = b"") -> int:
    headers = {} if given is None else {"X-A2e-Webhook-Token": given}
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)


def test_each_event_is_shown(listen: Listen) -> None:
    process = listen("--count", "4")
    url = address(process)
    body = json.dumps({"event": "task.completed", "data": {"token": TOKEN}}).encode()
    assert post(f"{url}any/path", TOKEN, body) == 204
    assert post(url, TOKEN[:-1] + "!", body) == 401
    assert post(url, None) == 401
    assert post(url, TOKEN, b'{"event": "x \\u001b[31m' + TOKEN.encode() + b'"}') == 204
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert [line.partition(" ")[2] for line in out.splitlines()][:3] == [
        f"204 task.completed of start {HOOK}, {len(body)} bytes",
        "401 rejected: no token, or a token that was not made with this secret",
        "401 rejected: no token, or a token that was not made with this secret",
    ]
    assert TOKEN.partition(".")[2] not in out
    assert SECRET not in out + err
    assert "\x1b" not in out


async def test_the_journal_prevents_a_second_start(listen: Listen, tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "jobs.db")
    entry = Entry(key="talk-17", kind="dubbing", digest="d", hook=HOOK, ids=("66ea4dd8",))
    await journal.begin(entry)
    await journal.advance("talk-17", State.ACCEPTED)
    process = listen("--journal", str(tmp_path / "jobs.db"), "--json", "--count", "1")
    assert post(address(process), TOKEN) == 204
    out, _ = process.communicate(timeout=60)
    document: dict[str, Any] = json.loads(out)
    assert document.pop("at")
    assert document == {
        "status": 204,
        "valid": True,
        "start": HOOK,
        "event": None,
        "bytes": 0,
        "ref": "dubbing:66ea4dd8",
        "key": "talk-17",
    }
    entry = await journal.get("talk-17")
    assert entry is not None
    assert entry.event_at is not None
    await journal.aclose()


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_ends_it(listen: Listen) -> None:
    process = listen()
    assert post(address(process), "wrong") == 401
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "0 received, 1 rejected\n")


def test_without_a_secret_it_says_how_to_make_one(invoke: Invoke) -> None:
    result = invoke("webhook", "listen", "--port", "0")
    assert result.code != 0
    assert "secrets.token_urlsafe(32)" in result.err


def test_a_missing_journal_is_reported(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A2E_WEBHOOK_SECRET", SECRET)
    result = invoke("webhook", "listen", "--port", "0", "--journal", "none.db")
    assert "The journal 'none.db' does not exist." in result.err
