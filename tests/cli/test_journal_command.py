"""``a2e journal``, and ``start`` and ``run`` with a journal."""

import json
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from a2e_async.cli import exit_codes
from a2e_async.cli.journal.command import parse_age
from a2e_async.sandbox import Sandbox, check_media

from .conftest import Invoke

SOUND = "https://example.com/a.wav"
DUB = ["dubbing", "--source-url", SOUND, "--target-lang", "es"]
KEPT = ["--journal", "jobs.db", "--key", "talk-17"]


@pytest.fixture(autouse=True)
def quick_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let searches for lost starts give up after a moment instead of 45 s."""
    monkeypatch.setattr(
        "a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.03, 0.06)
    )


def items(a2e: Invoke, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = a2e("journal", "list", "jobs.db", *words, "--json").document[
        "items"
    ]
    return found


# -- start and run -----------------------------------------------------------------------------


def test_the_same_key_is_the_same_task_paid_once(a2e: Invoke, sandbox: Sandbox) -> None:
    first = a2e("start", *DUB, *KEPT)
    assert first.code == 0, first.err
    assert "started dubbing:" in first.err
    again = a2e("start", *DUB, *KEPT)
    assert (again.code, again.out) == (0, first.out)
    assert "; nothing was started" in again.err
    run = a2e("run", *DUB, *KEPT, "--out", "out", "--json")
    assert run.code == 0, run.err
    assert run.document["ref"] == first.out.strip()
    assert check_media(run.document["files"][0]["path"]).ok
    assert len(sandbox.ledger.starts()) == 1


def test_another_start_under_the_same_key_is_refused(a2e: Invoke, sandbox: Sandbox) -> None:
    assert a2e("start", *DUB, *KEPT).code == 0
    result = a2e("start", *DUB, "--num-speakers", "2", *KEPT)
    assert result.code == exit_codes.USAGE
    assert "'talk-17' was used before with another --num-speakers" in result.err
    assert len(sandbox.ledger.starts()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--key", "a"], "--key needs --journal"),
        (["--journal", "jobs.db", "--key", "auto:a"], "must not begin with auto:"),
        (["--journal", "jobs.db", "--key", " "], "key must not be blank"),
        (["--journal", "jobs.db", "--key", ""], "key must not be blank"),
    ],
)
@pytest.mark.parametrize("verb", ["start", "run"])
def test_keys_that_are_refused(
    a2e: Invoke, sandbox: Sandbox, verb: str, words: list[str], said: str
) -> None:
    result = a2e(verb, *DUB, *words)
    assert result.code == exit_codes.USAGE
    assert said in result.err
    assert sandbox.calls_total == 0


def test_a_quote_takes_no_journal(a2e: Invoke) -> None:
    assert a2e("quote", *DUB, *KEPT).code == exit_codes.USAGE


def test_a_lost_start_is_kept_and_resumed(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.list_lag(100_000)
    sandbox.faults.drop_after_accept()
    lost = a2e("start", *DUB, *KEPT)
    assert lost.code == exit_codes.UNKNOWN
    assert "Search for it with: a2e journal resume jobs.db" in lost.err
    (entry,) = items(a2e)
    assert (entry["key"], entry["state"], entry["ref"]) == ("talk-17", "intent", None)
    assert "unknown" in a2e("journal", "list", "jobs.db").out

    early = a2e("journal", "resume", "jobs.db", "--out", "out")
    assert early.code == exit_codes.PARTIAL
    assert "talk-17: a dubbing start was sent and not found" in early.err
    assert "a2e list dubbing" in early.err
    sandbox.advance(100_000)
    found = a2e("journal", "resume", "jobs.db", "--out", "out", "--json")
    assert found.code == 0, found.err
    (item,) = found.document["items"]
    assert (item["key"], item["status"]) == ("talk-17", "ok")
    assert check_media(item["paths"][0]).ok
    assert len(sandbox.ledger.starts()) == 1
    assert items(a2e) == []


# -- list, show, export ------------------------------------------------------------------------


@pytest.fixture
def kept(a2e: Invoke, sandbox: Sandbox) -> list[str]:
    """Three starts in jobs.db: one open, one failed, one saved; their refs."""
    opened = a2e("start", *DUB, *KEPT, "--meta", '{"row": 7}').out.strip()
    sandbox.faults.fail("text_to_image")
    words = ["text_to_image", "--prompt", "a secret dog", "--journal", "jobs.db"]
    failed = a2e("run", *words)
    assert failed.code == exit_codes.FAILED
    saved = a2e("run", *words, "--json").document["ref"]
    found = re.search(r"text_to_image:[0-9a-f]+", failed.err)
    assert found is not None
    return [opened, found[0], saved]


def test_list_shows_what_is_open_or_all(a2e: Invoke, kept: list[str]) -> None:
    opened = a2e("journal", "list", "jobs.db")
    assert opened.code == 0
    head, line = opened.out.splitlines()
    assert head.split() == ["KEY", "KIND", "STATE", "COINS", "STARTED", "REF"]
    assert line.startswith("talk-17")
    assert "running" in line
    assert line.endswith(kept[0])
    assert "1 entry open" in opened.err
    every = a2e("journal", "list", "jobs.db", "--all")
    words = [line.split() for line in every.out.splitlines()[1:]]
    assert [line[-1] for line in words] == kept
    assert [line[2] for line in words] == ["running", "failed", "done"]
    assert [e["ref"] for e in items(a2e, "--all", "--kind", "text_to_image")] == kept[1:]
    assert items(a2e, "--kind", "text_to_image") == []


def test_show_by_key_and_by_ref(a2e: Invoke, kept: list[str]) -> None:
    by_key = a2e("journal", "show", "jobs.db", "talk-17", "--json").document
    assert by_key == a2e("journal", "show", "jobs.db", kept[0], "--json").document
    assert by_key["meta"] == {"row": 7}
    shown = a2e("journal", "show", "jobs.db", kept[2])
    assert "done" in shown.out
    assert str(Path.cwd()) in shown.out
    assert "a2e journal resume" not in shown.err
    assert "a2e journal resume jobs.db" in a2e("journal", "show", "jobs.db", "talk-17").err
    for strange in ("no-such-key", "dubbing:66ea4dd87db10c73fa29b570"):
        result = a2e("journal", "show", "jobs.db", strange)
        assert result.code == exit_codes.USAGE
        assert "jobs.db has no key or ref" in result.err


def test_export_has_all_and_no_secrets(a2e: Invoke, kept: list[str]) -> None:
    result = a2e("journal", "export", "jobs.db")
    assert result.code == 0
    lines = [json.loads(line) for line in result.out.splitlines()]
    assert [line["ref"] for line in lines] == kept
    assert [line["key_given"] for line in lines] == [True, False, False]
    assert not {"digest", "echo", "owner"} & {name for line in lines for name in line}
    assert "secret dog" not in result.out
    db = sqlite3.connect("jobs.db")
    hidden = [cell for row in db.execute("SELECT digest, owner FROM jobs") for cell in row if cell]
    db.close()
    assert hidden
    assert not [cell for cell in hidden if cell in result.out]
    assert a2e("journal", "export", "jobs.db", "--json").out == result.out


def test_signed_addresses_are_not_exported(a2e: Invoke, kept: list[str]) -> None:
    db = sqlite3.connect("jobs.db")
    with db:
        urls = json.dumps(["https://files.example/a.mp3?X-Amz-Signature=abc"])
        db.execute("UPDATE jobs SET urls = ? WHERE key = 'talk-17'", (urls,))
    db.close()
    (entry,) = items(a2e)
    assert entry["urls"] == ["https://files.example/a.mp3"]
    assert "Signature" not in a2e("journal", "export", "jobs.db").out


@pytest.mark.parametrize("verb", ["list", "show", "resume", "prune", "export"])
def test_a_journal_that_is_not_there_is_not_made(a2e: Invoke, verb: str) -> None:
    more = {"show": ["key"], "prune": ["--older-than", "1d", "--yes"]}.get(verb, [])
    result = a2e("journal", verb, "gone.db", *more)
    assert result.code == exit_codes.USAGE
    assert "The journal 'gone.db' does not exist" in result.err
    assert list(Path().iterdir()) == []


def test_a_file_that_is_no_journal_is_not_touched(a2e: Invoke) -> None:
    Path("notes.db").write_text("notes " * 1000)
    result = a2e("journal", "list", "notes.db")
    assert result.code == exit_codes.SERVICE
    assert "it is not a journal" in result.err
    assert Path("notes.db").read_text() == "notes " * 1000


# -- resume ------------------------------------------------------------------------------------


def test_resume_waits_for_and_saves_what_is_open(
    a2e: Invoke, sandbox: Sandbox, kept: list[str]
) -> None:
    a2e("start", "voice_clone", "--voice-urls", SOUND, "--journal", "jobs.db")
    paid = len(sandbox.ledger.starts())
    result = a2e("journal", "resume", "jobs.db", "--out", "out", "--json")
    assert result.code == 0, result.err
    by_kind = {item["kind"]: item for item in result.document["items"]}
    assert set(by_kind) == {"dubbing", "voice_clone"}
    assert by_kind["dubbing"]["ref"] == kept[0]
    assert [str(path) for path in Path("out").absolute().iterdir()] == by_kind["dubbing"]["paths"]
    assert by_kind["voice_clone"]["voice_id"]
    assert items(a2e) == []
    assert len(sandbox.ledger.starts()) == paid
    again = a2e("journal", "resume", "jobs.db", "--out", "out")
    assert (again.code, again.out) == (0, "")


def test_resume_prints_paths(a2e: Invoke, kept: list[str]) -> None:
    result = a2e("journal", "resume", "jobs.db", "-o", "out")
    assert result.code == 0
    assert check_media(result.out.strip()).ok
    assert "1 saved" in result.err


def test_resume_names_files_by_keys(a2e: Invoke) -> None:
    for key in ("talk-17", "talk-18"):
        assert a2e("start", *DUB, "--journal", "jobs.db", "--key", key).code == 0
    assert a2e("start", *DUB, "--journal", "jobs.db").code == 0
    words = ["journal", "resume", "jobs.db", "-o", "out", "--name"]
    wrong = a2e(*words, "all{ext}")
    assert (wrong.code, "must have {key} or {id}" in wrong.err) == (exit_codes.USAGE, True)
    result = a2e(*words, "{key}{ext}")
    assert result.code == 0, result.err
    names = [Path(line).name for line in result.out.splitlines()]
    assert {"talk-17.mp3", "talk-18.mp3"} <= {Path(name).with_suffix(".mp3").name for name in names}
    assert len(names) == 3


def test_one_that_fails_leaves_the_others_alone(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.fail("dubbing")
    a2e("start", *DUB, "--journal", "jobs.db", "--key", "bad")
    a2e("start", *DUB, "--journal", "jobs.db", "--key", "good")
    result = a2e("journal", "resume", "jobs.db", "--json")
    assert result.code == exit_codes.PARTIAL
    assert {i["key"]: i["status"] for i in result.document["items"]} == {
        "bad": "failed",
        "good": "ok",
    }
    assert "failed" in result.err


def test_resume_saves_the_good_outputs_of_a_failed_task(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.fail("text_to_image", "too blurry")
    words = ("text_to_image", "--prompt", "a lake", "--max-images", "2")
    assert a2e("start", *words, *KEPT).code == 0
    result = a2e("journal", "resume", "jobs.db", "--out", "out", "--json")
    assert result.code == exit_codes.PARTIAL
    (item,) = result.document["items"]
    assert item["status"] == "failed"
    assert "1 of 1 good outputs saved in " in item["error"]
    assert [str(path) for path in Path("out").absolute().iterdir()] == item["paths"]
    shown = a2e("journal", "show", "jobs.db", "talk-17", "--json").document
    assert (shown["open"], shown["succeeded"], shown["closed_by"]) == (False, False, "saved")
    assert a2e("journal", "resume", "jobs.db", "--out", "out").code == 0


def test_what_another_process_works_on_stays_with_it(a2e: Invoke, kept: list[str]) -> None:
    db = sqlite3.connect("jobs.db")
    with db:
        db.execute("INSERT INTO owners VALUES ('other', ?)", (time.monotonic() + 20,))
        db.execute("UPDATE jobs SET owner = 'other' WHERE key = 'talk-17'")
    db.close()
    result = a2e("journal", "resume", "jobs.db", "--json")
    assert result.code == exit_codes.PARTIAL
    assert (result.document["items"], result.document["foreign"]) == ([], 1)
    assert "1 entry skipped: held by another process" in result.err


def test_a_refused_key_ends_it_with_its_own_code(
    a2e: Invoke, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A2E_API_KEY", "sk_test_another_9876543210")
    skipped = a2e("journal", "resume", "jobs.db")
    assert skipped.code == exit_codes.PARTIAL
    assert (
        "3 entries of other accounts in this journal were skipped (1 of them open)" in skipped.err
    )
    former = a2e("journal", "accounts", "jobs.db", "--json").document["items"][0]["account"]
    assert a2e("journal", "adopt", "jobs.db", "--from", former, "--yes").out == "3 adopted\n"
    result = a2e("journal", "resume", "jobs.db")
    assert result.code == exit_codes.KEY
    assert len(items(a2e)) == 1


def test_a_task_without_status_operations_is_not_awaited(a2e: Invoke) -> None:
    words = ["wan30", "--model", "wan3.0-video", "--prompt", "wave", "--journal", "jobs.db"]
    ref = a2e("start", *words).out.strip()
    result = a2e("journal", "resume", "jobs.db")
    assert (result.code, result.out) == (0, "")
    assert items(a2e) == []
    assert [item["ref"] for item in items(a2e, "--all")] == [ref]


# -- prune -------------------------------------------------------------------------------------


def test_prune_forgets_what_has_ended_and_is_old(a2e: Invoke, kept: list[str]) -> None:
    words = ["journal", "prune", "jobs.db", "--older-than"]
    assert a2e(*words, "30d", "--yes", "--json").document["pruned"] == 0
    refused = a2e(*words, "0s")
    assert refused.code == exit_codes.USAGE
    assert "add --yes to prune without confirmation" in refused.err
    assert len(items(a2e, "--all")) == 3
    assert a2e(*words, "0s", "--yes").out == "2 deleted\n"
    assert [entry["ref"] for entry in items(a2e, "--all")] == kept[:1]


def test_ages() -> None:
    assert [parse_age(age) for age in ("30d", "12h", "5 m", "7S", "2w")] == [
        2_592_000,
        43_200,
        300,
        7,
        1_209_600,
    ]


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1.5d", "1y", "30 days"])
def test_an_age_that_is_none_prunes_nothing(a2e: Invoke, kept: list[str], age: str) -> None:
    result = a2e("journal", "prune", "jobs.db", f"--older-than={age}", "--yes")
    assert result.code == exit_codes.USAGE
    assert len(items(a2e, "--all")) == 3


@pytest.mark.parametrize("given", ["postgresql://me:pw-9Zq@db/a2e", "host=db password=pw-9Zq"])
def test_a_database_is_refused_as_such(
    a2e: Invoke, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """The commands read files; what is said of an address never repeats it."""
    monkeypatch.setenv("A2E_WEBHOOK_SECRET", "of this test, long enough")
    for words in (["journal", "list", given], ["webhook", "listen", "--journal", given]):
        result = a2e(*words)
        assert result.code == exit_codes.USAGE
        assert "file on this machine, but the address of a database was given" in result.err
        assert ". The Python API takes PostgreSQL, too." in result.err
        assert "pw-9Zq" not in result.err
