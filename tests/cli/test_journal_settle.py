"""``a2e journal settle``: entries that cannot be found are closed by hand, free of charge."""

import sqlite3
import time
from pathlib import Path

import pytest

from a2e_async.cli import exit_codes
from a2e_async.sandbox import Sandbox

from .conftest import Invoke
from .test_batch import RUN, dub, write
from .test_journal_command import DUB, KEPT, items, quick_searches

__all__ = ["quick_searches"]

SETTLE = ["journal", "settle", "jobs.db"]


def later(seconds: float = 1000) -> None:
    """Age everything in the journal."""
    db = sqlite3.connect("jobs.db")
    with db:
        db.execute("UPDATE jobs SET sent_at = sent_at - ?", (seconds,))
    db.close()


@pytest.fixture
def lost(a2e: Invoke, sandbox: Sandbox) -> str:
    """A start that was paid, and that no list shows for a long time; its ref."""
    sandbox.faults.list_lag(100_000)
    sandbox.faults.drop_after_accept()
    assert a2e("start", *DUB, *KEPT).code == exit_codes.UNKNOWN
    later()
    return f"dubbing:{sandbox.ledger.starts()[0].ids[0]}"


def test_unpaid_frees_the_key(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.drop_before_accept()
    assert a2e("start", *DUB, *KEPT).code == exit_codes.UNKNOWN
    assert sandbox.ledger.starts() == ()
    shown = a2e("journal", "list", "jobs.db")
    assert "a2e journal settle jobs.db talk-17 --as paid|unpaid" in shown.err
    early = a2e(*SETTLE, "talk-17", "--as", "unpaid", "--yes")
    assert early.code == exit_codes.USAGE
    assert "the service may list it late" in early.err
    later()
    refused = a2e(*SETTLE, "talk-17", "--as", "unpaid")
    assert refused.code == exit_codes.USAGE
    assert "--yes" in refused.err
    assert len(items(a2e)) == 1
    done = a2e(*SETTLE, "talk-17", "--as", "unpaid", "--yes")
    assert (done.code, done.out) == (0, "talk-17 deleted\n")
    assert items(a2e, "--all") == []
    assert a2e("start", *DUB, *KEPT).code == 0
    assert len(sandbox.ledger.starts()) == 1


def test_paid_keeps_the_key_from_paying_again(a2e: Invoke, sandbox: Sandbox, lost: str) -> None:
    done = a2e(*SETTLE, "talk-17", "--as", "paid", "--coins", "12", "--yes")
    assert (done.code, done.out) == (0, "talk-17 settled as paid and lost\n")
    assert items(a2e) == []
    (entry,) = items(a2e, "--all")
    assert (entry["coins"], entry["succeeded"]) == (12, False)
    assert "paid, lost" in a2e("journal", "list", "jobs.db", "--all").out
    again = a2e("start", *DUB, *KEPT)
    assert again.code == exit_codes.USAGE
    assert "closed by hand" in again.err
    write(Path("jobs.jsonl"), dub("talk-17"))
    batch = a2e("batch", "jobs.jsonl", *RUN)
    assert batch.code == exit_codes.PARTIAL
    assert "closed by hand" in batch.err
    assert a2e("journal", "resume", "jobs.db").code == 0
    assert len(sandbox.ledger.starts()) == 1
    assert a2e(*SETTLE, "talk-17", "--as", "unpaid", "--yes").code == exit_codes.USAGE


def test_a_task_that_was_found_by_hand(a2e: Invoke, sandbox: Sandbox, lost: str) -> None:
    other = a2e("start", *DUB, "--journal", "jobs.db").out.strip()
    for task, why in (
        (lost.replace("dubbing", "upscale"), "is a task of upscale"),
        (other, "is already the task of"),
        ("nonsense", "is not a task ref"),
    ):
        refused = a2e(*SETTLE, "talk-17", "--as", "paid", "--task", task, "--yes")
        assert refused.code == exit_codes.USAGE
        assert why in refused.err
    done = a2e(*SETTLE, "talk-17", "--as", "paid", "--task", lost, "--yes")
    assert (done.code, done.out) == (0, f"talk-17 settled as {lost}\n")
    assert "a2e journal resume jobs.db" in done.err
    saved = a2e("journal", "resume", "jobs.db", "--out", "out", "--json")
    assert saved.code == 0, saved.err
    assert {item["key"]: item["status"] for item in saved.document["items"]}["talk-17"] == "ok"
    assert a2e("start", *DUB, *KEPT).out.strip() == lost


def test_a_call_without_a_task_is_shown_and_closed(a2e: Invoke, sandbox: Sandbox) -> None:
    """Speech without a response stays in the journal until the user settles it."""
    import asyncio

    from a2e_async import A2E
    from a2e_async.errors import StartOutcomeUnknown

    async def lose() -> None:
        async with A2E(sandbox.api_key, base_url=sandbox.base_url, journal="jobs.db") as client:
            voice = (await client.voices.public())[0]
            sandbox.faults.http_error(502, role="action", kind="avatar_video", accepted=True)
            with pytest.raises(StartOutcomeUnknown):
                await client.speech.say("Good morning.", tts_id=voice.id)

    async def unknown() -> list[str]:
        async with A2E(sandbox.api_key, base_url=sandbox.base_url, journal="jobs.db") as client:
            assert [task async for task in client.unfinished()] == []
            assert [task async for task in client.unfinished()] == []
            return [found.kind for found in client.unknown()]

    asyncio.run(lose())
    assert asyncio.run(unknown()) == ["speech"]
    (entry,) = items(a2e)
    assert (entry["kind"], entry["state"]) == ("speech", "intent")
    resumed = a2e("journal", "resume", "jobs.db")
    assert resumed.code == exit_codes.PARTIAL
    assert "a speech call was sent and not found" in resumed.err
    assert "a2e credits --history" in resumed.err
    task = a2e(*SETTLE, entry["key"], "--as", "paid", "--task", "dubbing:66ea4dd8", "--yes")
    assert task.code == exit_codes.USAGE
    assert a2e(*SETTLE, entry["key"], "--as", "paid", "--coins", "2", "--yes").code == 0
    assert items(a2e) == []
    assert a2e("journal", "resume", "jobs.db").code == 0


def test_what_needs_no_settling(a2e: Invoke, sandbox: Sandbox) -> None:
    assert a2e("start", *DUB, *KEPT).code == 0
    known = a2e(*SETTLE, "talk-17", "--as", "paid", "--yes")
    assert known.code == exit_codes.USAGE
    assert "a2e journal resume waits for it" in known.err
    assert a2e("run", *DUB, *KEPT, "--out", "out").code == 0
    assert "is done" in a2e(*SETTLE, "talk-17", "--as", "unpaid", "--yes").err
    assert "jobs.db has no key" in a2e(*SETTLE, "other", "--as", "paid", "--yes").err
    assert a2e(*SETTLE, "talk-17", "--as", "maybe").code == exit_codes.USAGE
    assert a2e(*SETTLE, "talk-17").code == exit_codes.USAGE


def test_what_another_process_works_on(a2e: Invoke, lost: str) -> None:
    db = sqlite3.connect("jobs.db")
    with db:
        db.execute("INSERT INTO owners VALUES ('other', ?)", (time.monotonic() + 20,))
        db.execute("UPDATE jobs SET owner = 'other'")
    db.close()
    result = a2e(*SETTLE, "talk-17", "--as", "unpaid", "--yes")
    assert result.code == exit_codes.USAGE
    assert "Another process works on" in result.err
    refused = a2e(*SETTLE, "talk-17", "--as", "unpaid", "--coins", "3", "--yes")
    assert refused.code == exit_codes.USAGE
