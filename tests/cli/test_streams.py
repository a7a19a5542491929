"""Terminals and pipes of all sorts."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from a2e_async.cli.printer import Printer, columns
from a2e_async.cli.streams import encodable, is_terminal
from a2e_async.sandbox import Sandbox

from .conftest import KEY, Result, ended, environment, popen
from .test_commands import DUB

posix = pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are POSIX")


def on_terminal(*words: str, env: dict[str, str], cwd: Path) -> Result:
    """Run the command with a pseudo-terminal as stdout and stderr."""
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "a2e_async", *words],
        env=env,
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        said += piece
    os.close(ours)
    out = said.decode("utf-8", "replace")
    assert KEY not in out
    return Result(process.wait(30), out, "")


@posix
def test_progress_is_drawn_on_a_terminal(sandbox: Sandbox, tmp_path: Path) -> None:
    result = on_terminal("run", *DUB, env=environment(sandbox), cwd=tmp_path)
    assert result.code == 0
    assert "\x1b[" in result.out
    assert "dubbing-" in result.out.splitlines()[-1]


@posix
@pytest.mark.parametrize(("more", "words"), [({"TERM": "dumb"}, []), ({}, ["--quiet"])])
def test_a_dumb_terminal_or_a_quiet_run_has_none(
    sandbox: Sandbox, tmp_path: Path, more: dict[str, str], words: list[str]
) -> None:
    result = on_terminal("run", *DUB, *words, env=environment(sandbox, **more), cwd=tmp_path)
    assert result.code == 0
    assert "\x1b" not in result.out


@posix
def test_delete_asks_on_a_terminal(sandbox: Sandbox, tmp_path: Path) -> None:
    import pty

    process = popen("start", *DUB, env=environment(sandbox), cwd=tmp_path)
    ref = ended(process).out.strip()
    for answer, code in (("n", 2), ("y", 0)):
        ours, theirs = pty.openpty()
        process = popen("task", "delete", ref, env=environment(sandbox), cwd=tmp_path, stdin=theirs)
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        result = ended(process)
        os.close(ours)
        assert result.code == code
        assert "[y/N]" in result.err
    assert not sandbox.tasks


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_no_encoding_ends_a_command(sandbox: Sandbox, tmp_path: Path, encoding: str) -> None:
    env = environment(sandbox, PYTHONIOENCODING=encoding, PYTHONUTF8="0", LC_ALL="C")
    named = ["start", *DUB, "--name", "día ☀"]
    for words in (named, ["list", "dubbing"], ["run", "dubbing", "--help"]):
        process = popen(*words, env=env, cwd=tmp_path, encoding=encoding)
        result = ended(process)
        assert result.code == 0, result.err
        assert result.out
    assert sandbox.tasks[0].body["name"] == "día ☀"  # what was typed, whatever the locale


def test_a_key_is_what_was_typed(sandbox: Sandbox, tmp_path: Path) -> None:
    env = environment(sandbox, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    words = ["start", *DUB, "--key", "día ☀", "--journal", "jobs.db"]
    first, again = (ended(popen(*words, env=env, cwd=tmp_path)) for _ in range(2))
    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert first.out == again.out
    shown = ended(popen("journal", "show", "jobs.db", "día ☀", "--json", env=env, cwd=tmp_path))
    assert json.loads(shown.out)["key"] == "día ☀"
    assert len(sandbox.ledger.starts()) == 1


@posix
def test_a_reader_that_goes_away_is_no_error(sandbox: Sandbox, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = popen("start", *DUB, env=environment(sandbox), cwd=tmp_path, stdout=writing)
    os.close(writing)
    result = ended(process)
    assert result.code == 0
    assert sandbox.tasks[0].id in result.err
    assert "Broken" not in result.err


@posix
@pytest.mark.parametrize("closing", [">&-", ">&- 2>&-", "<&-"])
def test_closed_streams_are_no_error(sandbox: Sandbox, tmp_path: Path, closing: str) -> None:
    line = f'exec "$0" -m a2e_async credits {closing}'
    result = subprocess.run(
        ["sh", "-c", line, sys.executable],
        env=environment(sandbox),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0
    assert not result.stderr


def test_what_an_encoding_lacks_becomes_ascii() -> None:
    assert encodable("a · b…", "ascii") == "a - b..."
    assert encodable("a · b…", "utf-8") == "a · b…"
    assert encodable("x", None) == "x"


def test_columns_stand_below_each_other() -> None:
    assert columns([("a", "b"), ("cc", "d")]) == "a   b\ncc  d"
    assert columns([]) == ""


def test_a_closed_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()
    assert not is_terminal(stream)
    assert not is_terminal(None)


def test_json_goes_alone(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer(as_json=True)
    printer.out("words")
    printer.json({"a": "ü"})
    assert capsys.readouterr().out == '{"a": "\\u00fc"}\n'
