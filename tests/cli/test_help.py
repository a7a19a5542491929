"""Help texts and usage errors."""

import importlib
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from a2e_async._core.schema.inputs import input_fields
from a2e_async.cli import exit_codes
from a2e_async.cli.app import build
from a2e_async.cli.flag_order import SWITCH_NAMES, VALUE_FLAG_NAMES, move_common_flags_last
from a2e_async.cli.input_flags import OMITTED_INPUTS, flags_of
from a2e_async.kinds.registry import kind_named, kind_names

from .conftest import Invoke, environment


def test_help_lists_commands_and_exit_codes(invoke: Invoke) -> None:
    result = invoke("--help")
    assert result.code == 0
    for command in ("demo", "sandbox", "start", "run", "quote", "batch", "journal", "task", "list"):
        assert command in result.out
    for code, meaning in exit_codes.MEANINGS.items():
        assert f"{code:>3}  {meaning}" in result.out


@pytest.mark.parametrize("words", [["--help"], ["start", "dubbing", "--help"], ["kinds"]])
def test_what_needs_no_network_does_not_load_it(tmp_path: Path, words: list[str]) -> None:
    code = (
        "import sys; from a2e_async.cli import main; code = main(sys.argv[1:]); "
        "assert 'aiohttp' not in sys.modules; assert 'av' not in sys.modules; sys.exit(code)"
    )
    subprocess.run(
        [sys.executable, "-c", code, *words],
        env=environment(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )


def test_help_gives_the_commands_own_summaries(capsys: pytest.CaptureFixture[str]) -> None:
    """Although it imports none of them."""
    build(["--help"]).help_print([])
    shown = capsys.readouterr().out
    build(for_completion=True).help_print([])
    assert "Run the jobs of a file" in shown
    assert shown == capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "unused"),
    [
        ("--version", ("asyncio", "attrs", "cyclopts", "a2e_async.errors")),
        ("--help", ("asyncio", "cattrs", "a2e_async.cli.context", "a2e_async.kinds.registry")),
        ("task --help", ("a2e_async.cli.batch.command", "a2e_async.cli.demo.command")),
    ],
)
def test_only_what_a_command_uses_is_imported(
    tmp_path: Path, words: str, unused: tuple[str, ...]
) -> None:
    """Importing the other commands would take longer than the command."""
    code = (
        "import sys; from a2e_async.cli import main; code = main(sys.argv[2:]); "
        "found = sys.modules.keys() & set(sys.argv[1].split()); assert not found, found; "
        "sys.exit(code)"
    )
    subprocess.run(
        [sys.executable, "-c", code, " ".join(unused), *words.split()],
        env=environment(),
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize("verb", ["start", "run", "quote"])
@pytest.mark.parametrize("kind", kind_names())
def test_help_lists_every_input(invoke: Invoke, verb: str, kind: str) -> None:
    result = invoke(verb, kind, "--help")
    assert result.code == 0
    for field in input_fields(kind_named(kind).input):  # type: ignore[arg-type]
        if field.name in OMITTED_INPUTS:
            continue
        assert f"--{field.name.replace('_', '-')} " in result.out
    assert ("--timeout" in result.out) == (verb == "run")


@pytest.mark.parametrize("kind", kind_names())
def test_no_input_hides_a_shared_flag(kind: str) -> None:
    ours = (
        SWITCH_NAMES
        | VALUE_FLAG_NAMES
        | {"--out", "-o", "--timeout", "--journal", "--key", "--help", "-h"}
    )
    assert not ours & {flag.flag for flag in flags_of(kind_named(kind))}


def test_a_wrong_kind_suggests_the_closest(invoke: Invoke) -> None:
    result = invoke("start", "dubing")
    assert result.code == exit_codes.USAGE
    assert 'Did you mean "dubbing"?' in result.err
    assert "a2e start --help" in result.err
    assert not result.out


def test_a_wrong_kind_of_a_list_suggests_the_closest(invoke: Invoke) -> None:
    with suppress(ImportError):  # where a program has loaded it, the parser lets it check, too
        importlib.import_module("pydantic")
    result = invoke("list", "talking_vido")
    assert result.code == exit_codes.USAGE
    assert "Did you mean talking_video?" in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["start", "dubbing"], "--source-url is required."),
        (["start", "dubbing", "--source-url"], "requires an argument"),
        (["kinds", "--target", "es"], "Unknown option"),
        (["strt"], 'Did you mean "start"?'),
        (["demo", "--jobs", "0"], "--jobs"),
        (["demo", "--speed", "fast"], "fast"),
        (["sandbox", "--port", "99999"], "--port"),
        (["sandbox", "--port", "-1"], "--port"),
        (["run", "image_to_video", "--image-url", "x", "--video-time", "7"], "5, 10, 15, 20"),
        (["run", "dubbing", "--source-url", "x", "--target-lang", "es", "--timeout", "x"], "x"),
        (["task"], ""),
    ],
)
def test_wrong_usage_ends_with_2(invoke: Invoke, words: list[str], said: str) -> None:
    result = invoke(*words)
    assert said in result.err
    if words != ["task"]:
        assert result.code == exit_codes.USAGE
        assert result.err.startswith("error: ")


def test_wrong_usage_as_json(invoke: Invoke) -> None:
    result = invoke("--json", "strt")
    assert result.code == exit_codes.USAGE
    assert result.document["error"]["type"] == "Usage"


def test_version(invoke: Invoke) -> None:
    from a2e_async import __version__

    assert invoke("--version").out.strip() == __version__


def test_shared_flags_may_stand_first() -> None:
    words = ["--json", "--base-url", "http://x", "--api-key-env=K", "list", "dubbing"]
    assert move_common_flags_last(words) == [*words[4:], *words[:4]]
    assert move_common_flags_last(["--json"]) == ["--json"]
    assert move_common_flags_last(["--quiet", "a", "--", "b"]) == ["a", "--quiet", "--", "b"]


def test_without_its_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, invoke: Invoke
) -> None:
    monkeypatch.setattr("a2e_async.cli.find_spec", lambda name: None)
    result = invoke("demo")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "pip install '.[cli]' in a clone, or pip install 'a2e-async[cli]'" in result.err
    assert not result.out
