"""Starts, ends and files as the journal records them, and how another client resumes them."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Status
from a2e_async._core.journal.protocol import BeginResult, Entry, State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import (
    ConfigurationError,
    InvalidInput,
    InvalidRequest,
    JournalError,
    KeyConflict,
    StartOutcomeUnknown,
    TaskFailed,
    TaskGone,
)
from a2e_async.sandbox import Sandbox, media

from .conftest import DUB, TALK, MakeClient

pytestmark = pytest.mark.anyio


def entries_on_disk(journal: Path) -> list[sqlite3.Row]:
    """Return the journal's entries as they are on disk."""
    db = sqlite3.connect(journal)
    db.row_factory = sqlite3.Row
    try:
        return db.execute("SELECT * FROM jobs ORDER BY seq").fetchall()
    finally:
        db.close()


def states(journal: Path) -> list[int]:
    return [row["state"] for row in entries_on_disk(journal)]


async def test_from_start_to_file(a2e: A2E, journal: Path, tmp_path: Path) -> None:
    """Accepted, finished and saved are each recorded at the right time."""
    task = await a2e.dubbing.start(**DUB, key="talk-17", meta={"user": 5})
    assert states(journal) == [2]
    record = await task
    assert states(journal) == [3]
    await record.output.save(tmp_path / "talk.mp3")
    assert states(journal) == [4]
    (row,) = entries_on_disk(journal)
    assert (row["key"], row["kind"]) == ("talk-17", "dubbing")
    assert row["ids"] == task.ids[0]
    assert "talk.mp3" in row["paths"]


async def test_several_outputs_are_saved_when_all_are(
    a2e: A2E, journal: Path, tmp_path: Path
) -> None:
    """A task with two files is not saved after the first."""
    task = await a2e.text_to_image.start(prompt="a lake", max_images=2)
    record = await task
    await record.outputs[0].save(tmp_path / "a.png")
    assert states(journal) == [3]
    await task.download(tmp_path / "out")
    assert states(journal) == [4]


async def test_a_kind_without_files_is_done_at_its_end(a2e: A2E, journal: Path) -> None:
    """A cloned voice has no file to save."""
    await a2e.voice_clone.run(voice_urls=["https://m.example/a.wav"])
    assert states(journal) == [4]


async def test_a_failed_task_is_no_longer_open(a2e: A2E, sandbox: Sandbox, journal: Path) -> None:
    """A failure is recorded with its reason, and the task is not resumed."""
    sandbox.faults.fail("dubbing")
    with pytest.raises(TaskFailed):
        await a2e.dubbing.run(**DUB)
    (row,) = entries_on_disk(journal)
    assert (row["state"], row["succeeded"]) == (3, 0)
    assert [task async for task in a2e.unfinished()] == []


async def test_a_refused_start_is_dropped(a2e: A2E, sandbox: Sandbox, journal: Path) -> None:
    """A refused start is dropped, so its key is free again."""
    sandbox.faults.http_error(400, role="start")
    with pytest.raises(InvalidRequest):
        await a2e.dubbing.start(**DUB, key="k")
    assert entries_on_disk(journal) == []
    await a2e.dubbing.start(**{**DUB, "target_lang": "fr"}, key="k")


async def test_a_key_has_one_task_forever(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A key has one task: in the same client, in a concurrent one and in a later one."""
    first, second = make_client(), make_client()
    tasks = await asyncio.gather(
        *(client.dubbing.start(**DUB, key="k") for client in (first, second, first, second))
    )
    await first.aclose()
    later = await make_client().dubbing.start(**DUB, key="k")
    assert {task.ids for task in (*tasks, later)} == {tasks[0].ids}
    assert len(sandbox.ledger.starts()) == 1
    assert (await later).status is Status.SUCCEEDED
    with pytest.raises(KeyConflict) as caught:
        await second.dubbing.start(**{**DUB, "target_lang": "fr"}, key="k")
    assert caught.value.ref == tasks[0].ref
    with pytest.raises(KeyConflict):
        await second.talking_video.start(**TALK, key="k")


async def test_unfinished_after_a_restart(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Running tasks, and finished but unsaved ones, are resumed; saved and failed ones are not."""
    before = make_client()
    kept = await before.dubbing.start(**DUB, key="kept", meta={"n": 1})
    await before.dubbing.run(**DUB, key="unsaved")
    saved = await before.dubbing.run(**DUB, key="saved")
    await saved.output.save(tmp_path / "saved.mp3")
    await before.aclose()
    after = make_client()
    found = {task.key: task async for task in after.unfinished()}
    assert set(found) == {"kept", "unsaved"}
    assert found["kept"].ids == kept.ids
    assert found["kept"].meta == {"n": 1}
    for task in found.values():
        await task.download(tmp_path)
    assert [task async for task in after.unfinished()] == []
    assert len(sandbox.ledger.starts()) == 3


async def test_an_acknowledged_task_is_not_resumed(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """A result can be acknowledged without saving its files, but not before the task has ended."""
    sandbox.faults.stuck(times=1)
    a2e = make_client()
    task = await a2e.dubbing.start(**DUB)
    with pytest.raises(InvalidInput, match="not ended"):
        await task.ack()
    sent_on, unsent = [await a2e.dubbing.start(**DUB, key=key) for key in ("sent", "unsent")]
    await sent_on
    await unsent
    await sent_on.ack()
    await sent_on.ack()
    assert {task.key async for task in a2e.unfinished()} == {task.key, "unsent"}
    async with A2E(sandbox.api_key, base_url=sandbox.base_url) as plain:
        attached = plain.attach(sent_on.ref)
        await attached
        await attached.ack()  # has no effect without a journal


async def test_entries_of_a_living_owner_are_not_resumed(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """An entry of a living owner is not resumed."""
    owner = make_client()
    await owner.dubbing.start(**DUB)
    assert [task async for task in make_client().unfinished()] == []
    assert len([task async for task in owner.unfinished()]) == 1


async def test_a_lost_start_is_searched_for_once(
    make_client: MakeClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A browser repeats a start that the restarted app is already searching for."""
    before = make_client(start_timeout=0.2)
    sandbox.faults.list_lag(100_000)
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown):
        await before.dubbing.start(**DUB, key="k")
    await before.aclose()
    monkeypatch.setattr("a2e_async._core.submission.recovery_search.SCAN_DELAYS", (0.01, 0.3, 0.3))
    after = make_client()
    scans = sandbox.calls["list", "dubbing"]

    async def resume() -> list[Any]:
        return [task async for task in after.unfinished()]

    resuming = asyncio.create_task(resume())
    while sandbox.calls["list", "dubbing"] == scans:
        await asyncio.sleep(0.005)
    starting = asyncio.create_task(after.dubbing.start(**DUB, key="k"))
    await asyncio.sleep(0.05)
    sandbox.advance(100_000)
    (task,) = await resuming
    assert (await starting).ids == task.ids == sandbox.ledger.starts()[0].ids
    assert after.unknown() == ()


@pytest.mark.parametrize("named", [None, "talk"])
async def test_a_lost_start_is_found_by_the_next_client(
    make_client: MakeClient, sandbox: Sandbox, journal: Path, named: str | None
) -> None:
    """The intent is enough to find it, with a mark or with a user's name."""
    before = make_client()
    sandbox.faults.list_lag(100_000)
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown):
        await before.dubbing.start(**DUB, name=named, key="k")
    assert states(journal) == [1]
    await before.aclose()
    after = make_client()
    assert [task async for task in after.unfinished()] == []
    # It is logged.
    assert [recovery.kind for recovery in after.unknown()] == ["dubbing"]
    sandbox.advance(100_000)
    (task,) = [task async for task in after.unfinished()]
    assert task.ids == sandbox.ledger.starts()[0].ids
    assert states(journal) == [2]
    assert (await after.dubbing.start(**DUB, name=named, key="k")).ids == task.ids
    assert len(sandbox.ledger.starts()) == 1


async def test_the_same_key_searches_again(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A start that was lost under a key is searched for when the key is used again."""
    client = make_client()
    sandbox.faults.list_lag(100_000)
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown):
        await client.dubbing.start(**DUB, key="k")
    with pytest.raises(StartOutcomeUnknown):
        await client.dubbing.start(**DUB, key="k")
    sandbox.advance(100_000)
    task = await client.dubbing.start(**DUB, key="k")
    assert task.ids == sandbox.ledger.starts()[0].ids
    assert len(sandbox.ledger.starts()) == 1


async def test_resubmitting_after_proved_absence(
    make_client: MakeClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only if enabled, if the list shows names, and after enough time."""
    monkeypatch.setattr("a2e_async._core.submission.executor.MIN_AGE_FOR_RESEND", 0.3)
    careful = make_client()
    await careful.dubbing.start(**DUB)  # its mark proves that the list shows names
    sandbox.faults.drop_before_accept()
    with pytest.raises(StartOutcomeUnknown):
        await careful.dubbing.start(**DUB, key="k")
    await careful.aclose()
    bold = make_client(on_unknown="resend_may_pay_twice")
    task = await bold.dubbing.start(**DUB, key="k")
    assert len(sandbox.ledger.starts()) == 2
    assert task.ids == sandbox.ledger.starts()[1].ids


async def test_absence_is_not_proved_if_no_name_was_shown(
    make_client: MakeClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty list does not prove that the list shows names."""
    monkeypatch.setattr("a2e_async._core.submission.executor.MIN_AGE_FOR_RESEND", 0.01)
    bold = make_client(on_unknown="resend_may_pay_twice")
    sandbox.faults.drop_before_accept()
    with pytest.raises(StartOutcomeUnknown):
        await bold.dubbing.start(**DUB)
    assert sandbox.calls["start", "dubbing"] == 1


async def test_a_withdrawn_start_is_dropped(
    make_client: MakeClient, sandbox: Sandbox, journal: Path
) -> None:
    """Cancelled before it was sent: neither in the journal nor charged."""
    client = make_client(rate=1, burst=1)
    await client.dubbing.start(**DUB)
    waiting = asyncio.create_task(client.dubbing.start(**DUB, key="k"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.wait([waiting])
    await client.aclose()
    assert [row["key"] for row in entries_on_disk(journal) if row["key"] == "k"] == []
    assert len(sandbox.ledger.starts()) == 1


async def test_without_a_journal(make_client: MakeClient) -> None:
    """The error tells that a journal is needed."""
    client = make_client(journal=None)
    with pytest.raises(ConfigurationError, match="needs a journal"):
        [task async for task in client.unfinished()]


@pytest.mark.parametrize("bad", [5, b"jobs.db", object(), ["jobs.db"]])
def test_invalid_journals(make_client: MakeClient, bad: object) -> None:
    """`journal` must be a path or a journal."""
    with pytest.raises(ConfigurationError):
        make_client(journal=bad)


async def test_a_journal_that_cannot_be_written(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Nothing is started that cannot be recorded."""
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database" * 100)
    client = make_client(journal=broken)
    with pytest.raises(JournalError):
        await client.dubbing.start(**DUB)
    assert sandbox.ledger.starts() == ()


async def test_paid_calls_that_are_no_tasks(
    make_client: MakeClient, sandbox: Sandbox, journal: Path
) -> None:
    """For speech the intent and the URL are recorded: the service has no list of it."""
    a2e = make_client()
    voice = (await a2e.voices.public())[0].id
    said = await a2e.speech.say("Good morning.", tts_id=voice)
    (row,) = entries_on_disk(journal)
    assert (row["kind"], row["state"]) == ("speech", 4)
    assert said.url in row["urls"]
    sandbox.faults.http_error(400, role="action", kind="avatar_video")
    with pytest.raises(InvalidRequest):
        await a2e.speech.say("Good morning.", tts_id=voice)
    assert len(entries_on_disk(journal)) == 1
    sandbox.faults.http_error(502, role="action", kind="avatar_video", accepted=True)
    with pytest.raises(StartOutcomeUnknown):
        await a2e.speech.say("Good morning.", tts_id=voice)
    assert sorted(states(journal)) == [1, 4]
    assert [task async for task in a2e.unfinished()] == []


async def test_a_start_is_two_durable_steps(
    a2e: A2E, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a user's key: the intent reserves the key if nothing is paid before."""
    steps: list[str] = []
    for name in ("begin", "advance", "drop", "acquire"):
        real = getattr(SqliteJournal, name)

        def noted(*args: Any, _real: Any = real, _name: str = name, **kwargs: Any) -> Any:
            steps.append(_name)
            return _real(*args, **kwargs)

        monkeypatch.setattr(SqliteJournal, name, noted)
    await a2e.dubbing.start(**DUB, key="k")
    assert steps == ["begin", "advance"]
    steps.clear()
    picture = media.portrait().read_bytes()
    await a2e.image_to_video.start(
        image_url=picture, prompt="p", negative_prompt="n", key="with a file"
    )
    assert steps == ["begin", "advance", "advance"]


@pytest.mark.parametrize("key", [True, False], ids=["a key", "no key"])
async def test_cancelled_at_every_await(
    a2e: A2E, sandbox: Sandbox, journal: Path, key: bool
) -> None:
    """Nothing unsent is recorded as possibly charged, and nothing charged is lost."""
    for turns in range(0, 70, 2):
        own = {"key": f"k{turns}"} if key else {}
        work = asyncio.create_task(a2e.dubbing.start(**DUB, **own))
        for _ in range(turns):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    await a2e.aclose()
    kept = {row["ids"] for row in entries_on_disk(journal)}
    assert kept == {charge.ids[0] for charge in sandbox.ledger.starts()}
    assert set(states(journal)) <= {2}


async def test_two_clients_race_for_a_key(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Both find the key free and one reserves it. The other gets its task, or `KeyConflict`."""
    one, two = make_client(), make_client()
    for n in range(12):
        same = await asyncio.gather(*(c.dubbing.start(**DUB, key=f"k{n}") for c in (one, two)))
        assert same[0].ids == same[1].ids
        other = {**DUB, "target_lang": "fr"}
        ended = await asyncio.gather(
            one.dubbing.start(**DUB, key=f"x{n}"),
            two.dubbing.start(**other, key=f"x{n}"),
            return_exceptions=True,
        )
        assert sum(isinstance(end, KeyConflict) for end in ended) == 1, ended
    assert len(sandbox.ledger.starts()) == 24


PROMPT: Any = {
    "reference_id": "r1",
    "prompt": "a lake",
    "negative_prompt": "blurry",
    "image_url": "https://media.example/face.png",
}


@pytest.mark.parametrize("cut", [True, False], ids=["cancelled", "waited for"])
async def test_a_paid_call_outlives_its_caller(
    make_client: MakeClient, sandbox: Sandbox, journal: Path, cut: bool
) -> None:
    """A call that may be charged completes and is recorded, even without a caller."""
    a2e = make_client()
    picture = await a2e.text_to_image.run(prompt="a lake")
    calls: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
        "image_to_video.extend_prompt": lambda: a2e.image_to_video.extend_prompt(**PROMPT),
        "text_to_image.make_avatar": lambda: a2e.text_to_image.make_avatar(picture.parts[0].id),
        "legacy.transfer": lambda: a2e.legacy.copy_to_storage("https://media.example/clip.mp4"),
        "legacy.upload_permit": lambda: a2e.legacy.upload_permit("a.png"),
    }
    for kind, call in calls.items():
        work = asyncio.create_task(call())
        while kind not in {row["kind"] for row in entries_on_disk(journal)}:
            await asyncio.sleep(0)
        if cut:
            await asyncio.sleep(0.001)
            work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    await a2e.aclose()
    made = {row["kind"]: row["state"] for row in entries_on_disk(journal) if row["kind"] in calls}
    # A start that was withdrawn before it was sent leaves no entry.
    assert set(made.values()) <= {4}
    assert cut or made.keys() == calls.keys()


async def test_a_cancelled_prompt_is_unclaimed(a2e: A2E, sandbox: Sandbox) -> None:
    """The text of a cancelled prompt may have been charged, so it is kept."""
    sandbox.faults.slow(0.2, role="action", kind="image_to_video")
    work = asyncio.create_task(a2e.image_to_video.extend_prompt(**PROMPT))
    while not sandbox.calls["action", "image_to_video"]:
        await asyncio.sleep(0.01)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await a2e.aclose()
    assert [found.prompt for found in a2e.image_to_video.unclaimed_prompts()]


async def test_a_users_key_may_look_generated(a2e: A2E, sandbox: Sandbox, journal: Path) -> None:
    """A user's key that looks like a generated one is recorded as any other."""
    sandbox.faults.list_lag(1e9)
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown):
        await a2e.dubbing.start(**DUB, key="auto:mine")
    assert [(row["state"], row["own_key"]) for row in entries_on_disk(journal)] == [(1, 0)]


async def test_a_known_key_skips_the_rate_limiter(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """Nothing is sent for a known key, so the rate limiter is not used."""
    known = await make_client().dubbing.start(**DUB, key="k")
    slow = make_client(rate=0.001, burst=1)
    async with asyncio.timeout(60):  # waiting for the rate limiter would take 1,000 s
        for _ in range(3):
            assert (await slow.dubbing.start(**DUB, key="k")).ids == known.ids
        with pytest.raises(KeyConflict):
            await slow.dubbing.start(**{**DUB, "target_lang": "fr"}, key="k")
        await slow.dubbing.start(**DUB, key="new")
        # The rate limit is used up now; a known key still does not wait for it.
        assert (await slow.dubbing.start(**DUB, key="k")).ids == known.ids
    assert len(sandbox.ledger.charges) == 2


async def test_the_intent_alone_reserves_a_free_key(make_client: MakeClient, journal: Path) -> None:
    """An immediate start needs two writes, with a user's key as well as without."""
    steps: list[str] = []

    class Counting(SqliteJournal):
        async def begin(self, entry: Entry) -> BeginResult:
            steps.append(f"begin {entry.state.name}")
            return await super().begin(entry)

        async def get(self, key: str) -> Entry | None:
            steps.append("get")
            return await super().get(key)

    a2e = make_client(journal=Counting(journal))
    await a2e.dubbing.start(**DUB, key="k")
    assert steps == ["begin INTENT"]
    steps.clear()
    fresh = make_client(journal=Counting(journal))
    await fresh.dubbing.start(**DUB, key="k")
    assert steps[0] == "begin INTENT"
    assert states(journal) == [2]


async def test_kinds_without_polling_are_closed_at_once(a2e: A2E, journal: Path) -> None:
    """A kind that can only be started is closed at once."""
    await a2e.wan30.start(model="wan3.0-video", prompt="a lake")
    assert states(journal) == [4]
    assert [task async for task in a2e.unfinished()] == []


async def test_a_deleted_task_is_missing(
    make_client: MakeClient, sandbox: Sandbox, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task deleted at the service is not polled in every run, but its entry stays open."""
    monkeypatch.setattr("a2e_async._core.polling.schedule.NOT_FOUND_SECONDS", 0.2)
    a2e = make_client()
    task = await a2e.talking_video.start(**TALK)
    sandbox.advance(3600)  # only tasks that have ended can be deleted
    await task.delete()
    with pytest.raises(TaskGone):
        await a2e.attach(task.ref).wait(timeout=30)
    (row,) = entries_on_disk(journal)
    assert (row["state"], row["succeeded"], row["closed_by"]) == (2, None, None)
    assert row["missing_since"] is not None
    assert [task async for task in a2e.unfinished()] == []
    assert [one.ref async for one in a2e.unfinished(missing=True)] == [task.ref]


async def test_what_was_spent(make_client: MakeClient, sandbox: Sandbox) -> None:
    """The client's journal sums up the coins by day and kind."""
    a2e = make_client()
    await a2e.talking_video.start(**TALK)
    await a2e.image_to_video.start(
        image_url="https://m.example/a.png", prompt="p", negative_prompt="n"
    )
    assert a2e.journal is not None
    sums = {one.kind: one.coins for one in await a2e.journal.spent()}
    assert sums == {charge.kind: charge.coins for charge in sandbox.ledger.starts()}
    assert make_client(journal=None).journal is None


async def test_a_task_made_by_a_retry_is_recorded(
    make_client: MakeClient, sandbox: Sandbox, journal: Path
) -> None:
    """A retried task is paid and new, and the next client resumes it."""
    first = make_client()
    sandbox.faults.fail("caption_removal")
    task = await first.caption_removal.start(source_url="https://m.example/a.mp4")
    with pytest.raises(TaskFailed):
        await task
    again = await first.caption_removal.retry(task.ids[0])
    assert again.ids != task.ids
    await first.aclose()
    (found,) = [one async for one in make_client().unfinished()]
    assert found.ids == again.ids
    assert (await found).output


async def test_a_key_started_during_unfinished(
    make_client: MakeClient, sandbox: Sandbox, journal: Path
) -> None:
    """An unsent start of a dead process is dropped, but not a new one with the same key."""
    portrait = media.portrait()
    move = {"image_url": portrait, "prompt": "wave", "negative_prompt": "blurry"}
    first = make_client()
    await first.dubbing.start(**DUB, key="one")
    job = first.image_to_video.job(**move, key="two")
    digest = await first._components.start_registry.input_digest(job.kind, job.input)  # pyright: ignore[reportPrivateUsage]
    assert first.journal is not None
    for key in ("two", "three"):
        await first.journal.begin(Entry(key=key, kind="image_to_video", digest=digest))
    await first.aclose()
    second = make_client()
    unfinished = second.unfinished()
    await anext(unfinished)  # the caller takes a while to process it
    sandbox.faults.slow(0.5, "start", accepted=True)
    starting = asyncio.create_task(second.image_to_video.start(**move, key="two"))
    async with asyncio.timeout(10):
        while not sandbox.ledger.starts("image_to_video"):
            await asyncio.sleep(0.01)
    assert [task async for task in unfinished] == []
    assert second.journal is not None
    entry = await second.journal.get("two")
    assert entry is not None
    assert entry.state >= State.INTENT
    assert await second.journal.get("three") is None
    assert (await starting).key == "two"


async def test_a_journal_that_blocks_the_close_loses_no_task(
    make_client: MakeClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("a2e_async._core.submission.starts.CLOSE_TIMEOUT", 0.2)
    hung = asyncio.Event()

    async def hang(*_: object) -> None:
        hung.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("a2e_async._core.journal.recorder.JournalRecorder.record_accepted", hang)
    client = make_client()
    starting = asyncio.create_task(client.dubbing.start(**DUB))
    await hung.wait()
    await client.aclose()
    assert (await starting).ids == sandbox.ledger.starts()[0].ids
