"""What a wait prints when the service cannot be reached."""

import errno
import io
from typing import Any

import pytest

from a2e_async import A2E, RetryPolicy
from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import OutputFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.outage_notices import OutageListener, report_outages
from a2e_async.cli.printer import Printer
from a2e_async.events import Attempt, RateLimitPause
from a2e_async.sandbox import Sandbox
from tests.ports import free_port

from .conftest import Invoke
from .test_commands import started


def context(*, quiet: bool = False) -> CommandContext:
    return CommandContext(flags=OutputFlags(), printer=Printer(quiet=quiet), host="a2e.example")


def attempt(error: str | None, status: int | None = None) -> Attempt:
    return Attempt(
        method="GET",
        path="/x",
        attempt=1,
        sends=1,
        waited=0,
        duration=0,
        status=status,
        error=error,
        retry_in=None,
        trace_id=None,
    )


def test_each_outage_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    listener = OutageListener(context=context())
    listener.context.waiting = True
    lost, good = attempt("ConnectError"), attempt(None, 200)
    not_found, own = attempt("NotFound", 404), attempt("CancelledError")
    for event in (good, lost, lost, own, lost, good, good, not_found, attempt("ServerError", 502)):
        listener.on_event(event)
    listener.on_event(RateLimitPause(seconds=1, method="GET", path="/x"))
    listener.on_event(not_found)
    assert capsys.readouterr().err.splitlines() == [
        "no response from a2e.example: ConnectError; still retrying, the task continues",
        "a2e.example answers again",
        "a2e.example responds with 502: ServerError; still retrying, the task continues",
        "a2e.example answers again",
    ]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    place = context(quiet=True)
    with report_outages(place):
        OutageListener(context=place).on_event(attempt("ConnectError"))
    assert not place.waiting
    assert not capsys.readouterr().err


def test_a_service_that_cannot_be_reached_is_named_at_once(
    a2e: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = f"127.0.0.1:{free_port()}"
    seen: list[str] = []
    monkeypatch.setenv("A2E_BASE_URL", f"http://{host}")
    retry = RetryPolicy(initial=0.01, max_attempts=3)
    create = A2E.__init__
    monkeypatch.setattr(A2E, "__init__", lambda *a, **k: create(*a, **k | {"retry": retry}))
    monkeypatch.setattr(Printer, "note", lambda self, text: seen.append(text))
    result = a2e("credits")
    assert result.code == exit_codes.SERVICE
    assert [text for text in seen if "retrying" in text] == [
        f"cannot reach {host}: ConnectError; retrying"
    ]
    assert f"{host} could not be reached" in result.err


def test_a_service_that_does_not_answer(
    a2e: Invoke, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("a2e_async.cli.outage_notices.SILENCE", 0.0)
    sandbox.faults.slow(0.3, "coins")
    result = a2e("credits")
    assert (result.code, "yet; still waiting" in result.err) == (0, True)


def test_a_wait_reports_that_polls_fail_and_work_again(a2e: Invoke, sandbox: Sandbox) -> None:
    ref = started(a2e)
    for role in ("detail", "list_processing"):
        sandbox.faults.http_error(503, role=role, times=1)
    result = a2e("task", "wait", ref)
    assert result.code == exit_codes.OK
    assert " responds with 503: ServerError; still retrying, the task continues" in result.err
    assert " answers again" in result.err


def test_a_terminal_that_went_away_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: Any) -> int:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("sys.stderr", Gone())
    Printer().error("said to nobody")
