"""Every command in a process of its own, with an environment or streams that are broken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from a2e_async.sandbox import Sandbox

from .conftest import Result, ended, environment, popen

posix = pytest.mark.skipif(os.name == "nt", reason="the redirections are those of a POSIX shell")
has_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")

DUBBING_HELP = ["run", "dubbing", "--help"]


def redirected(words: list[str], redirection: str, cwd: Path) -> Result:
    """Run the command in a shell that redirects its streams."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m a2e_async "$@" {redirection}', sys.executable, *words],
        env=environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "Traceback" not in done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("columns", ["0", "1", "2", "²", "99999999"])
def test_help_ends_whatever_the_width(tmp_path: Path, columns: str) -> None:
    result = ended(popen(*DUBBING_HELP, env=environment(COLUMNS=columns), cwd=tmp_path))
    assert result.code == 0, result.err
    assert "target-lang" in "".join(result.out.split())


def test_a_sensible_width_is_kept(tmp_path: Path) -> None:
    result = ended(popen(*DUBBING_HELP, env=environment(COLUMNS="50"), cwd=tmp_path))
    assert max(map(len, result.out.splitlines())) == 50


@posix
@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("words", [["--version"], ["version"], DUBBING_HELP, ["kinds"]])
def test_a_closed_stdout_is_no_error(tmp_path: Path, words: list[str], redirection: str) -> None:
    result = redirected(words, redirection, tmp_path)
    assert (result.code, result.err) == (0, "")


@posix
@has_full
@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], DUBBING_HELP, ["kinds"], ["kinds", "dubbing", "--json"]]
)
def test_output_lost_on_a_full_disk_is_an_error(tmp_path: Path, words: list[str]) -> None:
    result = redirected(words, "> /dev/full", tmp_path)
    assert result.code == 6
    assert "stdout cannot be written: No space left" in result.err


@posix
@pytest.mark.parametrize("words", [["--version"], ["--help"], DUBBING_HELP, ["kinds"]])
def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = popen(*words, env=environment(), cwd=tmp_path, stdout=writing)
    os.close(writing)
    result = ended(process)
    assert (result.code, result.err) == (0, "")


@posix
@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full"])
def test_wrong_usage_is_told_by_the_exit_code_alone(tmp_path: Path, redirection: str) -> None:
    if "full" in redirection and not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    assert redirected(["nosuch"], redirection, tmp_path).code == 2


@posix
def test_jobs_from_a_closed_stdin_are_refused(tmp_path: Path) -> None:
    result = redirected(["batch", "-", "--journal", "jobs.db"], "<&-", tmp_path)
    assert result.code == 2
    assert result.err == "error: stdin is closed; give the path of a file of jobs.\n"


@pytest.mark.parametrize(
    ("words", "candidate"), [(["journal", "li"], "list"), (["run", "dub"], "dubbing")]
)
def test_completion_works_with_a_broken_kind_file(
    tmp_path: Path, words: list[str], candidate: str
) -> None:
    env = environment(A2E_KINDS="missing.toml")
    result = ended(popen("_complete", *words, env=env, cwd=tmp_path))
    assert (result.code, result.out, result.err) == (0, f"{candidate}\n", "")


def test_completion_of_flags_is_silent_with_a_broken_kind_file(tmp_path: Path) -> None:
    env = environment(A2E_KINDS="missing.toml")
    result = ended(popen("_complete", "run", "dubbing", "--so", env=env, cwd=tmp_path))
    assert (result.out, result.err) == ("", "")


def test_doctor_names_a_broken_kind_file(sandbox: Sandbox, tmp_path: Path) -> None:
    env = environment(sandbox, A2E_KINDS="missing.toml")
    result = ended(popen("doctor", env=env, cwd=tmp_path))
    assert result.code == 6
    assert "A2E_KINDS: 'missing.toml' cannot be read: No such file or directory." in result.out


def test_a_broken_proxy_is_named_as_in_the_environment(tmp_path: Path) -> None:
    env = environment(A2E_API_KEY="sk_x", A2E_BASE_URL="http://127.0.0.1:1", ALL_PROXY="http://[")
    env = {name: value for name, value in env.items() if name.lower() != "no_proxy"}
    result = ended(popen("credits", env=env, cwd=tmp_path))
    assert result.code == 2
    assert "ALL_PROXY" in result.err
    assert "trust_env" not in result.err


@pytest.mark.parametrize("command", [["journal", "list"], ["batch", "--dry-run"]])
def test_a_path_that_is_too_long_is_told_without_python(
    sandbox: Sandbox, tmp_path: Path, command: list[str]
) -> None:
    words = [*command, "x" * 300]
    result = ended(popen(*words, env=environment(sandbox), cwd=tmp_path))
    assert result.code != 0
    assert "File name too long" in result.err
    assert "Errno" not in result.err
    assert "Traceback" not in result.err


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs /dev/null")
def test_a_device_is_no_journal(sandbox: Sandbox, tmp_path: Path) -> None:
    result = ended(popen("mcp", "--journal", "/dev/null", env=environment(sandbox), cwd=tmp_path))
    assert result.code == 6
    assert "it is not a regular file" in result.err
