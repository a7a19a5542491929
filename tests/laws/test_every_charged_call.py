"""All faults of paid calls without a task: sent once, and never treated as refused."""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Budget, RetryPolicy
from a2e_async._core.journal.protocol import State
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async.errors import A2EError, StartOutcomeUnknown
from tests.hostile import Fault, HostileServer, Step
from tests.hostile.catalogue import LOST, REFUSALS
from tests.laws.conftest import MakeClient

VOICE = ID = "66ea4dd87db10c73fa29b5aa"
PNG = "https://media.example/a.png"
QUICK = RetryPolicy(initial=0.001, max_delay=0.01, max_attempts=3)

Call = Callable[[A2E], Awaitable[Any]]


async def _open_room(a2e: A2E) -> None:
    async with a2e.legacy.streaming_avatar.room(ID, expire_seconds=60):
        pass


async def _stream_prompt(a2e: A2E) -> None:
    async with a2e.image_to_video.stream_prompt(**PROMPT) as events:
        async for _ in events:
            pass


PROMPT: Any = {"reference_id": "r", "image_url": PNG, "prompt": "p", "negative_prompt": "n"}

WITH_RESULT: Mapping[str, Call] = {
    "speech": lambda a2e: a2e.speech.say("Good morning.", tts_id=VOICE),
    "watermark": lambda a2e: a2e.legacy.watermark(PNG, text="mine"),
    "transfer": lambda a2e: a2e.legacy.copy_to_storage(PNG),
    "presign": lambda a2e: a2e.legacy.upload_permit("talk.wav"),
    "room": _open_room,
    "prompt": lambda a2e: a2e.image_to_video.extend_prompt(**PROMPT),
    "image_legacy": lambda a2e: a2e.legacy.text_to_image(name="lake", prompt="a lake"),
}
"""Calls that succeed only with their result."""

WITHOUT_RESULT: Mapping[str, Call] = {
    "retry": lambda a2e: a2e.caption_removal.retry(ID),
    "retry_twin": lambda a2e: a2e.video_twin.retry(ID),
    "train": lambda a2e: a2e.video_twin.continue_training(ID),
    "eye_contact": lambda a2e: a2e.video_twin.correct_eye_contact(ID),
    "train_legacy": lambda a2e: a2e.legacy.continue_training(ID),
    "clone_voice": lambda a2e: a2e.legacy.clone_voice_of_twin(ID),
    "make_avatar": lambda a2e: a2e.text_to_image.make_avatar(ID),
}
"""Calls that succeed with any envelope of the API."""

NOT_RECORDED: Mapping[str, Call] = {
    "prompt": _stream_prompt,
    "speech": lambda a2e: a2e.request(
        "POST", "/api/v1/video/send_tts", json={"msg": "x"}, charged=True
    ),
    "add_avatar": lambda a2e: a2e.avatars.add(name="mine"),
    "add_background": lambda a2e: a2e.backgrounds.add(PNG),
    "add_face": lambda a2e: a2e.face_swap.save_face(PNG),
}
"""Calls that have no entry in the journal; the last three are free, but not to be repeated."""

CALLS = {**WITH_RESULT, **WITHOUT_RESULT}
STEPS = (Step.CHARGED, Step.PRESIGN)
ENVELOPES = ("data ", "no data", "a lone surrogate", "invalid UTF-8")
"""The names of faults that are the API's own success, with unusual data."""


def sent(hostile: HostileServer) -> Mapping[str, int]:
    """Return how often each paid call arrived."""
    return {kind: n for (step, kind), n in hostile.requests.items() if step in STEPS}


async def call_all(a2e: A2E, calls: Mapping[str, Call]) -> dict[str, Any]:
    """Make all calls at once; return results and errors."""
    results = await asyncio.gather(*(call(a2e) for call in calls.values()), return_exceptions=True)
    return dict(zip(calls, results, strict=True))


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault.name)
@pytest.mark.parametrize("after_accept", [True, False], ids=["after", "before"])
async def test_lost_calls_are_unknown(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    fault: Fault,
    after_accept: bool,
) -> None:
    """Sent once, reserved in the budget, open in the journal, and reported as unknown."""
    budget = Budget(10_000, unknown_cost=1)
    a2e = make_client(retry=QUICK, budget=budget, journal=tmp_path / "jobs.db")
    for step in STEPS:
        hostile.faults.add(step, fault, after_accept=after_accept, times=None)
    ended = await call_all(a2e, CALLS)
    succeeding = WITHOUT_RESULT if fault.name.startswith(ENVELOPES) else {}
    lost = CALLS.keys() - succeeding.keys()
    assert {name: ended[name] for name in lost if not _is_unknown(ended[name])} == {}
    assert [ended[name] for name in succeeding if isinstance(ended[name], BaseException)] == []
    assert sent(hostile) == dict.fromkeys(CALLS, 1)
    assert a2e.journal is not None
    entries, _ = await a2e.journal.entries(open_only=True)
    assert {entry.kind for entry in entries} >= {ended[name].recovery.kind for name in lost}
    assert sum(entry.state is State.INTENT for entry in entries) == len(lost)
    assert budget.reserved >= len(lost)


def _is_unknown(ended: Any) -> bool:
    return isinstance(ended, StartOutcomeUnknown)


@pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault.name)
async def test_calls_without_an_entry_are_sent_once(
    hostile: HostileServer, make_client: MakeClient, fault: Fault
) -> None:
    a2e = make_client(retry=QUICK)
    hostile.faults.add(Step.CHARGED, fault, times=None)
    ended = await call_all(a2e, NOT_RECORDED)
    wrong = [
        e for e in ended.values() if isinstance(e, BaseException) and not isinstance(e, A2EError)
    ]
    assert wrong == []
    assert hostile.count(Step.CHARGED) == len(NOT_RECORDED)


@pytest.mark.parametrize("fault", REFUSALS, ids=lambda fault: fault.name)
async def test_refused_calls_are_not_unknown(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, fault: Fault
) -> None:
    budget = Budget(10_000, unknown_cost=1)
    a2e = make_client(retry=QUICK, budget=budget, journal=tmp_path / "jobs.db")
    for step in STEPS:
        hostile.faults.add(step, fault, times=None)
    ended = await call_all(a2e, CALLS)
    assert [e for e in ended.values() if not isinstance(e, A2EError) or _is_unknown(e)] == []
    assert not hostile.ledger
    assert a2e.journal is not None
    assert list((await a2e.journal.entries())[0]) == []
    assert (budget.reserved, budget.spent) == (0, 0)


async def test_calls_whose_callers_are_cancelled_complete(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """Each is paid once, closed in the journal, and what it has made is kept."""
    budget = Budget(10_000, unknown_cost=1)
    a2e = make_client(budget=budget, journal=tmp_path / "jobs.db")
    for step in STEPS:
        hostile.faults.add(step, Fault.slow(0.2), times=None)
    callers = [asyncio.ensure_future(call(a2e)) for call in CALLS.values()]
    await _until(lambda: len(hostile.ledger) == len(CALLS))
    for caller in callers:
        caller.cancel()
    ended = await asyncio.gather(*callers, return_exceptions=True)
    assert {type(error) for error in ended} == {asyncio.CancelledError}
    await _until(lambda: not a2e.stats().paid_calls)
    assert a2e.journal is not None
    entries, _ = await a2e.journal.entries()
    assert [entry.kind for entry in entries if entry.state is State.INTENT] == []
    with_urls = {entry.kind for entry in entries if entry.urls}
    assert with_urls == {"speech", "watermark", "legacy.transfer"}
    tasks = {task.kind.name for task in a2e.unclaimed()}
    assert tasks == {"caption_removal", "text_to_image", "video_twin"}
    kept = (a2e.speech.unclaimed(), a2e.image_to_video.unclaimed_prompts())
    assert [len(results) for results in kept] == [1, 1]
    assert budget.reserved == 0
    assert sent(hostile) == dict.fromkeys(CALLS, 1)


@pytest.mark.parametrize("name", ["prompt", "speech"])
async def test_a_cancelled_call_without_an_entry_stays_reserved(
    hostile: HostileServer, make_client: MakeClient, name: str
) -> None:
    """A streamed prompt and a raw request end with their callers, but may have been charged."""
    budget = Budget(100, unknown_cost=3)
    a2e = make_client(budget=budget)
    hostile.behaviour.coins = 3
    hostile.faults.add(Step.CHARGED, Fault.slow(30))
    caller = asyncio.ensure_future(NOT_RECORDED[name](a2e))
    await _until(lambda: len(hostile.ledger))
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (budget.spent, budget.reserved) == (0, 3)


async def test_calls_of_a_killed_process_are_unknown_to_the_next(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    """What it left on disk lists each call that was sent, and its price as reserved."""
    a2e = make_client(journal=tmp_path / "jobs.db", budget=Budget(10_000, unknown_cost=3))
    for step in STEPS:
        hostile.faults.add(step, Fault.slow(3), times=None)
    callers = [asyncio.ensure_future(call(a2e)) for call in CALLS.values()]
    await _until(lambda: len(hostile.ledger) == len(CALLS))
    with (
        closing(sqlite3.connect(tmp_path / "jobs.db")) as killed,
        closing(sqlite3.connect(tmp_path / "left.db")) as left,
    ):
        killed.backup(left)
    later = SqliteJournal(tmp_path / "left.db", host_clock=lambda: time.monotonic() + 1000)
    following = make_client(journal=later)
    assert [task async for task in following.unfinished()] == []
    assert len(following.unknown()) == len(CALLS)
    assert len({recovery.path for recovery in following.unknown()}) == len(CALLS)
    assert sum(day.reserved for day in await later.spent()) >= len(CALLS)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert sent(hostile) == dict.fromkeys(CALLS, 1)


async def _until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("fault", [*LOST, *REFUSALS], ids=lambda fault: fault.name)
async def test_a_presign_is_paid_once(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, fault: Fault
) -> None:
    a2e = make_client(retry=QUICK)
    picture = tmp_path / "face.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + b"x" * 100)
    hostile.faults.add(Step.PRESIGN, fault, times=None)
    with pytest.raises(A2EError):
        await a2e.files.upload(picture)
    assert len(hostile.ledger) <= 1
