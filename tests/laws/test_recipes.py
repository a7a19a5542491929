"""A recipe pays for each step once, whatever fails in it or between its steps."""

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E, Budget
from a2e_async.errors import (
    A2EError,
    BudgetExceeded,
    InvalidInput,
    KeyConflict,
    StartOutcomeUnknown,
    TaskFailed,
)
from a2e_async.sandbox import media
from tests.hostile import Fault, HostileServer, Step
from tests.laws.conftest import MakeClient
from tests.laws.lives import live_recipe
from tests.laws.test_killed import ServerThread, processes

DUB = {"video_url": "https://media.example/talk.mp4", "target_lang": "es", "key": "talk"}
SPEAK = {
    "text": "Hello.",
    "anchor_id": "66ea4dd87db10c73fa29b570",
    "tts_id": "66ea4dd87db10c73fa29b571",
}
STEPS = ("dubbing", "talking_video")


async def dub(a2e: A2E, **changes: Any) -> Path:
    made = await a2e.recipes.dub_video(**{**DUB, **changes})
    return await made.output.save("es.mp4")


@pytest.fixture(autouse=True)
def _in_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def paid(server: HostileServer) -> list[str]:
    return [
        start.kind for start in server.ledger if start.kind in (*STEPS, "speech", "avatar_video")
    ]


LOST = {
    "reset": Fault.disconnect(),
    "gateway page": Fault.page(502),
    "cut response": Fault.cut(),
    "refused": Fault.refusal(),
}


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("step", [Step.START, Step.DETAIL, Step.LIST])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("fault", LOST)
async def test_each_step_is_paid_once(
    hostile: HostileServer, make_client: MakeClient, kind: str, step: Step, after: bool, fault: str
) -> None:
    """Run until it succeeds, each time by a new client, as after a restart."""
    hostile.faults.add(step, LOST[fault], kind=kind, after_accept=after)
    path: Path | None = None
    for _ in range(3):
        a2e = make_client(journal="jobs.db")
        try:
            path = await dub(a2e)
            break
        except StartOutcomeUnknown:
            assert step is Step.START
            assert not after  # it was charged, and the service's list shows it
            return
        except A2EError:
            pass
        finally:
            await a2e.aclose()
        assert paid(hostile).count(kind) <= 1
    assert path is not None
    assert paid(hostile) == list(STEPS)
    (_, lip_sync) = hostile.ledger
    (id,) = lip_sync.ids
    assert path.read_bytes() == hostile.tasks[id].content()


async def test_the_second_step_uses_the_result_of_the_first(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    a2e = make_client(journal="jobs.db")
    made = await a2e.recipes.dub_video(**DUB)
    assert hostile.ledger.starts[1].body["video_url"] == DUB["video_url"]
    sound = hostile.ledger.starts[1].body["audio_url"]
    assert sound.partition("?")[0] == made.sound.url.partition("?")[0]
    assert [task.kind.name async for task in a2e.unfinished()] == ["talking_video"]
    await made.output.save("es.mp4")
    assert [task async for task in a2e.unfinished()] == []


async def test_a_stream_serves_both_steps(hostile: HostileServer, make_client: MakeClient) -> None:
    """It can be read once; the second step must not fail for that after the first is paid."""
    clip = media.clip().read_bytes()

    async def stream() -> AsyncIterator[bytes]:
        yield clip[:1000]
        yield clip[1000:]

    await dub(make_client(), video_url=stream())
    assert paid(hostile) == list(STEPS)
    first, second = (start for start in hostile.ledger if start.kind in STEPS)
    assert first.body["source_url"] == second.body["video_url"]


async def test_a_failed_second_step_tells_where_the_sound_is(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    hostile.behaviour.fails = lambda body: "audio_url" in body
    a2e = make_client(journal="jobs.db")
    with pytest.raises(TaskFailed) as failed:
        await dub(a2e)
    (note,) = failed.value.__notes__
    ref = f"dubbing:{hostile.ledger.ids[0]}"
    assert ref in note
    assert await a2e.attach(ref).download("sound/")
    with pytest.raises(TaskFailed):
        await dub(a2e)
    assert paid(hostile) == list(STEPS)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"duration": 21}, "duration"),
        ({"prompt": ""}, "prompt"),
        ({"target_lang": 3}, "target_lang"),
        ({"key": " "}, "key"),
        ({"key": "k" * 199}, "key"),
        ({"video_url": "no-such-file.mp4"}, "video_url: no-such-file.mp4"),
        ({"video_url": media.speech()}, "video is required here"),
    ],
)
async def test_wrong_inputs_of_either_step_cost_nothing(
    hostile: HostileServer, make_client: MakeClient, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidInput, match=text):
        await dub(make_client(), **changes)
    assert len(hostile.ledger) == 0


async def test_a_budget_covers_both_steps(hostile: HostileServer, make_client: MakeClient) -> None:
    """Nothing is paid if the second step would not fit; a later run counts what is paid."""
    first = make_client(journal="jobs.db", budget=Budget(10_000))
    await dub(first)
    coins = hostile.ledger.coins
    for spare in (0, 1):
        hostile.ledger.starts.clear()
        a2e = make_client(journal="others.db", budget=coins - 1 + spare)
        if spare:
            await dub(a2e)
        else:
            with pytest.raises(BudgetExceeded):
                await dub(a2e)
            assert paid(hostile) == []
    again = make_client(journal="jobs.db", budget=coins)
    await dub(again)
    assert paid(hostile) == list(STEPS)


@pytest.mark.parametrize("journal", [None, "jobs.db"])
async def test_speech_is_paid_once(
    hostile: HostileServer, make_client: MakeClient, journal: str | None
) -> None:
    """The second step fails to be sent; the same call goes on with the paid speech."""
    a2e = make_client(journal=journal)
    hostile.faults.add(Step.START, Fault.refusal(), kind="avatar_video")
    with pytest.raises(A2EError):
        await a2e.recipes.speak_video(**SPEAK, key="hello")
    assert paid(hostile) == ["speech"]
    if journal:
        a2e = make_client(journal=journal)
    made = await a2e.recipes.speak_video(**SPEAK, key="hello")
    assert await made.output.save("hello.mp4")
    assert paid(hostile) == ["speech", "avatar_video"]
    with pytest.raises(KeyConflict):
        await a2e.recipes.speak_video(**{**SPEAK, "text": "Other."}, key="hello")
    assert paid(hostile) == ["speech", "avatar_video"]


@pytest.mark.parametrize("journal", [None, "jobs.db"])
async def test_speech_without_a_response_is_never_sent_again(
    hostile: HostileServer, make_client: MakeClient, journal: str | None
) -> None:
    """The service has no list to search, so it may have been charged."""
    hostile.faults.add(Step.CHARGED, Fault.disconnect(), after_accept=True)
    a2e = make_client(journal=journal)
    for _ in range(2):
        with pytest.raises(StartOutcomeUnknown):
            await a2e.recipes.speak_video(**SPEAK, key="hello")
        if journal:
            await a2e.aclose()
            a2e = make_client(journal=journal)
    assert paid(hostile) == ["speech"]


@pytest.mark.skipif(sys.platform == "win32", reason="the process is killed by a signal")
@pytest.mark.parametrize("turns", range(20, 20 + 24 * int(os.environ.get("A2E_LIVES", "12")), 24))
def test_a_killed_recipe_is_continued(tmp_path: Path, turns: int) -> None:
    """Killed at any event-loop iteration, in a step or between them, then run again."""
    thread = ServerThread()
    try:
        for number, doom in enumerate((turns, turns + 7, None)):
            arguments = thread.server.base_url, tmp_path, number, doom
            process = processes.Process(target=live_recipe, args=arguments)
            process.start()
            process.join(60)
            assert process.exitcode is not None, "the program hangs"
            assert paid(thread.server) in ([], ["dubbing"], list(STEPS))
        if process.exitcode == 0:
            assert paid(thread.server) == list(STEPS)
            (id,) = thread.server.ledger.starts[-1].ids
            assert (tmp_path / "es.mp4").read_bytes() == thread.server.tasks[id].content()
        else:  # killed with a request under way that the service never got
            assert process.exitcode == 3
    finally:
        thread.close()
