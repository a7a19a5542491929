"""The kinds about people, voices and existing videos: validation, bodies, records."""

import asyncio
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async._core.schema.inputs import TaskInput
from a2e_async._core.tasks.parsing import read_record
from a2e_async.errors import (
    DecodeError,
    InvalidInput,
    InvalidRequest,
    NotFound,
    StartOutcomeUnknown,
    TaskFailed,
)
from a2e_async.kinds.registry import kind_named
from a2e_async.kinds.video_twin import VIDEO_TWIN
from a2e_async.models import Status
from a2e_async.sandbox import Sandbox, media
from tests.samples import CLIP, FACE, LEAST, OTHER, TALK, Inputs

from .conftest import BLIND, nothing_charged, paid, until
from .people_inputs import ALLOWED, ID, REFUSED, SPOKEN


@pytest.fixture
def sandbox_options() -> dict[str, Any]:
    return {"durations": dict.fromkeys(LEAST, 20.0)}


LONG = pytest.mark.parametrize(
    "sandbox_options", [{"durations": dict.fromkeys(LEAST, 3600.0)}], ids=["long"]
)


# -- what is common ----------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "inputs", "field"), REFUSED)
async def test_refused(a2e: A2E, sandbox: Sandbox, kind: str, inputs: Inputs, field: str) -> None:
    """Inputs that the service would refuse, or charge for and ignore, are refused locally."""
    with pytest.raises(InvalidInput) as caught:
        await a2e.kind(kind).start(**inputs)
    assert caught.value.field == field
    assert nothing_charged(sandbox)


@pytest.mark.parametrize(("kind", "inputs"), ALLOWED)
async def test_allowed(a2e: A2E, sandbox: Sandbox, kind: str, inputs: Inputs) -> None:
    """Valid inputs and values newer than this package are accepted."""
    assert isinstance(a2e.kind(kind).job(**inputs).input, TaskInput)
    assert nothing_charged(sandbox)


@pytest.mark.parametrize("kind", ["face_swap_preview", "avatar_video"])
async def test_detail_alone(a2e: A2E, sandbox: Sandbox, kind: str) -> None:
    """Two kinds have a detail, which takes the id as a query, and nothing else."""
    namespace: Any = a2e.kind(kind)
    record = await namespace.run(**LEAST[kind])
    assert await namespace.get(record.id) == record
    assert {role for role, name in sandbox.calls if name == kind} == {"start", "detail"}
    with pytest.raises(NotFound):
        await namespace.get(ID)
    before = sandbox.calls_total
    for refused in (namespace.list(), namespace.delete(record.id), namespace.get_many([ID])):
        with pytest.raises(InvalidInput, match=kind):
            await refused
    assert sandbox.calls_total == before


@LONG
@pytest.mark.parametrize("kind", ["caption_removal", "video_twin", "voice_clone"])
async def test_processing(a2e: A2E, sandbox: Sandbox, kind: str) -> None:
    """Three kinds list what is being processed."""
    task = await a2e.kind(kind).start(**LEAST[kind])
    (record,) = await a2e.kind(kind).processing()
    assert (record.id,) == task.ids
    assert not record.done
    sandbox.advance(3600)
    assert (await task).done
    with pytest.raises(InvalidInput, match="processing"):
        await a2e.upscale.processing()


async def test_media(a2e: A2E, sandbox: Sandbox) -> None:
    """Local files are uploaded in place; an Output is passed by URL."""
    await a2e.voice_clone.start(voice_urls=[media.speech(), TALK, media.speech().read_bytes()])
    first, second, third = paid(sandbox)[0].body["voice_urls"]
    assert first == third
    assert first.startswith(sandbox.storage_url)
    assert second == TALK
    clean = await a2e.caption_removal.run(source_url=media.clip())
    larger = await a2e.upscale.run(source_url=clean.output)
    assert paid(sandbox)[-1].body["source_url"] == clean.output.url
    assert b"ftyp" in (await larger.output.read())[:16]
    assert sandbox.transfers["upload"] == 2


@pytest.mark.parametrize(
    ("kind", "of", "inputs"),
    [
        ("upscale", "source_url", {}),
        ("head_swap", "target_image_url", {"image_url": FACE}),
        ("face_swap", "video_url", {"face_url": FACE, "model_version": "v2"}),
    ],
)
async def test_a_picture_of_a_picture(a2e: A2E, kind: str, of: str, inputs: Inputs) -> None:
    """Some kinds make what they are given: a picture of a picture."""
    record: Any = await a2e.kind(kind).run(**{**inputs, of: media.portrait()})
    assert (await record.output.read()).startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["face_swap_preview", "avatar_video"])
@BLIND
async def test_lost_start(a2e: A2E, sandbox: Sandbox, kind: str) -> None:
    """A start without a response is not sent again; there is no list to search."""
    sandbox.faults.drop_after_accept(kind)
    with pytest.raises(StartOutcomeUnknown, match="lists no tasks"):
        await a2e.kind(kind).start(**LEAST[kind])
    assert len(paid(sandbox)) == 1


@LONG
async def test_head_swap_is_refunded_when_deleted_at_once(a2e: A2E, sandbox: Sandbox) -> None:
    """Deleting a task refunds it before it begins; a running task is not deleted."""
    first, second = [await a2e.head_swap.start(**LEAST["head_swap"]) for _ in range(2)]
    await first.delete()
    assert paid(sandbox)[0].refunded == paid(sandbox)[0].coins
    sandbox.advance(1800)
    with pytest.raises(InvalidRequest):
        await second.delete()


BOTH = ("result_video_url", "result_url")


@pytest.mark.parametrize("fields", [BOTH[:1], BOTH[1:], BOTH], ids=" and ".join)
def test_motion_transfer_shows_its_result_in_two_ways(fields: tuple[str, ...]) -> None:
    """One video, whichever field names it, and if both do."""
    raw = {"_id": ID, "current_status": "completed", **dict.fromkeys(fields, CLIP)}
    assert read_record(kind_named("motion_transfer"), raw).output.url == CLIP


# -- avatars and voices ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "status", "progress"),
    [
        ({"status": "init"}, Status.QUEUED, None),
        ({"status": "start", "process": 0}, Status.QUEUED, 0.0),
        ({"status": "pending", "process": "soon"}, Status.QUEUED, None),
        ({"status": "process", "process": 40}, Status.RUNNING, 0.4),
        ({"status": "copy", "process": 101}, Status.RUNNING, 1.0),
        ({"status": "warming"}, Status.RUNNING, None),
        ({"current_status": "completed"}, Status.RUNNING, None),
        ({"status": "success", "process": 100}, Status.SUCCEEDED, 1.0),
        ({"status": "fail", "msg": "no face"}, Status.FAILED, None),
        ({"status": "failed", "error": "no face"}, Status.FAILED, None),
        ({"status": "error", "fail_reason": "no face"}, Status.FAILED, None),
    ],
    ids=str,
)
def test_words_of_avatar_video(
    said: dict[str, Any], status: Status, progress: float | None
) -> None:
    """It has its own status words, progress to 100, and failures under three names."""
    record = read_record(kind_named("avatar_video"), {"_id": ID, "result": CLIP, **said})
    assert record.status is status
    assert record.progress == progress
    assert record.output.url == CLIP
    assert (record.failure.message if record.failure else None) == (
        "no face" if status is Status.FAILED else None
    )


@LONG
async def test_avatar_video_on_its_way(a2e: A2E, sandbox: Sandbox) -> None:
    """Its progress is read, and its message gives the reason of a failure."""
    sandbox.faults.fail("avatar_video", message="no face")
    bad, good = [await a2e.avatar_video.start(**SPOKEN) for _ in range(2)]
    sandbox.advance(1800)
    half = await a2e.avatar_video.get(good.ids[0])
    assert half.raw_status == "process"
    assert half.progress == pytest.approx(0.5, abs=0.1)
    sandbox.advance(1800)
    assert (await good).progress == 1.0
    with pytest.raises(TaskFailed, match="no face"):
        await bad


@pytest.mark.parametrize(
    ("word", "anchor", "status"),
    [
        ("odd", ID, Status.SUCCEEDED),
        ("", ID, Status.SUCCEEDED),
        ("training", ID, Status.RUNNING),
        ("pending", ID, Status.QUEUED),
        ("training", "", Status.RUNNING),
        ("training", None, Status.RUNNING),
        ("pending", "", Status.QUEUED),
        ("failed", ID, Status.FAILED),
    ],
)
def test_proof_of_a_twin(word: str, anchor: str | None, status: Status) -> None:
    """A twin that has its anchor is done, unless a known word says otherwise."""
    raw = {"_id": ID, "current_status": word, "anchor_id": anchor}
    assert read_record(kind_named("video_twin"), raw).status is status


@pytest.mark.parametrize("anchor", ["", None])
def test_a_twin_without_its_anchor(anchor: str | None) -> None:
    """Requiring a missing anchor raises the reason; reading it gives None or empty."""
    raw = {"_id": ID, "current_status": "training", "anchor_id": anchor}
    twin = read_record(VIDEO_TWIN, raw)
    with pytest.raises(InvalidInput, match="not trained yet: it is running"):
        _ = twin.anchor_id
    assert twin.anchor == anchor
    with pytest.raises(DecodeError, match="completed but gives no anchor_id"):
        _ = read_record(VIDEO_TWIN, raw | {"current_status": "completed"}).anchor_id
    # A twin stays usable during further training.
    assert read_record(VIDEO_TWIN, raw | {"anchor_id": "a1"}).anchor_id == "a1"


async def test_twins(a2e: A2E, sandbox: Sandbox) -> None:
    """A twin produces an anchor, not a file; twins are listed all at once or by status."""
    sandbox.faults.fail("video_twin")
    bad = await a2e.video_twin.start(image_url=OTHER)
    with pytest.raises(TaskFailed):
        await bad
    twin = await a2e.video_twin.run(video_url=CLIP)
    assert twin.anchor_id
    assert twin.anchor_id != twin.id
    with pytest.raises(InvalidInput, match=r"record\.anchor_id"):
        _ = twin.output
    assert [record.id for record in await a2e.video_twin.all()] == [twin.id, bad.ids[0]]
    assert [r.id for r in await a2e.video_twin.list(status="completed")] == [twin.id]
    assert [r.id async for r in a2e.video_twin.iter(status="failed")] == [bad.ids[0]]
    with pytest.raises(InvalidInput, match="pending, processing, completed, failed"):
        await a2e.video_twin.list(status="training")
    assert await a2e.video_twin.upload_status() == []
    assert a2e.video_twin.kind.default_timeout == 4 * 3600


async def test_voices(a2e: A2E, sandbox: Sandbox) -> None:
    """A voice is its record's id; it can be renamed, and is listed once it is trained."""
    sandbox.faults.fail("voice_clone")
    bad = await a2e.voice_clone.start(voice_urls=[TALK])
    with pytest.raises(TaskFailed):
        await bad
    assert paid(sandbox)[0].refunded == paid(sandbox)[0].coins
    voice = await a2e.voice_clone.run(voice_urls=[TALK], name="before")
    assert voice.voice_id == voice.id
    with pytest.raises(InvalidInput, match=r"record\.voice_id"):
        _ = voice.output
    await a2e.voice_clone.rename(voice.id, "after")
    assert (await a2e.voice_clone.get(voice.id)).name == "after"
    assert [record.id for record in await a2e.voice_clone.list()] == [voice.id]
    with pytest.raises(InvalidInput, match="one page only"):
        await a2e.voice_clone.list(page=2)


@LONG
async def test_one_voice_at_a_time(a2e: A2E, sandbox: Sandbox) -> None:
    """A second training is the service's refusal, not an unknown outcome; none is listed yet."""
    training = await a2e.voice_clone.start(voice_urls=[TALK])
    with pytest.raises(InvalidRequest, match="one at a time"):
        await a2e.voice_clone.start(voice_urls=[TALK])
    assert len(paid(sandbox)) == 1
    assert a2e.unknown() == ()
    assert not (await a2e.voice_clone.list()).items
    waiting = asyncio.create_task(training.wait())
    await until(lambda: training.status)
    sandbox.advance(3600)
    assert (await waiting).voice_id
