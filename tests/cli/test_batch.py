"""``a2e batch``: checked before it spends, each job charged once, resumed by the same command."""

import json
import os
import signal
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console

import a2e_async
from a2e_async.cli import exit_codes
from a2e_async.cli.batch.dry_run import QUOTES_PER_SECOND, duration_notice
from a2e_async.cli.batch.progress_bar import BatchProgress, progress_bar
from a2e_async.cli.printer import Printer
from a2e_async.sandbox import Sandbox, check_media, media

from .conftest import Invoke, Result, ended, environment, interrupt, popen
from .test_interrupt import until
from .test_streams import on_terminal

SOUND = "https://example.com/a.wav"
posix = pytest.mark.skipif(os.name == "nt", reason="signals and pseudo-terminals are POSIX")


def dub(key: Any = None, **more: Any) -> dict[str, Any]:
    job = {"kind": "dubbing", "input": {"source_url": SOUND, "target_lang": "es", **more}}
    return job if key is None else {**job, "key": key}


def picture(key: str | None = None, **more: Any) -> dict[str, Any]:
    job = {"kind": "text_to_image", "input": {"prompt": "dog", **more}}
    return job if key is None else {**job, "key": key}


def write(path: Path, *jobs: Any) -> Path:
    """Write a line for each job; a text is a line as it stands."""
    lines = [job if isinstance(job, str) else json.dumps(job) for job in jobs]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def report(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(directory: Path) -> list[Path]:
    """Return the result files: complete media, and those that a manifest names, once each."""
    manifest = directory / "results.jsonl"
    found = sorted(p for p in directory.iterdir() if p.name[0] != "." and p != manifest)
    assert all(check_media(path).ok for path in found)
    if manifest.exists():
        named = [file["path"] for line in report(manifest) for file in line["files"]]
        assert sorted(named) == [path.name for path in found]
    return found


RUN = ["--out", "out", "--journal", "jobs.db", "--report", "report.jsonl", "--manifest"]


# -- runs --------------------------------------------------------------------------------------


def mixed(path: Path) -> Path:
    """Write jobs of three kinds, with keys and without, with a local file; return the file."""
    path.parent.mkdir(exist_ok=True)
    (path.parent / "talk.wav").write_bytes(Path(media.speech()).read_bytes())
    return write(
        path,
        dub("talk-1", source_url="talk.wav"),
        {**dub("talk-2"), "meta": {"row": 2}},
        "",
        picture(),
        picture(),
        {"kind": "voice_clone", "key": "voice", "input": {"voice_urls": [SOUND]}},
    )


def test_a_batch_of_mixed_kinds_and_the_same_again(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed(tmp_path / "in" / "jobs.jsonl")
    result = a2e("batch", "in/jobs.jsonl", *RUN)
    assert result.code == 0, result.err
    files = results(tmp_path / "out")
    assert len(files) == 4
    assert (tmp_path / "out" / "results.jsonl").exists()
    assert sorted(result.out.splitlines()) == [str(path) for path in files]
    lines = report(tmp_path / "report.jsonl")
    assert sorted(line["line"] for line in lines) == [1, 2, 4, 5, 6]
    by_line = {line["line"]: line for line in lines}
    assert {line["status"] for line in lines} == {"ok"}
    assert [by_line[n]["key"] for n in (1, 2, 6)] == ["talk-1", "talk-2", "voice"]
    assert by_line[4]["key"] != by_line[5]["key"]
    assert by_line[6]["voice_id"]
    # Not every start's answer tells the price.
    (image,) = {charge.coins for charge in sandbox.ledger.starts("text_to_image")}
    assert [by_line[n]["coins"] for n in (4, 5)] == [image, image]
    assert len(sandbox.ledger.starts()) == 5

    calls = sandbox.calls_total
    monkeypatch.chdir(tmp_path / "in")  # paths of the journal hold in any directory
    words = ["--out", "../out", "--journal", "../jobs.db", "--report", "../report.jsonl"]
    again = a2e("batch", "jobs.jsonl", *words, "--json")
    assert again.code == 0, again.err
    assert again.document["earlier"] == 5
    assert (again.document["ok"], again.document["coins"]) == (0, 0)
    assert sandbox.calls_total == calls
    second = {line["line"]: line for line in report(tmp_path / "report.jsonl")}
    for number, line in by_line.items():
        kept = {name: line[name] for name in ("key", "kind", "ref", "paths", "coins")}
        assert second[number].items() >= {**kept, "status": "earlier"}.items()


def test_a_csv_file(a2e: Invoke, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "talk.wav").write_bytes(Path(media.speech()).read_bytes())
    (tmp_path / "jobs.csv").write_text(
        "\ufeffkind,key,source_url,target_lang,num_speakers,drop_background_audio,prompt,"
        "voice_urls,meta\r\n"
        'dubbing,talk,talk.wav,es,2,yes,,,"{""row"": 1}"\r\n'
        "\r\n"
        'text_to_image,,,,,,"a dog,\r\nrunning",,\r\n'
        f'voice_clone,voice,,,,,,"[""{SOUND}""]",\r\n',
        encoding="utf-8",
        newline="",
    )
    result = a2e("batch", "jobs.csv", *RUN)
    assert result.code == 0, result.err
    assert sorted(line["line"] for line in report(tmp_path / "report.jsonl")) == [2, 4, 6]
    by_kind = {charge.kind: charge.body for charge in sandbox.ledger.starts()}
    assert by_kind["dubbing"]["num_speakers"] == 2
    assert by_kind["dubbing"]["drop_background_audio"] is True
    assert by_kind["text_to_image"]["prompt"] == "a dog,\r\nrunning"
    assert by_kind["voice_clone"]["voice_urls"] == [SOUND]
    assert len(results(tmp_path / "out")) == 2


def test_some_fail_and_only_retries_pay_again(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A partial failure has its own exit code; running it again charges nothing."""
    write(tmp_path / "jobs.jsonl", picture("a"), picture("b"), picture("c"))
    sandbox.faults.fail("text_to_image")
    result = a2e("batch", "jobs.jsonl", *RUN, "--json")
    assert result.code == exit_codes.PARTIAL
    assert (result.document["ok"], result.document["failed"]) == (2, 1)
    assert result.document["exit_code"] == exit_codes.PARTIAL
    (bad,) = [line for line in report(tmp_path / "report.jsonl") if line["status"] == "failed"]
    assert f"jobs.jsonl:{bad['line']}: {bad['error']}" in result.err
    assert bad["ref"] in bad["error"]
    assert "--retry-failed 1" in result.err

    again = a2e("batch", "jobs.jsonl", *RUN, "--json")
    assert again.code == exit_codes.PARTIAL
    assert (again.document["earlier"], again.document["failed"]) == (2, 1)
    assert len(sandbox.ledger.starts()) == 3
    sandbox.faults.fail("text_to_image")
    assert a2e("batch", "jobs.jsonl", *RUN, "--retry-failed", "1").code == exit_codes.PARTIAL
    # What it suggests does something, though this run itself may start each job only once.
    assert "each started up to 2 times" in (said := a2e("batch", "jobs.jsonl", *RUN).err)
    assert "--retry-failed 2 allows it" in said
    retried = a2e("batch", "jobs.jsonl", *RUN, "--retry-failed", "2", "--json")
    assert retried.code == 0
    assert (retried.document["earlier"], retried.document["ok"]) == (2, 1)
    assert len(sandbox.ledger.starts()) == 5
    assert retried.document["coins"] == sandbox.ledger.starts()[-1].coins
    assert len(results(tmp_path / "out")) == 3


def test_an_unknown_start_is_reported_and_found_by_the_next_run(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.03, 0.06)
    )
    write(tmp_path / "jobs.jsonl", dub("a"), picture("b"))
    sandbox.faults.list_lag(100_000, "dubbing")
    sandbox.faults.drop_after_accept("dubbing")
    result = a2e("batch", "jobs.jsonl", *RUN)
    assert result.code == exit_codes.PARTIAL
    by_key = {line["key"]: line for line in report(tmp_path / "report.jsonl")}
    assert {key: line["status"] for key, line in by_key.items()} == {"a": "unknown", "b": "ok"}
    assert "may have been charged" in result.err
    assert "The same command searches for them first: a2e batch jobs.jsonl" in result.err
    assert "a2e journal settle jobs.db KEY --as unpaid" in result.err
    assert "--on-unknown resend-may-pay-twice" in result.err
    sandbox.advance(100_000)
    assert a2e("batch", "jobs.jsonl", *RUN).code == 0
    assert len(sandbox.ledger.starts()) == 2
    assert len(results(tmp_path / "out")) == 2


def test_what_never_arrived_is_sent_again_when_allowed(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the journal and the network: unknown, until resending is allowed."""
    monkeypatch.setattr(
        "a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.03, 0.06)
    )
    monkeypatch.setattr("a2e_async._core.submission.executor.MIN_AGE_FOR_RESEND", 0.2)
    write(tmp_path / "seen.jsonl", dub("seen"))
    assert a2e("batch", "seen.jsonl", *RUN).code == 0  # the list is seen to repeat marks
    write(tmp_path / "jobs.jsonl", dub("a"), dub("b"))
    sandbox.faults.drop_before_accept("dubbing", times=1)
    first = a2e("batch", "jobs.jsonl", *RUN, "--limit", "1")
    assert first.code == exit_codes.PARTIAL
    again = a2e("batch", "jobs.jsonl", *RUN, "--limit", "1")
    assert again.code == exit_codes.PARTIAL
    assert len(sandbox.ledger.starts()) == 2
    allowed = a2e("batch", "jobs.jsonl", *RUN, "--on-unknown", "resend-may-pay-twice")
    assert allowed.code == 0, allowed.err
    assert len(sandbox.ledger.starts()) == 3


def test_no_coins_end_it_with_their_own_code(a2e: Invoke, sandbox: Sandbox) -> None:
    write(Path("jobs.jsonl"), *(dub(f"k{n}") for n in range(40)))
    sandbox.faults.http_error(402, role="start", times=None)
    result = a2e("batch", "jobs.jsonl", *RUN, "--limit", "2")
    assert result.code == exit_codes.COINS
    assert "0 of 40 jobs done and saved" in result.err
    assert "Continue with: a2e batch jobs.jsonl --out out --journal jobs.db --limit 2" in result.err
    assert sandbox.calls["start", "dubbing"] <= 2


def test_quiet_shows_errors_only(a2e: Invoke) -> None:
    write(Path("jobs.jsonl"), picture())
    result = a2e("batch", "jobs.jsonl", *RUN, "--quiet")
    assert (result.code, result.err) == (0, "")


# -- dry runs ----------------------------------------------------------------------------------


def test_a_dry_run_asks_for_prices_and_spends_nothing(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path
) -> None:
    mixed(tmp_path / "in" / "jobs.jsonl")
    result = a2e("batch", "in/jobs.jsonl", "--dry-run", "--json")
    assert result.code == 0, result.err
    document = result.document
    assert document["jobs"] == document["priced"] + document["unpriced"] == 5
    assert document["kinds"] == {"dubbing": 2, "text_to_image": 2, "voice_clone": 1}
    one = a2e("quote", "text_to_image", "--prompt", "dog", "--json").document["coins"]
    assert document["coins"] >= 2 * one > 0
    assert not sandbox.ledger.charges
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    # Two jobs with the same words are asked for once; and `quote` above asked, too.
    assert sum(n for (role, _), n in sandbox.calls.items() if role == "quote") == 5


def test_a_dry_run_counts_what_is_begun_as_paid(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path
) -> None:
    write(tmp_path / "jobs.jsonl", picture("a"))
    assert a2e("batch", "jobs.jsonl", *RUN).code == 0
    write(tmp_path / "jobs.jsonl", picture("a"), picture("b"))
    result = a2e("batch", "jobs.jsonl", *RUN, "--dry-run")
    assert result.code == 0
    assert "1 job started before: free of charge" in result.out
    assert len(sandbox.ledger.starts()) == 1


def test_a_long_dry_run_says_how_long_it_takes_and_how_far_it_is(
    a2e: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("a2e_async.cli.progress.LINE_INTERVAL", 0.0)
    write(Path("jobs.jsonl"), *(picture(f"a-{n}", prompt=f"dog {n}") for n in range(150)))
    result = a2e("batch", "jobs.jsonl", "--dry-run")
    assert result.code == 0, result.err
    assert "checking jobs.jsonl: 100 jobs\n" in result.err
    said = "requesting prices, at most 10 a second: up to 15.0 s"
    assert f"\n{said}, less if jobs differ only in texts and media\n" in result.err
    assert "\nrequesting prices: 150 of 150 jobs\n" in result.err
    assert result.out.startswith("about ")
    assert result.out.endswith("coins for 150 jobs\n")
    assert "\n130 jobs not quoted: other texts and media, but the settings of 20" in result.err
    rate = a2e_async.A2E.__init__.__kwdefaults__["rate"]
    assert rate == QUOTES_PER_SECOND
    assert duration_notice(50) is None


def test_a_dry_run_of_a_wrong_file(a2e: Invoke, sandbox: Sandbox) -> None:
    write(Path("jobs.jsonl"), "{")
    assert a2e("batch", "jobs.jsonl", "--dry-run").code == exit_codes.USAGE
    assert sandbox.calls_total == 0


def test_a_dry_run_without_prices_does_not_blame_the_file(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.malformed(role="quote", times=None)
    write(Path("jobs.jsonl"), picture("a"), picture("b", prompt="cat"))
    result = a2e("batch", "jobs.jsonl", "--dry-run", "--json")
    assert result.code == exit_codes.SERVICE
    assert result.document["error"]["exit_code"] == exit_codes.SERVICE
    assert "error: 2 jobs could not be priced. Nothing was started.\n" in result.err
    assert "this error's excerpt" not in result.err


@pytest.mark.parametrize(
    "make",
    [Path.mkdir, pytest.param(lambda path: path.symlink_to("/dev/zero"), marks=posix)],
)
def test_a_manifest_that_cannot_be_written_is_refused_before_it_costs(
    a2e: Invoke, sandbox: Sandbox, make: Callable[[Path], object]
) -> None:
    """Nor is a device read, which may have no end."""
    Path("out").mkdir()
    make(Path("out/results.jsonl"))
    write(Path("jobs.jsonl"), picture("a"))
    result = a2e("batch", "jobs.jsonl", *RUN)
    assert result.code == exit_codes.USAGE
    assert "--manifest adds to 'out/results.jsonl', which cannot be written" in result.err
    assert not sandbox.ledger.starts()


@pytest.mark.parametrize(
    ("line", "said"),
    [("null", "found null."), ('{"meta": ' + "9" * 5000 + "}", "a number with too many digits.")],
)
def test_errors_in_json_are_told_without_python(a2e: Invoke, line: str, said: str) -> None:
    write(Path("jobs.jsonl"), picture("a"), line)
    result = a2e("batch", "jobs.jsonl", "--dry-run")
    assert said in result.err
    assert "sys." not in result.err


# -- however it ends ---------------------------------------------------------------------------


def batch(sandbox: Sandbox, cwd: Path, *words: str) -> "subprocess.Popen[str]":
    process: subprocess.Popen[str] = popen(
        "batch", "jobs.jsonl", *RUN, *words, env=environment(sandbox), cwd=cwd
    )
    return process


@posix
def test_killed_again_and_again_no_job_is_paid_twice(sandbox: Sandbox, tmp_path: Path) -> None:
    jobs = 24
    write(
        tmp_path / "jobs.jsonl",
        *(dub(f"talk-{n}") if n % 2 else picture(prompt=f"dog {n}") for n in range(jobs)),
    )
    # By what is at the service and on disk: at once, in the middle, near the end.
    for started in (1, jobs // 3, jobs - 4):
        process = batch(sandbox, tmp_path, "--limit", "5")
        # What is unknown holds its place while it is looked for, 45 s; or all has ended by then.
        until(
            lambda least=started, run=process: (
                len(sandbox.ledger.starts()) >= least or run.poll() is not None
            ),
            150,
        )
        process.send_signal(signal.SIGKILL)
        ended(process)
        # Its lease must not make the next run wait for half a minute.
        db = sqlite3.connect(tmp_path / "jobs.db")
        with db:
            db.execute("DELETE FROM owners")
        db.close()
    result = ended(batch(sandbox, tmp_path, "--limit", "12"), 150)
    lines = report(tmp_path / "report.jsonl")
    assert sorted(line["line"] for line in lines) == [*range(1, jobs + 1)]
    # A process that dies between writing a start down and sending it leaves one that is not at
    # the service: it is looked for, not found, and not sent again on a guess.
    unsure = sum(line["status"] == "unknown" for line in lines)
    assert result.code == (exit_codes.PARTIAL if unsure else 0), result.err
    assert unsure <= 5 * 3
    assert len(sandbox.ledger.starts()) == jobs - unsure
    assert len(results(tmp_path / "out")) == jobs - unsure


@posix
def test_an_interruption_stops_starting_and_says_how_to_go_on(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    write(tmp_path / "jobs.jsonl", *(dub(f"talk-{n}") for n in range(200)))
    process = batch(sandbox, tmp_path, "--limit", "4", "--json", "--html")
    until(lambda: len(sandbox.ledger.starts()) >= 6)
    interrupt(process)
    result = ended(process)
    assert result.code == exit_codes.INTERRUPTED
    assert "Traceback" not in result.err
    paid = len(sandbox.ledger.starts())
    assert paid < 100
    (said,) = [line for line in result.err.splitlines() if line.startswith("Continue with: ")]
    assert said == "Continue with: a2e batch jobs.jsonl --out out --journal jobs.db --limit 4 " + (
        "--report report.jsonl --manifest --html"
    )
    assert "of 200 jobs done and saved. Nothing is lost" in result.err
    assert "a2e task wait" not in result.err
    assert json.loads(result.out)["error"]["exit_code"] == exit_codes.INTERRUPTED
    lines = report(tmp_path / "report.jsonl")
    page = (tmp_path / "out" / "results.html").read_text()
    assert page.count("<article") >= len(lines)
    (tmp_path / "out" / "results.html").unlink()  # the results are counted below
    assert all(line["status"] == "ok" for line in lines)
    write(tmp_path / "jobs.jsonl", *(dub(f"talk-{n}") for n in range(20)))
    again = ended(batch(sandbox, tmp_path), 60)
    assert again.code == 0, again.err
    assert len(sandbox.ledger.starts()) == max(paid, 20)


@posix
def test_interrupted_while_it_checks(sandbox: Sandbox, tmp_path: Path) -> None:
    with (tmp_path / "jobs.jsonl").open("w") as file:
        for n in range(200_000):
            file.write(json.dumps(picture(f"k{n}")) + "\n")
    process = batch(sandbox, tmp_path)
    child = psutil.Process(process.pid)
    until(lambda: any(file.path.endswith("jobs.jsonl") for file in child.open_files()))
    interrupt(process)
    result = ended(process)
    assert result.code == exit_codes.INTERRUPTED
    assert "Nothing was started." in result.err
    assert sandbox.calls_total == 0


@posix
def test_a_bar_is_drawn_on_a_terminal(sandbox: Sandbox, tmp_path: Path) -> None:
    write(tmp_path / "jobs.jsonl", *(picture(prompt=f"dog {n}") for n in range(5)))
    result: Result = on_terminal(
        "batch", "jobs.jsonl", *RUN, env=environment(sandbox), cwd=tmp_path
    )
    assert result.code == 0
    assert "\x1b[" in result.out
    assert "5 of 5" in result.out
    for path in results(tmp_path / "out"):
        assert path.name in result.out.replace("\r\n", "")


def test_pace_and_time_left() -> None:
    progress = BatchProgress(total=110, began=100.0)
    progress.counts.update({"earlier": 50, "ok": 8, "failed": 2})
    assert progress.rate(110.0) == " · 1.0/s · 50.0 s left"
    assert progress.rate(200.0) == " · 6.0/min · 8:20 min left"
    assert BatchProgress(total=9, began=0.0).rate(5.0) == ""
    for started, coins, unpriced, said in (
        (0, 0, 0, "0 started"),
        (5, 30, 0, "5 started, 30 coins"),
        (6, 30, 1, "6 started, 30 coins, 1 with price not reported"),
        (53, 0, 53, "53 started, price not reported"),
    ):
        progress.started, progress.coins, progress.unpriced = started, coins, unpriced
        assert progress.summary() == f"8 done · 50 earlier · 2 failed · {said}"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_terminal_cuts_no_figure(width: int) -> None:
    """How many are over, and of how many, and all that is said of them, can be read."""
    written = StringIO()

    class Narrow(Printer):
        live = True

        def console(self, *, stderr: bool = True) -> Console:
            return Console(file=written, width=width, force_terminal=True, color_system=None)

    progress = BatchProgress(
        total=1036,
        coins=20198,
        started=151,
        unpriced=41,
        counts=Counter(ok=150, earlier=35, failed=1),
    )
    with progress_bar(Narrow(), progress) as update:
        update()
    said = written.getvalue()
    assert "…" not in said
    words = " ".join(said.split())
    assert "186/1036" in words
    assert {"150", "35", "failed", "20198", "41"} <= {*words.split()}
