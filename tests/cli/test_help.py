"""Help texts and usage errors."""

import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from cyclopts import App

from a2e_async._core.schema.inputs import input_fields
from a2e_async.cli import exit_codes
from a2e_async.cli.app import COMMANDS, START_COMMANDS, build
from a2e_async.cli.examples import EXAMPLES, epilogue
from a2e_async.cli.flag_order import SWITCH_NAMES, VALUE_FLAG_NAMES, move_common_flags_last
from a2e_async.cli.input_flags import OMITTED_INPUTS, flags_of
from a2e_async.kinds.registry import kind_named, kind_names
from a2e_async.sandbox import Sandbox

from .conftest import Invoke, environment


def test_help_lists_commands_and_exit_codes(invoke: Invoke) -> None:
    result = invoke("--help")
    assert result.code == 0
    for command in ("demo", "sandbox", "start", "run", "quote", "batch", "journal", "task", "list"):
        assert command in result.out
    line = " ".join(result.out.split())
    assert line.endswith(exit_codes.LINE)
    for code in exit_codes.MEANINGS:
        assert re.search(rf"\b{code}\b", exit_codes.LINE)
    assert "a2e run KIND --help" in line
    assert "a2e run KIND --help" in invoke("run", "--help").out


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
    build([*START_COMMANDS, *COMMANDS]).help_print([])
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

    for words in (["--version"], ["-V"], ["version"]):
        assert invoke(*words).out.strip() == __version__
        assert invoke(*words, "--json").document == invoke("--json", *words).document
        assert invoke(*words, "--json").document == {"version": __version__}


def commands(app: App, *words: str) -> Iterator[tuple[str, App]]:
    """Yield each command that has no commands of its own, with its words."""
    names = [name for name in app if not name.startswith("-")]
    if not names or words in (("start",), ("run",), ("quote",)):
        yield " ".join(words), app
        return
    for name in names:
        yield from commands(app[name], *words, name)


def test_every_command_shows_an_example_that_the_docs_run() -> None:
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
    found = dict(commands(build([*START_COMMANDS, *COMMANDS])))
    assert found.keys() == EXAMPLES.keys()
    for words, app in found.items():
        assert app.help_epilogue == epilogue(EXAMPLES[words])
        assert EXAMPLES[words] in page, words


@pytest.mark.parametrize("kind", kind_names())
def test_the_example_of_a_kind_is_complete(invoke: Invoke, kind: str) -> None:
    shown = " ".join(invoke("start", kind, "--help").out.split())
    example = shown.partition("Example: ")[2].partition(" Exit codes:")[0]
    assert example.startswith(f"a2e start {kind}")
    command, bound, _ = build(["start", kind]).parse_args(shlex.split(example)[1:])
    assert callable(command)
    assert bound.kwargs.keys() >= {f.name for f in flags_of(kind_named(kind)) if f.required}


def test_kinds_may_be_written_with_hyphens(a2e: Invoke, sandbox: Sandbox) -> None:
    ref = a2e("start", "text-to-image", "--prompt", "dog").out.strip()
    assert ref.startswith("text_to_image:")
    assert a2e("task", "wait", ref.replace("_", "-")).code == 0
    assert a2e("list", "text-to-image", "--json").document["kind"] == "text_to_image"
    assert a2e("kinds", "text-to-image").out.startswith("text_to_image: ")
    assert 'Did you mean "text_to_image"?' in a2e("start", "text-to-imag").err


@pytest.mark.parametrize("words", ["run dubbing --sorce-url x", "quote dubbing --sorce-url=x"])
def test_a_typo_is_found_before_what_it_leaves_out(invoke: Invoke, words: str) -> None:
    result = invoke(*words.split())
    assert result.code == exit_codes.USAGE
    assert "Unknown option: --sorce-url. Did you mean --source-url?" in result.err
    assert "required" not in result.err


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
