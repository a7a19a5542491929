"""An ambiguous batch file must not cause double charges or unintended starts."""

import csv
import json
from pathlib import Path

import pytest

from a2e_async.cli import main
from a2e_async.cli.batch.job_file import JobFile
from a2e_async.cli.batch.validation import ValidationResult, check_all, read_jobs

pytestmark = pytest.mark.anyio

ROW = {"kind": "text_to_image", "prompt": "a cat"}
INVISIBLE = [" ", "\t", "\xa0", "\ufeff", "\u200b", "\u2060", "\u2003", "\u00ad", "\u200e"]


async def check(path: Path) -> ValidationResult:
    return await check_all(job_file(path), lambda _: None)


def job_file(path: Path) -> JobFile:
    return JobFile(path, str(path), path.parent)


def keys_in(path: Path) -> list[str | None]:
    return [job.key for job in read_jobs(job_file(path), lambda error: pytest.fail(str(error)))]


def write_csv(path: Path, *keys: str) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["kind", "key", "prompt"])
        lines.writerows(["text_to_image", key, "a cat"] for key in keys)
    return path


@pytest.mark.parametrize("odd", INVISIBLE)
async def test_what_cannot_be_seen_makes_no_other_key(tmp_path: Path, odd: str) -> None:
    """Invisible characters in a CSV cell do not change the key."""
    path = write_csv(tmp_path / "jobs.csv", f"{odd}a", f"b{odd}", f"{odd}{odd}c{odd}", "d e")
    assert (await check(path)).errors == []
    assert keys_in(path) == ["a", "b", "c", "d e"]


@pytest.mark.parametrize("odd", INVISIBLE)
async def test_equal_keys_are_found_before_anything_is_paid(tmp_path: Path, odd: str) -> None:
    """Also if the keys differ only in invisible characters."""
    found = await check(write_csv(tmp_path / "jobs.csv", "a", "b", f"a{odd}"))
    (wrong,) = found.errors
    assert (wrong.number, wrong.field) == (4, "key")
    assert "is already the key of line 2" in wrong.message


@pytest.mark.parametrize("odd", INVISIBLE[1:])
async def test_what_is_hidden_within_a_key(tmp_path: Path, odd: str) -> None:
    found = await check(write_csv(tmp_path / "jobs.csv", "ok", f"a{odd}b"))
    (wrong,) = found.errors
    assert (wrong.number, wrong.field) == (3, "key")
    assert "invisible" in wrong.message


@pytest.mark.parametrize("odd", INVISIBLE)
async def test_json_keys_are_refused(tmp_path: Path, odd: str) -> None:
    """In JSON, invisible characters are not removed; the key is refused with its line."""
    path = tmp_path / "jobs.jsonl"
    line = {"kind": "text_to_image", "input": {"prompt": "x"}}
    path.write_text("\n".join(json.dumps({**line, "key": key}) for key in ("a", f"a{odd}")))
    (wrong,) = (await check(path)).errors
    assert (wrong.number, wrong.field) == (2, "key")


async def test_scripts_that_need_joiners_keep_them(tmp_path: Path) -> None:
    keys = ["\u0645\u06cc\u200c\u062e\u0648", "\U0001f469\u200d\U0001f680", "\u9375 1"]
    path = write_csv(tmp_path / "jobs.csv", *keys)
    assert (await check(path)).errors == []
    assert keys_in(path) == keys


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "text_to_image", "key": "a", "key": "b", "input": {"prompt": "x"}}',
        '{"kind": "text_to_image", "k\\u0065y": "a", "key": "b", "input": {"prompt": "x"}}',
        '{"kind": "text_to_image", "kind": "text_to_image", "input": {"prompt": "x"}}',
        '{"kind": "text_to_image", "input": {"prompt": "x", "prompt": "x"}}',
        '{"kind": "text_to_image", "input": {"prompt": "x"}, "meta": {"a": [{"b": 1, "b": 2}]}}',
    ],
)
async def test_a_member_that_is_there_twice(tmp_path: Path, line: str) -> None:
    """A duplicate member is an error with its line; the last one does not win."""
    path = tmp_path / "jobs.jsonl"
    path.write_text(f"{json.dumps({'kind': 'text_to_image', 'input': {'prompt': 'x'}})}\n{line}\n")
    (wrong,) = (await check(path)).errors
    assert wrong.number == 2
    assert "twice" in wrong.message


async def test_a_cell_with_a_member_twice(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([*ROW, "meta"])
        lines.writerow([*ROW.values(), '{"a": 1, "a": 2}'])
    (wrong,) = (await check(path)).errors
    assert (wrong.number, wrong.field) == (2, "meta")
    assert "'a' twice" in wrong.message


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main(list(words))
    return code, capsys.readouterr().err


@pytest.fixture
def no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A2E_API_KEY", "sk_test_0123456789")
    monkeypatch.setenv("A2E_BASE_URL", "http://127.0.0.1:1")


@pytest.mark.usefixtures("no_service")
def test_flags(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The same rules apply to a flag that takes JSON, to its file, and to ``--key``."""
    twice = tmp_path / "twice.json"
    twice.write_text('{"a": 1, "a": 2}')
    start = ("start", "text_to_image", "--prompt", "x")
    for given in (twice.read_text(), f"@{twice}"):
        code, err = run(capsys, *start, "--meta", given)
        assert code == 2
        assert "'a' twice" in err
    code, err = run(capsys, *start, "--journal", str(tmp_path / "j.db"), "--key", " a")
    assert code == 2
    assert "begin or end with a space" in err
