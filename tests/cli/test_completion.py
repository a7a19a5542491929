"""The scripts that make shells complete the command."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from a2e_async.cli import exit_codes
from a2e_async.cli.completion import FILES
from a2e_async.cli.input_flags import flags_of
from a2e_async.kinds.registry import kind_named, kind_names

from .conftest import Invoke, environment

BASH = shutil.which("bash")
ZSH = shutil.which("zsh")
FISH = shutil.which("fish")

COMPLETE = """
set -u
a2e() { "$PYTHON" -m a2e_async "$@"; }
source "$1"; shift
complete -p a2e >/dev/null || exit 3
IFS=$'\\t' read -r -a COMP_WORDS <<< "$1"
[[ "$1" == *$'\\t' ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
COMPREPLY=()
_a2e
(( ${#COMPREPLY[@]} )) && printf '%s\\n' "${COMPREPLY[@]}"
exit 0
"""

needs_bash = pytest.mark.skipif(BASH is None, reason="there is no bash")


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    """What was printed, by shell: making it takes a second."""
    return {}


@pytest.fixture
def script(scripts: dict[str, str], invoke: Invoke, tmp_path: Path) -> Path:
    """The script for bash, in a file."""
    if "bash" not in scripts:
        result = invoke("completion", "bash")
        assert result.code == 0
        assert not result.err
        scripts["bash"] = result.out
    path = tmp_path / "a2e.bash"
    path.write_text(scripts["bash"])
    return path


def completed(script: Path, *words: str) -> list[str]:
    """Return what bash offers for the last of these words."""
    assert BASH is not None
    done = subprocess.run(
        [BASH, "--norc", "-c", COMPLETE, "bash", str(script), "\t".join(("a2e", *words))],
        capture_output=True,
        encoding="utf-8",
        cwd=script.parent,
        env=environment(PYTHON=sys.executable),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@needs_bash
def test_the_script_is_sound_bash(script: Path) -> None:
    assert BASH is not None
    done = subprocess.run([BASH, "-n", str(script)], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@needs_bash
def test_commands_and_kinds_are_offered(script: Path) -> None:
    assert {"start", "run", "quote", "task", "kinds", "say", "voices"} <= {*completed(script, "")}
    assert completed(script, "start", "dub") == ["dubbing"]
    assert completed(script, "task", "sh") == ["show"]
    for verb in ("start", "list", "kinds"):
        assert {*completed(script, verb, "")} == {*kind_names()}, verb


@needs_bash
@pytest.mark.parametrize("kind", ["dubbing", "wan"])
def test_flags_of_a_kind_are_offered(script: Path, kind: str) -> None:
    offered = {*completed(script, "run", kind, "--")}
    assert {flag.flag for flag in flags_of(kind_named(kind))} <= offered
    assert {"--json", "--out", "--timeout"} <= offered
    assert "--timeout" not in completed(script, "quote", kind, "--t")


@needs_bash
def test_values_of_a_flag_are_offered(script: Path) -> None:
    assert completed(script, "start", "seedance", "--duration", "") == ["5", "10"]
    assert "veo3_fast" in completed(script, "start", "veo", "--model", "veo3")
    (script.parent / "talk.wav").touch()
    assert completed(script, "start", "dubbing", "--source-url", "ta") == ["talk.wav"]


@pytest.mark.skipif(ZSH is None, reason="there is no zsh")
def test_zsh_completes_at_the_first_tab(invoke: Invoke, tmp_path: Path) -> None:
    """The file that zsh loads completes at once; one that is sourced says for which command."""
    assert ZSH is not None
    (tmp_path / "_a2e").write_text(invoke("completion", "zsh").out)
    loaded = "fpath=($PWD $fpath); autoload -U _a2e; _arguments() { print -r -- $1 }; _a2e"
    sourced = "compdef() { print $* }; source ./_a2e"
    for code, said in ((loaded, "-C\n"), (sourced, "_a2e a2e\n")):
        done = subprocess.run(
            [ZSH, "-f", "-c", code],
            capture_output=True,
            encoding="utf-8",
            cwd=tmp_path,
            check=False,
        )
        assert (done.stdout, done.stderr) == (said, "")


@pytest.mark.skipif(FISH is None, reason="there is no fish")
def test_fish_completes(invoke: Invoke, tmp_path: Path) -> None:
    assert FISH is not None
    (tmp_path / "a2e.fish").write_text(invoke("completion", "fish").out)
    code = 'source a2e.fish; complete -C "a2e start dub"'
    done = subprocess.run(
        [FISH, "--no-config", "-c", code],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        check=False,
    )
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["dubbing"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_the_command(invoke: Invoke, shell: str) -> None:
    result = invoke("completion", shell)
    assert result.code == 0
    assert "a2e _complete" in result.out
    assert len(result.out) < 2_000


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("", {"start", "batch", "version"}),
        ("talk", set()),
        ("run talk", {"talking_photo", "talking_video"}),
        ("run text-to-image --pro", {"--prompt"}),
        ("completion ", {"bash", "zsh", "fish"}),
        ("batch ", {FILES}),
        ("batch jobs.csv --on-unknown ", {"raise", "resend-may-pay-twice"}),
        ("batch jobs.csv --dry-run --report ", {FILES}),
        ("task show dubbing:1 --js", {"--json"}),
        ("no-such-command ", set()),
    ],
)
def test_what_is_offered(invoke: Invoke, words: str, offered: set[str]) -> None:
    result = invoke("_complete", *words.split(" "))
    assert result.code == 0
    found = {*result.out.splitlines()}
    assert offered <= found if words == "" else offered == found
    assert not result.err


def test_an_unknown_shell(invoke: Invoke) -> None:
    result = invoke("completion", "tcsh")
    assert result.code == exit_codes.USAGE
    assert "tcsh" in result.err
