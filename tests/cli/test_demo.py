"""The demo: its ledger check, its exit code, the files it leaves."""

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from a2e_async._core.files.part_file import PartFile
from a2e_async.cli import exit_codes
from a2e_async.cli.demo.command import FAULTS_VARIABLE
from a2e_async.cli.demo.jobs import KINDS, DemoJob, RequestCounts, plan
from a2e_async.cli.demo.live_table import render
from a2e_async.cli.demo.output_directory import OutputDirectory
from a2e_async.cli.demo.report import DemoReport
from a2e_async.kinds.registry import kind_named
from a2e_async.models import Output
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
        jobs=[],
        ledger={"charges": [charge], "leaks": []},
        request_counts=RequestCounts(),
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
def test_on_a_terminal_it_draws_one_row_for_each_job(tmp_path: Path) -> None:
    result = on_terminal(*FAST, env=environment(COLUMNS="100", LINES="30"), cwd=tmp_path)
    assert result.code == 0
    assert "6 of 6 saved" in result.out
    assert "to es" in result.out
    assert "6 jobs · 6 charges · 6 files" in result.out


@pytest.mark.parametrize(
    ("width", "height", "each"), [(80, 24, True), (60, 24, False), (80, 12, False)]
)
def test_the_table_fits_the_terminal(width: int, height: int, each: bool) -> None:
    urls = {"speech": "https://a/s", "portrait": "https://a/p", "clip": "https://a/c"}
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    console.print(render(plan(30, urls), console))
    lines = cast("io.StringIO", console.file).getvalue().splitlines()
    assert len(lines) < height
    assert any("to es" in line for line in lines) == each
    for kind in KINDS:
        assert any(kind in line for line in lines)


def test_parts_of_this_run_go_and_its_files_are_counted(tmp_path: Path) -> None:
    (tmp_path / "old.mp4").write_text("old")
    (tmp_path / "replaced.mp4").write_text("old")
    shelf = OutputDirectory.of(tmp_path)
    output = Output(url="http://127.0.0.1/a.mp4?signed=x")
    ours, theirs = PartFile(tmp_path, "a.mp4", output.url), PartFile(tmp_path, "b.mp4", "http://b")
    for part in (ours, theirs):
        part.open(target_is_file=False)
        part.write([b"half"], '"v"')
        part.close(keep=True)
    assert len(list(tmp_path.glob(".*.part"))) == 2
    job = DemoJob(number=1, kind="dubbing", label="", inputs={})
    job.task = cast("Any", SimpleNamespace(record=SimpleNamespace(outputs=(output,))))
    shelf.delete_part_files([job])
    assert list(tmp_path.glob(".*.part")) == [theirs.path]
    (tmp_path / "fresh").write_text("new")
    (tmp_path / "fresh").rename(tmp_path / "replaced.mp4")
    (tmp_path / "new.mp4").write_text("new")
    assert {path.name for path in shelf.new_files()} == {"new.mp4", "replaced.mp4"}


def test_one_job_is_said_in_the_singular(tmp_path: Path) -> None:
    result = ended(popen("demo", "--jobs", "1", "--speed", "2000", env=environment(), cwd=tmp_path))
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == "1 job · 1 charge · 1 file"


def test_jobs_take_turns_and_vary() -> None:
    urls = {"speech": "https://a/s", "portrait": "https://a/p", "clip": "https://a/c"}
    jobs = plan(30, urls)
    assert [job.kind for job in jobs[:3]] == list(KINDS)
    for kind in KINDS:
        given = [job.inputs for job in jobs if job.kind == kind]
        assert len(given) == 10
        assert len({json.dumps(inputs) for inputs in given}) >= 4
        for inputs in given:
            kind_named(kind).input(**inputs)
