"""Starts without a response are searched for and recovered."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, cast

import pytest

from a2e_async import A2E, ApiResponse, Recovery
from a2e_async._core.submission.recovery_search import scan_lists
from a2e_async.errors import InvalidInput, StartOutcomeUnknown
from a2e_async.events import Accepted, Event, StartLost
from a2e_async.kinds.registry import kind_named
from a2e_async.sandbox import Sandbox

from .conftest import DUB, MOVE, TALK, MakeClient, paid, starts_sent

FACE = "https://media.example/face.png"


@pytest.mark.parametrize("lag", [0.0, 30.0])
async def test_found(make_client: MakeClient, sandbox: Sandbox, lag: float) -> None:
    """The start returns its task even if the list shows it a moment later."""
    events: list[Event] = []
    client = make_client(on_event=events.append)
    sandbox.faults.list_lag(lag)  # of the service's time; 0.05 s of ours
    sandbox.faults.drop_after_accept()
    task = await client.dubbing.start(**DUB, key="k", meta={"a": 1})
    assert task.ids == paid(sandbox)[0].ids
    assert task.meta == {"a": 1}
    assert (await client.dubbing.start(**DUB, key="k")) is task
    assert (await task).output
    assert starts_sent(sandbox) == 1
    assert [type(e) for e in events if isinstance(e, Accepted | StartLost)] == [Accepted]


async def test_several_outputs(a2e: A2E, sandbox: Sandbox) -> None:
    """A start that makes several tasks is found with all of them."""
    sandbox.faults.drop_after_accept()
    task = await a2e.image_to_video.start(**MOVE, number_of_images=3)
    assert sorted(task.ids) == sorted(paid(sandbox)[0].ids)
    assert len((await task).outputs) == 3


async def test_many_share_their_scans(a2e: A2E, sandbox: Sandbox) -> None:
    """Twenty lost starts of a kind share one search."""
    sandbox.faults.drop_after_accept(times=None)
    tasks = await asyncio.gather(*(a2e.talking_video.start(**TALK) for _ in range(20)))
    assert sorted(t.ids for t in tasks) == sorted(c.ids for c in paid(sandbox))
    assert sandbox.calls["list", "talking_video"] <= 6


async def test_under_a_users_name(a2e: A2E, sandbox: Sandbox) -> None:
    """An earlier task with the same name and inputs is not adopted."""
    first = await a2e.dubbing.start(**DUB, name="talk")
    sandbox.faults.drop_after_accept()
    second = await a2e.dubbing.start(**DUB, name="talk")
    assert [first.ids, second.ids] == [c.ids for c in paid(sandbox)]


async def test_candidates(make_client: MakeClient, sandbox: Sandbox) -> None:
    """If another client started the same job, both are candidates and none is adopted."""
    await make_client().dubbing.start(**DUB, name="talk")
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown, match="candidates") as caught:
        await make_client().dubbing.start(**DUB, name="talk")
    assert {c.id for c in caught.value.candidates} == {c.ids[0] for c in paid(sandbox)}
    assert starts_sent(sandbox) == 2


async def test_without_a_name(a2e: A2E, sandbox: Sandbox) -> None:
    """A kind whose start takes no name gives candidates."""
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown) as caught:
        await a2e.head_swap.start(image_url=FACE, target_image_url=FACE)
    assert str(caught.value).count("charged, so it was not") == 1
    assert [c.id for c in caught.value.candidates] == list(paid(sandbox)[0].ids)


async def test_without_a_list(a2e: A2E, sandbox: Sandbox) -> None:
    """A kind without a list raises immediately."""
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown, match="lists no tasks"):
        await a2e.face_swap_preview.start(video_url="https://m.example/a.mp4", face_url=FACE)
    assert starts_sent(sandbox, "face_swap_preview") == 1


async def test_a_list_of_finished_ones(a2e: A2E, sandbox: Sandbox) -> None:
    """A kind whose list shows only finished tasks is searched among those in training."""
    sandbox.faults.drop_after_accept()
    task = await a2e.voice_clone.start(voice_urls=["https://m.example/a.wav"])
    assert task.ids == paid(sandbox)[0].ids


async def test_recover_later(a2e: A2E, sandbox: Sandbox) -> None:
    """A start not found at first is found by its recovery, also after a JSON round trip."""
    sandbox.faults.list_lag(100_000)
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown) as caught:
        await a2e.dubbing.start(**DUB)
    kept = Recovery.from_dict(caught.value.recovery.to_dict())
    with pytest.raises(StartOutcomeUnknown):
        await a2e.recover(kept)
    sandbox.advance(100_000)
    task = await a2e.recover(kept)
    assert task.ids == paid(sandbox)[0].ids
    assert (await task).output
    assert starts_sent(sandbox) == 1


async def test_recover_takes_it_off_the_unknown(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A start whose caller was cancelled is in `unknown` until it is found."""
    client = make_client()
    sandbox.faults.list_lag(100_000)
    sandbox.faults.slow(0.2, "start", accepted=True)
    sandbox.faults.drop_after_accept()
    caller = asyncio.create_task(client.dubbing.start(**DUB))
    while not paid(sandbox):
        await asyncio.sleep(0.005)
    caller.cancel()
    if not client.unclaimed():
        async with asyncio.timeout(10):
            while not (client.unknown() or client.unclaimed()):
                await asyncio.sleep(0.01)
    for recovery in client.unknown():
        sandbox.advance(100_000)
        assert (await client.recover(recovery)).ids == paid(sandbox)[0].ids
    assert client.unknown() == ()


@pytest.mark.parametrize("value", [None, "dubbing", {"kind": "dubbing"}])
async def test_recover_what(a2e: A2E, sandbox: Sandbox, value: Any) -> None:
    """Anything but a recovery is refused."""
    with pytest.raises(InvalidInput):
        await a2e.recover(value)
    assert sandbox.calls_total == 0


async def test_closing_ends_the_search(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A client closed during a search raises at once with what it knows."""
    client = make_client()
    sandbox.faults.list_lag(1e9)
    sandbox.faults.drop_after_accept()
    starting = asyncio.create_task(client.dubbing.start(**DUB))
    while not sandbox.calls["list", "dubbing"]:
        await asyncio.sleep(0.002)
    await client.aclose()
    with pytest.raises(StartOutcomeUnknown):
        await starting


async def test_errors_while_polling(a2e: A2E, sandbox: Sandbox) -> None:
    """A list request that fails once is retried."""
    sandbox.faults.drop_after_accept()
    sandbox.faults.http_error(500, role="list", times=2)
    assert (await a2e.dubbing.start(**DUB)).ids == paid(sandbox)[0].ids


async def test_closing_while_absence_is_waited_for(
    make_client: MakeClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start waiting for a retry stays unknown; never "nothing was spent"."""
    monkeypatch.setattr("a2e_async._core.submission.starts.CLOSE_TIMEOUT", 0.2)
    client = make_client(on_unknown="resend_may_pay_twice")
    await client.dubbing.start(**DUB)
    sandbox.faults.drop_before_accept()
    starting = asyncio.create_task(client.dubbing.start(**DUB))
    while sandbox.calls["list", "dubbing"] < 3:
        await asyncio.sleep(0.002)
    await client.aclose()
    with pytest.raises(StartOutcomeUnknown):
        await starting
    assert starts_sent(sandbox) == 2


@pytest.mark.parametrize(
    ("order", "first_page_is_enough"), [("newest first", True), ("oldest first", False)]
)
async def test_how_far_a_list_was_read(order: str, first_page_is_enough: bool) -> None:
    """An old record says that nothing newer follows only where the newest come first."""
    now = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [
        {"_id": f"{n:024x}", "createdAt": (now - timedelta(hours=n)).isoformat()} for n in range(3)
    ]

    class Session:
        async def request(self, *_: Any, params: dict[str, Any], **__: Any) -> Any:
            more = [{"_id": f"{99:024x}", "createdAt": now.isoformat()}]
            first = rows if order == "newest first" else rows[::-1]
            data = first if params["pageNum"] == 1 else more
            return ApiResponse(data, 0, "", None, 200, {"Date": format_datetime(now, usegmt=True)})

    lost = Recovery(kind="talking_video", path="/x", name="n", mark=None, digest="d", sent_at=now)
    read = await scan_lists(
        cast("Any", Session()),
        kind_named("talking_video"),
        [lost],
        timeout=1,
        deadline=1,
        wall_clock=now.timestamp,
    )
    assert (len(read.records) == 3, read.reached_back) == (first_page_is_enough, True)
