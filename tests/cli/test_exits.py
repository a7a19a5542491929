"""How errors end: the exit code, one line, and the next step."""

import json
from pathlib import Path
from typing import Any

import pytest

from a2e_async import errors
from a2e_async.cli import exit_codes
from a2e_async.cli.error_messages import error_message
from a2e_async.cli.output_paths import prepare_directory
from a2e_async.sandbox import Sandbox

from .conftest import Invoke
from .test_commands import DUB, IMAGE, started

FIELDS: dict[str, Any] = {
    "http_status": 400,
    "code": 1,
    "message": "no",
    "trace_id": None,
    "method": "POST",
    "path": "/",
}


def one_line(err: str) -> str:
    assert "Traceback" not in err
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    return line


def test_every_error_has_its_code() -> None:
    assert exit_codes.code_for(errors.AuthenticationError(**FIELDS)) == exit_codes.KEY
    assert exit_codes.code_for(errors.PermissionDenied(**FIELDS)) == exit_codes.KEY
    assert exit_codes.code_for(errors.ContentRejected(**FIELDS)) == exit_codes.USAGE
    assert exit_codes.code_for(errors.InvalidRequest(**FIELDS)) == exit_codes.USAGE
    assert exit_codes.code_for(errors.NotFound(**FIELDS)) == exit_codes.FAILED
    assert exit_codes.code_for(errors.ServerError(**FIELDS)) == exit_codes.SERVICE
    assert exit_codes.code_for(errors.RateLimited(**FIELDS)) == exit_codes.SERVICE
    assert exit_codes.code_for(errors.InvalidInput("no")) == exit_codes.USAGE
    assert exit_codes.code_for(errors.DecodeError("no")) == exit_codes.SERVICE
    assert exit_codes.code_for(errors.TransferError("no")) == exit_codes.SERVICE
    assert exit_codes.code_for(OSError()) == exit_codes.SERVICE
    assert set(exit_codes.MEANINGS) == {0, 1, 2, 3, 4, 5, 6, 7, 8, 124, 129, 130, 143}
    shown = exit_codes.LINE.replace(":", ",").split()
    assert all(any(word.rstrip(",") == str(code) for word in shown) for code in exit_codes.MEANINGS)


def test_a_wrong_key_ends_with_3(a2e: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A2E_API_KEY", "foreign-0123456789")
    result = a2e("credits", "--json")
    assert result.code == exit_codes.KEY
    assert "foreign-0" not in result.out + result.err
    assert result.document["error"]["type"] == "AuthenticationError"
    assert result.document["error"]["exit_code"] == exit_codes.KEY


def test_too_few_coins_end_with_4(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.code_error(4001, "insufficient coins", role="start")
    result = a2e("start", *DUB)
    assert result.code == exit_codes.COINS
    one_line(result.err)


@pytest.mark.parametrize("words", [["--source-url", "nowhere.wav"], ["--source-url", "ftp://x/y"]])
def test_a_wrong_input_ends_with_2(a2e: Invoke, sandbox: Sandbox, words: list[str]) -> None:
    result = a2e("start", "dubbing", *words, "--target-lang", "es")
    assert result.code == exit_codes.USAGE
    one_line(result.err)
    assert not sandbox.ledger.charges


@pytest.mark.parametrize("flag", ["--extra", "--meta"])
def test_json_that_is_none_ends_with_2(a2e: Invoke, flag: str) -> None:
    result = a2e("start", *DUB, flag, "{x}")
    assert result.code == exit_codes.USAGE
    assert flag in one_line(result.err)


def test_a_safety_input_is_refused(a2e: Invoke, sandbox: Sandbox) -> None:
    result = a2e("start", *DUB, "--extra", '{"force_generate": true}')
    assert result.code == exit_codes.USAGE
    assert not sandbox.ledger.charges


def test_a_wrong_ref_ends_with_2(a2e: Invoke) -> None:
    for words in (["task", "wait", "nonsense"], ["task", "show", "dubbing:"]):
        result = a2e(*words)
        assert result.code == exit_codes.USAGE
        one_line(result.err)


def test_a_failed_task_ends_with_1(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.fail("dubbing", "the speech is silent")
    result = a2e("run", *DUB)
    assert result.code == exit_codes.FAILED
    assert "the speech is silent" in one_line(result.err)
    assert "continues" not in result.err


def test_the_good_outputs_of_a_failed_task_are_saved(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.fail("image_to_video")
    result = a2e("run", *IMAGE, "--number-of-images", "2", "--json")
    assert result.code == exit_codes.FAILED
    assert len(result.document["files"]) == 1
    one_line(result.err)


def test_a_start_whose_answer_is_lost_ends_with_5(
    a2e: Invoke, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.03, 0.06)
    )
    sandbox.faults.list_lag(100_000)
    sandbox.faults.drop_after_accept("dubbing")
    result = a2e("start", *DUB, "--json")
    assert result.code == exit_codes.UNKNOWN
    one_line(result.err)
    recovery = json.loads(next(x for x in result.err.splitlines() if x.startswith("{")))
    assert recovery["kind"] == "dubbing"
    assert result.document["error"]["recovery"] == recovery
    assert len(sandbox.ledger.starts("dubbing")) == 1


def test_a_timeout_ends_with_124_and_says_how_to_continue(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.stuck("dubbing")
    ref = started(a2e)
    result = a2e("task", "wait", ref, "--timeout", "0.3", "--json")
    assert result.code == exit_codes.TIMEOUT
    assert one_line(result.err).endswith(f"wait for it with: a2e task wait {ref}")
    assert "attach" not in result.err
    error = result.document["error"]
    assert error["refs"] == [ref]
    assert error["message"].endswith(f"a2e task wait {ref}")


@pytest.mark.parametrize("bad", ["/proc/nope", "/dev/null/x", "/proc", "taken", "a\0b"])
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a directory root cannot write")
def test_a_bad_directory_is_refused_before_anything_is_sent(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path, bad: str
) -> None:
    (tmp_path / "taken").write_text("mine")
    result = a2e("run", *DUB, "-o", bad)
    assert result.code == exit_codes.USAGE
    assert "Nothing was started" in one_line(result.err)
    assert not sandbox.ledger.charges
    assert not sandbox.calls
    assert (tmp_path / "taken").read_text() == "mine"
    refused = a2e("demo", "-o", bad)
    assert refused.code == exit_codes.USAGE
    assert "Nothing was started" in one_line(refused.err)


def test_a_good_directory_is_made_and_left_empty(tmp_path: Path) -> None:
    prepare_directory(tmp_path / "a" / "b")
    assert not list((tmp_path / "a" / "b").iterdir())


def test_a_directory_that_cannot_be_written_loses_nothing(a2e: Invoke) -> None:
    ref = started(a2e)
    result = a2e("task", "download", ref, "-o", "/dev/null/x")
    assert result.code == exit_codes.USAGE
    assert "Results cannot be saved in /dev/null/x" in one_line(result.err)
    assert a2e("task", "download", ref, "-o", "fine").code == 0


def test_only_what_is_on_disk_is_said_to_be_kept(tmp_path: Path) -> None:
    said = "x cannot be written: full. The bytes received are kept for the next attempt."
    error = errors.TransferError(said, path=str(tmp_path), done=7)
    assert error_message(error) == "x cannot be written: full."
    (tmp_path / ".x.0123.part").write_text("half")
    assert error_message(error) == said


def test_an_unexpected_error_is_named(a2e: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_: object, **__: object) -> None:
        raise ZeroDivisionError("odd")

    monkeypatch.setattr("a2e_async.client.A2E.__init__", burst)
    result = a2e("credits")
    assert result.code == exit_codes.SERVICE
    assert "unexpected ZeroDivisionError: odd" in one_line(result.err)
    assert "Traceback" in a2e("credits", "--debug").err
