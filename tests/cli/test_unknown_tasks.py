"""Refs that the service does not know: a word at once, and an error in the command's own terms."""

import pytest

from a2e_async._core.polling import schedule
from a2e_async.cli import exit_codes, outage_notices
from a2e_async.sandbox import Sandbox

from .conftest import Invoke
from .test_commands import DUB, started

REF = "dubbing:66ea4dd87db10c73fa29b570"


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real seconds instead of minutes."""
    monkeypatch.setattr(schedule, "NOT_FOUND_SECONDS", 0.5)
    monkeypatch.setattr(outage_notices, "UNSEEN", 0.0)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("words", [("task", "wait"), ("open",), ("task", "download")])
def test_a_task_that_the_service_does_not_know(a2e: Invoke, words: tuple[str, ...]) -> None:
    result = a2e(*words, REF)
    assert result.code == exit_codes.FAILED
    notice, error = result.err.splitlines()
    assert notice == f"the service does not show {REF} (yet); looking for it for up to 2:00 min"
    assert error.startswith(f"error: The service does not know {REF}: ")
    assert "Check the ref, and whether the API key" in error
    assert "a2e list dubbing" in error
    assert "continues" not in error


def test_show_says_the_same_at_once(a2e: Invoke) -> None:
    result = a2e("task", "show", REF)
    assert result.code == exit_codes.FAILED
    (error,) = result.err.splitlines()
    assert error.startswith(f"error: The service does not know {REF}. Check the ref")


def test_a_timeout_does_not_say_that_such_a_task_continues(a2e: Invoke) -> None:
    result = a2e("task", "wait", REF, "--timeout", "0.3")
    assert result.code == exit_codes.TIMEOUT
    (error,) = result.err.splitlines()
    assert f"did not show {REF} in that time. Check the ref" in error
    assert "continues" not in error


@pytest.mark.parametrize("command", [("task", "show"), ("task", "wait"), ("open",)])
@pytest.mark.parametrize("id", ["66ea4dd8", "66ea4dd87db10c73fa29b57z"])
def test_an_id_of_another_form_is_refused_at_once(
    a2e: Invoke, sandbox: Sandbox, command: tuple[str, ...], id: str
) -> None:
    result = a2e(*command, f"dubbing:{id}")
    assert result.code == exit_codes.USAGE
    (error,) = result.err.splitlines()
    assert f"'{id}' is not the id of a task: ids of dubbing tasks have 24 characters" in error
    assert sandbox.calls_total == 1


@pytest.mark.usefixtures("patience")
def test_a_task_that_is_shown_late_is_waited_for(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.not_found_after_start(600)  # 0.3 real seconds
    sandbox.faults.list_lag(600)
    ref = started(a2e, *DUB)
    result = a2e("task", "wait", ref)
    assert result.code == 0, result.err
    assert result.err.startswith(f"the service does not show {ref} (yet)")
