"""Budgets count everything paid: calls without a task, uploads, starts with local files."""

import asyncio
import io
import wave
from collections.abc import Awaitable, Callable

import pytest

from a2e_async import A2E, Budget
from a2e_async.errors import BudgetExceeded, InvalidRequest, ServerError, StartOutcomeUnknown
from a2e_async.events import RateLimitPause
from a2e_async.sandbox import Sandbox, media

from .conftest import DUB, TALK, MakeClient

pytestmark = pytest.mark.anyio

FACE = "https://media.example/face.png"
PROMPT = {
    "reference_id": "r1",
    "prompt": "a lake",
    "negative_prompt": "blurry",
    "image_url": FACE,
}


async def make_speech(a2e: A2E) -> None:
    voice = (await a2e.voices.public())[0]
    await a2e.speech.say("Good morning.", tts_id=voice.id)


async def watermark(a2e: A2E) -> None:
    await a2e.legacy.watermark(FACE, text="draft")


async def open_streaming_room(a2e: A2E) -> None:
    who = await a2e.legacy.streaming_avatar.avatars()
    async with a2e.legacy.streaming_avatar.room(who[0].id, expire_seconds=3600):
        pass


async def extend_prompt(a2e: A2E) -> None:
    await a2e.image_to_video.extend_prompt(**PROMPT)  # type: ignore[arg-type]  # its values are


async def stream_prompt(a2e: A2E) -> None:
    async with a2e.image_to_video.stream_prompt(**PROMPT) as events:  # type: ignore[arg-type]  # so are these
        assert [event async for event in events]


async def request_raw(a2e: A2E) -> None:
    body = {"source_url": FACE, "text": "x", "watermark_type": "text", "media_url": FACE}
    await a2e.request("POST", "/api/v1/watermark/start", json=body)


async def upload(a2e: A2E) -> None:
    await a2e.files.upload(media.portrait())


async def transfer(a2e: A2E) -> None:
    await a2e.legacy.copy_to_storage(FACE)


PRICED = (make_speech, watermark, open_streaming_room, extend_prompt, stream_prompt, request_raw)
CALLS = (*PRICED, upload, transfer)
Call = Callable[[A2E], Awaitable[None]]


@pytest.mark.parametrize("call", CALLS)
async def test_a_full_budget_refuses_every_call(
    make_client: MakeClient, sandbox: Sandbox, call: Call
) -> None:
    """A full budget refuses every paid call."""
    with pytest.raises(BudgetExceeded, match="left in the budget"):
        await call(make_client(budget=Budget(0, unknown_cost=1)))
    assert sandbox.ledger.charges == ()


@pytest.mark.parametrize("call", PRICED)
async def test_a_call_without_a_price_is_refused(
    make_client: MakeClient, sandbox: Sandbox, call: Call
) -> None:
    """A call without a price is refused, and the error names the option that helps."""
    with pytest.raises(BudgetExceeded, match=r"unknown_cost=…"):
        await call(make_client(budget=500))
    assert sandbox.ledger.charges == ()


@pytest.mark.parametrize("call", CALLS)
async def test_a_call_without_a_quote_counts_with_unknown_cost(
    make_client: MakeClient, call: Call
) -> None:
    """A call without a quote counts with `unknown_cost`."""
    budget = Budget(500, unknown_cost=7, upload_cost=3)
    await call(make_client(budget=budget))
    assert (budget.spent, budget.reserved) == (3 if call in (upload, transfer) else 7, 0)


async def test_a_missing_quote_is_requested_once(make_client: MakeClient, sandbox: Sandbox) -> None:
    """If the service quotes no price, it is not asked before each call."""
    client = make_client(budget=Budget(500, unknown_cost=7))
    for _ in range(3):
        await make_speech(client)
    assert sandbox.calls["quote", ""] == 1


async def test_a_lost_call_stays_reserved(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A lost call may have been charged and stays reserved; a refused one is released."""
    budget = Budget(500, unknown_cost=7)
    client = make_client(budget=budget)
    sandbox.faults.http_error(502, role="action", kind="avatar_video", accepted=True)
    with pytest.raises(StartOutcomeUnknown):
        await make_speech(client)
    assert (budget.spent, budget.reserved) == (0, 7)
    sandbox.faults.http_error(400, role="action", kind="avatar_video")
    with pytest.raises(InvalidRequest):
        await make_speech(client)
    assert (budget.spent, budget.reserved) == (0, 7)


async def test_a_lost_upload_stays_reserved(make_client: MakeClient, sandbox: Sandbox) -> None:
    """So does a lost upload; a refused one is released."""
    budget = Budget(500)
    client = make_client(budget=budget)
    sandbox.faults.http_error(500, role="presign", accepted=True)
    with pytest.raises(ServerError):
        await upload(client)
    assert (budget.spent, budget.reserved) == (0, 1)
    sandbox.faults.http_error(400, role="presign")
    with pytest.raises(InvalidRequest):
        await upload(client)
    assert (budget.spent, budget.reserved) == (0, 1)


async def test_a_withdrawn_call_is_released(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Cancelled at any await: the call is paid and counted, or neither."""
    voice = (await make_client().voices.public())[0]
    budget = Budget(5000, unknown_cost=7)
    client = make_client(budget=budget)
    for count in range(60):
        paid = len(sandbox.ledger.charges)
        work = asyncio.create_task(client.speech.say("Good morning.", tts_id=voice.id))
        for _ in range(count):
            await asyncio.sleep(0)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        for _ in range(500):
            if budget.reserved == 0:
                break
            await asyncio.sleep(0.01)
        assert budget.spent == 7 * len(sandbox.ledger.charges), (count, paid)


async def test_uploads_are_not_paid_for_a_start_that_does_not_fit(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """The price is requested before the file is uploaded."""
    client = make_client(budget=2)
    with pytest.raises(BudgetExceeded):
        await client.talking_video.start(**{**TALK, "video_url": str(media.clip())})
    with pytest.raises(BudgetExceeded, match="unknown_cost"):
        await client.voice_clone.start(voice_urls=[str(media.speech())])
    assert sandbox.ledger.charges == ()


def silent_audio(seconds: int) -> bytes:
    """Return a silent audio file of some length."""
    made = io.BytesIO()
    with wave.open(made, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(bytes([128]) * 8000 * seconds)
    return made.getvalue()


async def test_the_price_may_depend_on_the_duration(
    make_client: MakeClient, sandbox: Sandbox
) -> None:
    """The price is requested again after the upload and counted before the start is sent."""
    guessed = await make_client().dubbing.quote(**DUB)
    assert guessed
    budget = Budget(guessed + 1)
    sound = silent_audio(90)
    with pytest.raises(BudgetExceeded):
        await make_client(budget=budget).dubbing.start(**{**DUB, "source_url": sound})
    assert sandbox.ledger.starts() == ()
    assert (budget.spent, budget.reserved) == (1, 0)
    enough = Budget(10_000)
    await make_client(budget=enough).dubbing.start(**{**DUB, "source_url": sound})
    (start,) = sandbox.ledger.starts()
    assert start.coins > guessed
    assert enough.spent == start.coins, "the first client has uploaded it"


async def test_a_batch_counts_its_uploads(make_client: MakeClient, sandbox: Sandbox) -> None:
    """A batch's own budget counts an upload once per content, and so does the client's."""
    mine, own = Budget(10_000), Budget(10_000)
    client = make_client(budget=mine)
    jobs = [
        client.talking_video.job(**{**TALK, "video_url": str(media.clip())}, key=f"k{n}")
        for n in range(3)
    ]
    assert all([o.ok async for o in client.batch(jobs, budget=own)])
    assert mine.spent == own.spent == sandbox.ledger.spent
    assert sandbox.ledger.spent == sum(c.coins for c in sandbox.ledger.starts()) + 1


async def test_a_start_of_a_dead_process_counts(make_client: MakeClient, sandbox: Sandbox) -> None:
    """Found or not, the price of a dead process's start is reserved in the next run's budget."""
    first = make_client(budget=1000)
    sandbox.faults.list_lag(3600)
    sandbox.faults.drop_after_accept()
    with pytest.raises(StartOutcomeUnknown):
        await first.talking_video.start(**TALK, key="k")
    await first.aclose()
    cost = sandbox.ledger.starts()[0].coins
    budget = Budget(1000)
    second = make_client(budget=budget)
    with pytest.raises(StartOutcomeUnknown):
        await second.talking_video.start(**TALK, key="k")
    assert (budget.spent, budget.reserved) == (0, cost)
    await second.aclose()
    sandbox.advance(4000)
    budget = Budget(1000)
    await make_client(budget=budget).talking_video.start(**TALK, key="k")
    assert (budget.spent, budget.reserved) == (cost, 0)


@pytest.mark.parametrize(("call", "role"), [(request_raw, "legacy"), (stream_prompt, "action")])
async def test_cancelled_after_a_429(
    make_client: MakeClient, sandbox: Sandbox, call: Call, role: str
) -> None:
    """After a 429 nothing was accepted, so nothing stays reserved."""
    budget = Budget(500, unknown_cost=7)
    held = asyncio.Event()
    client = make_client(
        budget=budget,
        on_event=lambda event: held.set() if isinstance(event, RateLimitPause) else None,
    )
    sandbox.faults.http_error(429, role=role, times=None, retry_after=5)
    calling = asyncio.create_task(call(client))
    await asyncio.wait_for(held.wait(), 10)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert (budget.spent, budget.reserved) == (0, 0)
    assert not sandbox.ledger.charges
