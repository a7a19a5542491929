"""Speech: validation, requests, and no charged sound lost or charged twice."""

import asyncio
import logging
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from a2e_async import A2E
from a2e_async._core.journal.sqlite import SqliteJournal
from a2e_async._core.submission.calls import MAX_UNCLAIMED_PER_KIND
from a2e_async.account.voices import Voice
from a2e_async.errors import (
    ClientClosed,
    InsufficientCredits,
    InvalidInput,
    InvalidRequest,
    StartOutcomeUnknown,
)
from a2e_async.events import Event, StartLost
from a2e_async.models import Output
from a2e_async.sandbox import Sandbox

from .conftest import (
    MakeClient,
    assert_no_secrets,
    nothing_charged,
    own_tasks,
    turns,
    until,
)

TEXT = "A quiet word, 静かに."
ID = "66ea4dd87db10c73fa29b570"
SPEAK = ("action", "avatar_video")


@pytest.fixture
async def voice(a2e: A2E) -> str:
    first: Voice = (await a2e.voices.public())[0]
    return first.id


def spoken(sandbox: Sandbox) -> int:
    """Return how many times speech was charged."""
    return sum(charge.kind == "speech" for charge in sandbox.ledger.charges)


async def test_say(a2e: A2E, sandbox: Sandbox, voice: str) -> None:
    """Speech is one paid call; its output is a sound that can be read, here and as an input."""
    output = await a2e.speech.say(TEXT, tts_id=voice, speech_rate=0.5)
    (charge,) = sandbox.ledger.charges
    assert charge.body == {"msg": TEXT, "tts_id": voice, "speechRate": 0.5}
    assert output.media == "audio"
    assert output.expires_at is not None
    assert (await output.read()).startswith(b"RIFF")
    assert "?" not in repr(output)
    assert a2e.speech.unclaimed() == ()
    task = await a2e.dubbing.start(source_url=output, target_lang="es")
    assert sandbox.ledger.starts()[-1].body["source_url"] == output.url
    assert (await task).output.url


async def test_own_voice(a2e: A2E, sandbox: Sandbox) -> None:
    """A trained voice speaks, in the locale that is given."""
    clone = await a2e.voice_clone.run(voice_urls=["https://media.example/me.wav"])
    (listed,) = await a2e.voices.cloned()
    assert listed.voice_id == clone.voice_id
    await a2e.speech.say(TEXT, user_voice_id=clone.voice_id, country="es", region="MX")
    assert sandbox.ledger.charges[-1].body == {
        "msg": TEXT,
        "user_voice_id": clone.voice_id,
        "country": "es",
        "region": "MX",
    }


@pytest.mark.parametrize("text", ["x" * 1000, "🙂" * 1000], ids=["letters", "signs"])
async def test_longest(a2e: A2E, sandbox: Sandbox, voice: str, text: str) -> None:
    """A thousand characters may be spoken, and characters are those of Unicode."""
    await a2e.speech.say(text, tts_id=voice)
    assert sandbox.ledger.charges[0].body["msg"] == text


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({"text": "x" * 1001, "tts_id": ID}, "text"),
        ({"text": " ", "tts_id": ID}, "text"),
        ({"text": None, "tts_id": ID}, "text"),
        ({"text": TEXT}, "tts_id"),
        ({"text": TEXT, "tts_id": ID, "user_voice_id": ID}, "tts_id"),
        ({"text": TEXT, "tts_id": "../x"}, "tts_id"),
        ({"text": TEXT, "user_voice_id": 7}, "user_voice_id"),
        ({"text": TEXT, "tts_id": ID, "country": "en"}, "country"),
        ({"text": TEXT, "tts_id": ID, "region": "US"}, "region"),
        ({"text": TEXT, "user_voice_id": ID, "country": ""}, "country"),
        ({"text": TEXT, "tts_id": ID, "speech_rate": 0.4}, "speech_rate"),
        ({"text": TEXT, "tts_id": ID, "speech_rate": 2.1}, "speech_rate"),
        ({"text": TEXT, "tts_id": ID, "speech_rate": float("nan")}, "speech_rate"),
        ({"text": TEXT, "tts_id": ID, "speech_rate": True}, "speech_rate"),
    ],
)
async def test_refused_here(a2e: A2E, sandbox: Sandbox, inputs: dict[str, Any], field: str) -> None:
    """What the service would refuse is refused before anything is sent."""
    with pytest.raises(InvalidInput) as caught:
        await a2e.speech.say(**inputs)
    assert caught.value.field == field
    assert nothing_charged(sandbox)
    assert sandbox.calls_total == 0


@pytest.mark.parametrize("shape", ["list", "nested", "bare"])
async def test_shapes(a2e: A2E, sandbox: Sandbox, voice: str, shape: Any) -> None:
    """The URL is found in any wrapping."""
    sandbox.faults.data_shape(shape, "action")
    assert await (await a2e.speech.say(TEXT, tts_id=voice)).read()


async def test_refused_there(a2e: A2E, sandbox: Sandbox, voice: str) -> None:
    """A refusal by the service is raised: nothing is charged, nothing is unknown."""
    with pytest.raises(InvalidRequest):
        await a2e.speech.say(TEXT, tts_id=ID)
    assert nothing_charged(sandbox)
    assert a2e.unknown() == ()


@pytest.mark.parametrize("sandbox_options", [{"balance": 0}])
async def test_too_few_coins(a2e: A2E, voice: str) -> None:
    with pytest.raises(InsufficientCredits):
        await a2e.speech.say(TEXT, tts_id=voice)


LOST: dict[str, Any] = {
    "500": lambda faults: faults.http_error(500, role="action", accepted=True),
    "502 page": lambda faults: faults.http_error(502, role="action", html=True, accepted=True),
    "cut": lambda faults: faults.malformed("action"),
    "page": lambda faults: faults.html("action"),
    "reset": lambda faults: faults.reset("action"),
    "late": lambda faults: faults.slow(2, "action", accepted=True),
}


@pytest.mark.parametrize("how", LOST)
async def test_lost(make_client: MakeClient, sandbox: Sandbox, voice: str, how: str) -> None:
    """A request without a response is never retried; the error says it may be charged."""
    events: list[Event] = []
    client = make_client(on_event=events.append).with_options(start_timeout=0.5)
    LOST[how](sandbox.faults)
    with pytest.raises(StartOutcomeUnknown) as caught:
        await client.speech.say(TEXT, tts_id=voice)
    assert str(caught.value).count("charged, so it was not") == 1
    assert sandbox.calls[SPEAK] == 1
    assert spoken(sandbox) == (how not in ("page", "reset"))
    error = caught.value
    assert error.recovery.kind == "speech"
    assert error.recovery.path == "/api/v1/video/send_tts"
    assert error.candidates == ()
    assert "no list" in str(error)
    assert error.__cause__ is not None
    assert_no_secrets(error, TEXT)
    assert [e.recovery for e in events if isinstance(e, StartLost)] == [error.recovery]
    assert client.unknown() == ()


async def test_429(a2e: A2E, sandbox: Sandbox, voice: str) -> None:
    """A request refused with 429 is retried: it was not charged."""
    sandbox.faults.http_error(429, role="action", retry_after=0.05)
    assert (await a2e.speech.say(TEXT, tts_id=voice)).url
    assert sandbox.calls[SPEAK] == 2
    assert spoken(sandbox) == 1


# -- cancellation ------------------------------------------------------------------------------


async def test_every_turn(a2e: A2E, sandbox: Sandbox, voice: str) -> None:
    """Cancelled after k turns of the loop, for every k: not paid, or paid once and kept."""
    withdrawn = known = 0
    k = 0
    while True:
        saying = asyncio.create_task(a2e.speech.say(TEXT, tts_id=voice))
        await turns(k)
        saying.cancel()
        result = (await asyncio.gather(saying, return_exceptions=True))[0]
        await until(lambda: not own_tasks())
        over = isinstance(result, Output)
        kept = len(a2e.speech.unclaimed())
        assert spoken(sandbox) == kept + over
        if over:
            break
        withdrawn += kept == known
        known = kept
        k += 1 if k < 200 else k // 5
    assert withdrawn
    assert known
    for output in a2e.speech.unclaimed():
        assert (await output.read()).startswith(b"RIFF")


async def test_cancelled_after_it_was_sent(a2e: A2E, sandbox: Sandbox, voice: str) -> None:
    """The sound is kept by the client, whatever its options."""
    sandbox.faults.slow(0.2, "action", accepted=True)
    with anyio.move_on_after(0.1) as scope:
        await a2e.with_options(request_timeout=9).speech.say(TEXT, tts_id=voice)
    assert scope.cancelled_caught
    await until(a2e.speech.unclaimed)
    (output,) = a2e.speech.unclaimed()
    assert await output.read()
    assert spoken(sandbox) == 1


async def test_cancelled_before_it_was_sent(a2e: A2E, sandbox: Sandbox, voice: str) -> None:
    """Withdrawn while the service's pause holds it: it is not sent afterwards."""
    sandbox.faults.http_error(429, role="action", retry_after=0.3)
    with anyio.move_on_after(0.1):
        await a2e.speech.say(TEXT, tts_id=voice)
    await until(lambda: not own_tasks())
    await a2e.voices.public()  # held as well: the pause is over now
    assert sandbox.calls[SPEAK] == 1
    assert nothing_charged(sandbox)


class SlowJournal(SqliteJournal):
    """Drops entries only once it is released."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.dropping, self.free = asyncio.Event(), asyncio.Event()

    async def drop(self, key: str) -> None:
        self.dropping.set()
        await self.free.wait()
        await super().drop(key)


async def test_called_again_at_once_after_a_cancellation(
    make_client: MakeClient, sandbox: Sandbox, voice: str, tmp_path: Path
) -> None:
    """The entry of a call that was not sent is not taken for one whose response was lost."""
    journal = SlowJournal(tmp_path / "jobs.db")
    a2e = make_client(journal=journal)
    sandbox.faults.http_error(429, role="action", retry_after=0.5)
    saying = asyncio.create_task(a2e.speech.say(TEXT, tts_id=voice, key="k"))
    await until(lambda: sandbox.calls[SPEAK])
    saying.cancel()
    await journal.dropping.wait()
    again = asyncio.create_task(a2e.speech.say(TEXT, tts_id=voice, key="k"))
    await turns(20)
    journal.free.set()
    assert await (await again).read()
    assert spoken(sandbox) == 1


async def test_429_to_speech_without_a_caller(a2e: A2E, sandbox: Sandbox, voice: str) -> None:
    """Cancelled when it was on its way, and then refused by 429: not sent again."""
    sandbox.faults.http_error(429, role="action", retry_after=0.01)
    saying = asyncio.create_task(a2e.speech.say(TEXT, tts_id=voice))
    while not sandbox.calls[SPEAK]:
        await asyncio.sleep(0)
    saying.cancel()
    await until(lambda: not own_tasks())
    assert sandbox.calls[SPEAK] == 1
    assert nothing_charged(sandbox)


async def test_lost_without_a_waiter(a2e: A2E, sandbox: Sandbox, voice: str) -> None:
    """The unknown outcome of a cancelled caller is listed in `unknown`."""
    sandbox.faults.slow(0.2, "action", accepted=True)
    saying = asyncio.create_task(
        a2e.with_options(start_timeout=0.15).speech.say(TEXT, tts_id=voice)
    )
    await until(lambda: sandbox.calls[SPEAK])
    saying.cancel()
    await until(lambda: not own_tasks())
    (recovery,) = a2e.unknown()
    assert recovery.kind == "speech"
    assert a2e.speech.unclaimed() == ()


async def test_kept_are_bounded(
    a2e: A2E, sandbox: Sandbox, voice: str, logged: pytest.LogCaptureFixture
) -> None:
    """A hundred sounds are kept; dropping an older one is logged."""
    sandbox.faults.slow(0.3, "action", accepted=True, times=None)
    some = [
        asyncio.create_task(a2e.speech.say(str(n), tts_id=voice))
        for n in range(MAX_UNCLAIMED_PER_KIND + 1)
    ]
    await until(lambda: spoken(sandbox) > 30)  # the others wait for a connection
    for saying in some:
        saying.cancel()
    await until(lambda: not own_tasks())

    def is_more(before: int) -> bool:
        return spoken(sandbox) > before

    first = a2e.speech.unclaimed()
    sandbox.faults.clear()
    assert 30 < len(first) <= MAX_UNCLAIMED_PER_KIND
    while (
        len(a2e.speech.unclaimed()) < MAX_UNCLAIMED_PER_KIND or first[0] in a2e.speech.unclaimed()
    ):
        before = spoken(sandbox)
        sandbox.faults.slow(0.02, "action", accepted=True)
        saying = asyncio.create_task(a2e.speech.say(TEXT, tts_id=voice))
        await until(partial(is_more, before))
        saying.cancel()
        await until(lambda: not own_tasks())
    assert len(a2e.speech.unclaimed()) == MAX_UNCLAIMED_PER_KIND
    assert [r.levelno for r in logged.records if "dropped" in r.message] == [logging.WARNING]


# -- closing -----------------------------------------------------------------------------------


async def test_close_lets_it_finish(a2e: A2E, sandbox: Sandbox, voice: str) -> None:
    sandbox.faults.slow(0.2, "action", accepted=True)
    saying = asyncio.create_task(a2e.speech.say(TEXT, tts_id=voice))
    await until(lambda: spoken(sandbox))
    await a2e.aclose()
    assert saying.done()
    assert (await saying).media == "audio"
    with pytest.raises(ClientClosed):
        await a2e.speech.say(TEXT, tts_id=voice)
    assert sandbox.calls[SPEAK] == 1


async def test_close_at_every_turn(make_client: MakeClient, sandbox: Sandbox, voice: str) -> None:
    """Closing at any point refuses it uncharged or lets it finish; after a cancel it is kept."""
    made = 0
    for k in range(0, 45, 3):
        for cancelled in (False, True):
            client = make_client()
            saying = asyncio.create_task(client.speech.say(TEXT, tts_id=voice))
            await turns(k)
            if cancelled:
                saying.cancel()
            await client.aclose()
            result = (await asyncio.gather(saying, return_exceptions=True))[0]
            made += isinstance(result, Output)
            made += len(client.speech.unclaimed())
            assert spoken(sandbox) == made
    assert made


async def test_paid_and_its_journal_hangs_while_the_client_closes(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A charged sound is returned to its caller, even if the journal fails."""
    monkeypatch.setattr("a2e_async._core.submission.calls.CLOSE_TIMEOUT", 0.2)
    hung = asyncio.Event()

    async def hang(*_: object) -> None:
        hung.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("a2e_async._core.journal.recorder.JournalRecorder.record_call_result", hang)
    client = make_client(journal=tmp_path / "jobs.db")
    voice = (await client.voices.public(country="en", region="US"))[0].id
    speaking = asyncio.create_task(client.speech.say(TEXT, tts_id=voice))
    await hung.wait()
    await client.aclose()
    assert (await speaking).url
    assert sandbox.calls[SPEAK] == 1
