"""``a2e batch`` with files that change, and on a full disk: nothing paid is lost or paid again."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from a2e_async._core.batch.manifest import Manifest
from a2e_async.cli import exit_codes
from a2e_async.cli.batch.progress_bar import BatchProgress
from a2e_async.events import Accepted, Event
from a2e_async.sandbox import Sandbox, media

from .conftest import Invoke, ended, environment, popen
from .test_batch import RUN, dub, picture, posix, report, results, write


def test_rows_that_are_added_while_it_runs_are_checked(
    a2e: Invoke, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(Path("jobs.jsonl"), picture("a"))
    count = BatchProgress.on_event

    def append(progress: BatchProgress, event: Event) -> None:
        count(progress, event)
        if isinstance(event, Accepted) and progress.started == 1:
            with path.open("a") as file:
                file.write("".join(f"{json.dumps(job)}\n" for job in (dub("a"), dub("c"))))
                file.write('{"kind": 5}\n')

    monkeypatch.setattr(BatchProgress, "on_event", append)
    result = a2e("batch", "jobs.jsonl", *RUN, "--limit", "1", "--json")
    assert result.code == exit_codes.PARTIAL
    assert (result.document["jobs"], result.document["ok"], result.document["error"]) == (4, 2, 2)
    assert "jobs.jsonl:2: key: 'a' is already the key of line 1." in result.err
    assert "jobs.jsonl:4: kind: is required" in result.err
    assert "3 rows added to jobs.jsonl while it ran" in result.err
    assert len(sandbox.ledger.starts()) == 2
    statuses = {line["line"]: line["status"] for line in report(Path("report.jsonl"))}
    assert statuses == {1: "ok", 2: "error", 3: "ok", 4: "error"}


def test_a_changed_row_says_what_changed_and_what_is_paid(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path
) -> None:
    sound = Path(media.speech()).read_bytes()
    (tmp_path / "talk.wav").write_bytes(sound)
    jobs = [dub("a"), dub("b", source_url="talk.wav"), picture("c")]
    write(tmp_path / "jobs.jsonl", *jobs)
    assert a2e("batch", "jobs.jsonl", *RUN).code == 0
    assert a2e("batch", "jobs.jsonl", *RUN).code == 0  # the same file is the same input
    lines = {line["key"]: line for line in report(tmp_path / "report.jsonl")}
    (tmp_path / "talk.wav").write_bytes(sound[:-2] + b"\1\0")
    write(tmp_path / "jobs.jsonl", dub("a", target_lang="fr", num_speakers=2), jobs[1], dub("c"))
    for words in ([], ["--dry-run"]):
        result = a2e("batch", "jobs.jsonl", *RUN, *words)
        assert result.code == (exit_codes.USAGE if words else exit_codes.PARTIAL)
        for key, what in (
            ("a", "another target_lang and another num_speakers"),
            ("b", "another source_url"),
            ("c", "another kind"),
        ):
            paid = f"The paid task is {lines[key]['ref']}, saved as {lines[key]['paths'][0]}."
            assert f"key '{key}' was used before with {what}. {paid} To start again" in result.err
    assert len(sandbox.ledger.starts()) == 3


def test_a_line_that_the_manifest_lacks_is_an_error_and_added_later(
    a2e: Invoke, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(Path("jobs.jsonl"), *(picture(f"k{n}") for n in range(3)))
    words = ("batch", "jobs.jsonl", "--out", "out", "--journal", "jobs.db", "--manifest")

    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "record", fails)
        result = a2e(*words)
    assert result.code == exit_codes.SERVICE
    assert result.err.count("out/results.jsonl cannot be written: No space left on device") == 1
    assert len(result.out.splitlines()) == 3
    result = a2e(*words)
    assert result.code == 0, result.err
    assert len(results(Path("out"))) == len(sandbox.ledger.starts()) == 3
    assert len(Path("out/results.jsonl").read_text().splitlines()) == 3


@posix
@pytest.mark.parametrize("full", ["report", "stdout", "stderr"])
def test_a_full_disk_loses_nothing_that_is_paid(
    sandbox: Sandbox, tmp_path: Path, full: str
) -> None:
    write(tmp_path / "jobs.jsonl", *(picture(f"k{n}") for n in range(3)))
    words = ["jobs.jsonl", "--out", "out", "--journal", "jobs.db"]
    with Path("/dev/full").open("w") as device:
        streams: dict[str, Any] = {} if full == "report" else {full: device}
        words += ["--report", "/dev/full"] if full == "report" else []
        result = ended(popen("batch", *words, env=environment(sandbox), cwd=tmp_path, **streams))
    assert result.code == (0 if full == "stderr" else exit_codes.SERVICE)
    if full != "stderr":
        name = "the report /dev/full" if full == "report" else "stdout"
        assert result.err.count(f"{name} cannot be written: No space left on device") == 1
        assert "3 of 3 · 3 done" in result.err
        assert "Traceback" not in result.err
    if full == "report":
        assert "a2e journal list jobs.db --all" in result.err
    if full != "stdout":
        assert len(result.out.splitlines()) == 3
    assert len(results(tmp_path / "out")) == len(sandbox.ledger.starts()) == 3
