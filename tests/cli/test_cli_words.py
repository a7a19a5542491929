"""What reaches the shell's user speaks of flags and commands, never of Python."""

import re
from typing import Any

import pytest

from a2e_async.cli import exit_codes
from a2e_async.cli.error_messages import in_cli_words
from a2e_async.cli.input_flags import flags_of, message_with_flags
from a2e_async.kinds.registry import kind_named, kind_names

from .conftest import Invoke

PYTHON = re.compile(
    r"(?<![.\w])a2e\.\w|\bOutput\b|\bbytes\b|\(\)|\bNone\b|=…|\b\w+=(?:True|False|')|\bTrue\b|\bFalse\b"
    r"|\b(?:base_url|api_key|page_size|retry_failed|unknown_cost|tts_id|user_voice_id)\b"
    r"|\berror\.\w|await |Budget\("
)


@pytest.mark.parametrize("name", kind_names())
def test_help_of_inputs(name: str) -> None:
    """Input docs are written for Python; as flags they name flags."""
    kind: Any = kind_named(name)
    flags = flags_of(kind)
    names = "|".join(flag.name for flag in flags if "_" in flag.name)
    for flag in flags:
        assert not PYTHON.search(flag.help), flag.help
        assert not re.search(rf"(?<![\w-])(?:{names})(?![\w-])", flag.help), flag.help


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["list", "dubbing", "--page-size", "0"], "--page-size"),
        (["list", "dubbing", "--page", "0"], "--page"),
        (["batch", "jobs.jsonl", "--limit", "0"], "--limit"),
        (["batch", "jobs.jsonl", "--retry-failed", "11"], "--retry-failed"),
        (["credits", "--history", "--page-size", "0"], "--page-size"),
        (["credits", "--base-url", "https://x.example/path"], "--base-url"),
        (["credits", "--base-url", "http://x.example"], "--base-url"),
        (["say", "Hello.", "--voice", "?"], "--voice"),
        (["say", "Hello."], "--voice"),
        (["start", "dubbing", "--source-url", "ftp://x/y", "--target-lang", "es"], "--source-url"),
        (["start", "dubbing", "--source-url", ".", "--target-lang", "es"], "--source-url"),
        (["start", "dubbing", "--source-url", "gone", "--target-lang", "es"], "--source-url"),
        (
            [
                *("start", "dubbing", "--source-url", "https://x.example/a.mp3"),
                *("--target-lang", "es", "--extra", '{"target_lang": "de"}'),
            ],
            "--extra",
        ),
    ],
)
def test_errors_of_the_package_name_the_flag(a2e: Invoke, words: list[str], flag: str) -> None:
    result = a2e(*words)
    assert result.code == exit_codes.USAGE
    assert flag in result.err
    assert not PYTHON.search(result.err), result.err


def test_a_damaged_key_is_reported_by_its_variable(
    a2e: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "Bearer x")
    result = a2e("credits", "--api-key-env", "MY_KEY")
    assert result.code == exit_codes.USAGE
    assert "MY_KEY begins with 'Bearer'" in result.err
    assert not PYTHON.search(result.err)


@pytest.mark.parametrize("address", ["A2E_BASE_URL", "--base-url"])
def test_an_invalid_address_is_reported_by_its_source(
    a2e: Invoke, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("A2E_BASE_URL", "https://x.example/path")
    words = ["--base-url", "https://x.example/path"] if address == "--base-url" else []
    for command in ("credits", "doctor"):
        result = a2e(command, *words)
        assert f"{address} has the path" in result.out + result.err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("it takes a URL, a path, bytes or an Output.", "it takes a URL or a path."),
        ("Give an existing file, bytes, or a URL.", "Give an existing file or a URL."),
        ("Give Budget(unknown_cost=…).", "Give --unknown-cost COINS."),
        ("Look at a2e.dubbing.list(), or a2e.credits.history().", None),
        ("It failed. 2 good outputs are in error.record. It costs again.", None),
        ("Try again in 3 s (error.retry_after).", "Try again in 3 s."),
    ],
)
def test_python_becomes_flags_and_commands(text: str, expected: str | None) -> None:
    assert not PYTHON.search(in_cli_words(text))
    assert expected in (None, in_cli_words(text))


def test_values_of_inputs_become_those_of_flags() -> None:
    kind: Any = kind_named("wan")
    text = message_with_flags(kind, "needs enable_prompt_expansion=True and ratio='16:9'.")
    assert text == "needs --enable-prompt-expansion and --ratio 16:9."
