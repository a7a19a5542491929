"""The demo: its ledger check, its exit code, the files it leaves."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from attrs import asdict

from a2e_async.cli import exit_codes
from a2e_async.cli.demo.command import FAULTS_VARIABLE
from a2e_async.cli.demo.jobs import KINDS, plan
from a2e_async.cli.demo.report import DemoReport
from a2e_async.sandbox import check_media

from .conftest import Invoke, Result, ended, environment, popen
from .test_streams import on_terminal, posix

FAST = ["demo", "--jobs", "6", "--speed", "2000"]


def demo(tmp_path: Path, *words: str, faults: list[dict[str, object]] | None = None) -> Result:
    more = {FAULTS_VARIABLE: json.dumps(faults)} if faults else {}
    return ended(popen(*FAST, *words, env=environment(**more), cwd=tmp_path), 60)


def test_it_agrees_and_leaves_the_files(tmp_path: Path) -> None:
    result = demo(tmp_path)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == "6 jobs · 6 charges · 6 files"
    assert result.out.count("saved") == 6
    files = list((tmp_path / "a2e-demo").iterdir())
    assert len(files) == 6
    assert all(check_media(path).ok for path in files)
    assert list(tmp_path.iterdir()) == [tmp_path / "a2e-demo"]


def test_as_json(tmp_path: Path) -> None:
    result = demo(tmp_path, "--json", "--out", "elsewhere")
    document = result.document
    assert result.code == 0
    assert document["ok"]
    assert document["jobs"] == document["charges"] == document["files"] == 6
    assert document["coins"]["spent"] == document["coins"]["charged"] + document["coins"]["uploads"]
    assert document["uploads"] == 3
    assert document["requests"]["start"] == 6
    assert document["leaks"] == 0
    assert {Path(item["files"][0]).parent.name for item in document["items"]} == {"elsewhere"}


def test_what_goes_wrong_ends_with_1(tmp_path: Path) -> None:
    faults: list[dict[str, object]] = [
        {"fault": "fail", "kind": "dubbing", "message": "too noisy"},
        {"fault": "fail", "kind": "talking_video", "message": "no face"},
        {"fault": "cut_download", "after_bytes": 1000, "times": 2},
    ]
    result = demo(tmp_path, faults=faults)
    assert result.code == exit_codes.FAILED
    assert "too noisy" in result.err
    assert "no face" in result.err
    assert result.err.count("error: job ") == 2
    assert result.out.splitlines()[-1] == "6 jobs · 6 charges · 4 files"
    assert "Traceback" not in result.err


def test_a_start_whose_answer_is_lost_is_found(tmp_path: Path) -> None:
    result = demo(tmp_path, faults=[{"fault": "drop_after_accept", "kind": "image_to_video"}])
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == "6 jobs · 6 charges · 6 files"


def test_records_that_do_not_agree_are_reported(tmp_path: Path) -> None:
    charge = {"kind": "dubbing", "ids": ["a"], "coins": 5, "refunded": 0}
    report = DemoReport(
        results=[],
        ledger={"charges": [charge], "leaks": []},
        requests=Counter(),
        seconds=1,
        out=tmp_path,
        balances=(10, 10),
    )
    assert report.problems == [
        "0 jobs but 1 charge",
        "the charged tasks are not the started tasks",
        "0 coins spent by the balance, 5 by the ledger",
    ]


def test_a_sandbox_that_does_not_start_is_reported(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    result = invoke("demo")
    assert result.code == exit_codes.SERVICE
    assert "The sandbox did not start" in result.err


@posix
@pytest.mark.parametrize("width", ["100", "80"])
def test_on_a_terminal_it_prints_one_row_for_each_job(tmp_path: Path, width: str) -> None:
    result = on_terminal(*FAST, env=environment(COLUMNS=width, LINES="30"), cwd=tmp_path)
    assert result.code == 0
    assert "6/6" in result.out
    rows = re.findall(r"job +(\d) +(\w+) +(\w+ \w+) +saved +[\d.]+ s +[\w-]+", result.out)
    assert sorted(number for number, *_ in rows) == ["1", "2", "3", "4", "5", "6"]
    assert ("1", "dubbing", "to es") in rows
    assert "6 jobs · 6 charges · 6 files" in result.out


def test_one_job_is_said_in_the_singular(tmp_path: Path) -> None:
    result = ended(popen("demo", "--jobs", "1", "--speed", "2000", env=environment(), cwd=tmp_path))
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == "1 job · 1 charge · 1 file"


def test_jobs_take_turns_and_vary() -> None:
    urls = {"speech": "https://a/s", "portrait": "https://a/p", "clip": "https://a/c"}
    jobs = list(plan(30, urls))
    assert [job.kind.name for job in jobs[:3]] == list(KINDS)
    for kind in KINDS:
        given = [{**asdict(job.input), "meta": None} for job in jobs if job.kind.name == kind]
        assert len(given) == 10
        assert len(set(map(str, given))) >= 4
