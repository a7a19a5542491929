"""Legacy operations: results, errors when they no longer exist, and leaving rooms."""

import asyncio
from typing import Any

import attrs
import pytest

from a2e_async import A2E
from a2e_async.errors import InvalidInput, NotFound, StartOutcomeUnknown
from a2e_async.sandbox import Charge, Sandbox, media

from .conftest import nothing_charged, own_tasks, until

ID = "66ea4dd87db10c73fa29b570"
CLIP = "https://media.example/clip.mp4"
OLD = ("legacy", "")


def charges(sandbox: Sandbox, kind: str) -> list[Charge]:
    return [charge for charge in sandbox.ledger.charges if charge.kind == kind]


# -- watermarks --------------------------------------------------------------------------------


async def test_watermark(a2e: A2E, sandbox: Sandbox) -> None:
    """A text over a video: the response has the result, whose type follows from its name."""
    output = await a2e.legacy.watermark(
        CLIP, text="mine", fontsize=20, fontcolor=(255, 0, 0, 128), scale_ratio=0.5, to_720p=True
    )
    assert output.media == "video"
    assert "?" not in repr(output)
    assert b"ftyp" in (await output.read())[:16]
    (charge,) = charges(sandbox, "watermark")
    assert charge.body == {
        "media_url": CLIP,
        "watermark_type": "text",
        "text": "mine",
        "fontsize": 20,
        "fontcolor": [255, 0, 0, 128],
        "scale_ratio": 0.5,
        "to_720p": True,
    }


async def test_watermark_of_files(a2e: A2E, sandbox: Sandbox) -> None:
    """Files are uploaded: an image over an image."""
    output = await a2e.legacy.watermark(media.portrait(), image=media.portrait())
    assert output.media == "image"
    (charge,) = charges(sandbox, "watermark")
    assert charge.body["watermark_type"] == "image"
    assert charge.body["watermark_image_url"] == charge.body["media_url"]


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({}, "text"),
        ({"text": "a", "image": CLIP}, "text"),
        ({"text": ""}, "text"),
        ({"text": "a", "media": None}, "media"),
        ({"text": "a", "media": media.speech()}, "media"),
        ({"image": media.clip()}, "image"),
        ({"text": "a", "fontsize": 0}, "fontsize"),
        ({"text": "a", "fontcolor": "red"}, "fontcolor"),
        ({"text": "a", "fontcolor": [1, 2]}, "fontcolor"),
        ({"text": "a", "fontcolor": [1, 2, 256, 0]}, "fontcolor"),
        ({"text": "a", "scale_ratio": -1}, "scale_ratio"),
        ({"text": "a", "position": " "}, "position"),
        ({"media": media.clip(), "image": media.clip()}, "image"),
        ({"media": media.clip(), "image": "none.png"}, "image"),
        ({"media": media.clip(), "text": "a", "to_720p": "yes"}, "to_720p"),
        ({"media": media.clip(), "text": "a", "fontsize": 10**5000}, "fontsize"),
    ],
)
async def test_watermark_refused(
    a2e: A2E, sandbox: Sandbox, inputs: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await a2e.legacy.watermark(**{"media": CLIP, **inputs})
    assert caught.value.field == field
    assert nothing_charged(sandbox)


async def test_watermark_lost(a2e: A2E, sandbox: Sandbox) -> None:
    """Charged once, never sent again; kept when the caller is cancelled."""
    sandbox.faults.http_error(500, role="legacy", accepted=True)
    with pytest.raises(StartOutcomeUnknown) as caught:
        await a2e.legacy.watermark(CLIP, text="mine")
    assert caught.value.recovery.kind == "watermark"
    sandbox.faults.slow(0.2, "legacy", accepted=True)
    marking = asyncio.create_task(a2e.legacy.watermark(CLIP, text="mine"))
    await until(lambda: len(charges(sandbox, "watermark")) == 2)
    marking.cancel()
    await until(a2e.legacy.unclaimed)
    assert a2e.speech.unclaimed() == ()
    assert sandbox.calls[OLD] == 2


# -- text, files, account ----------------------------------------------------------------------


async def test_small_ones(a2e: A2E, sandbox: Sandbox) -> None:
    assert await a2e.legacy.detect_language("こんにちは") == "ja"
    assert await a2e.legacy.set_public_pool(True) is True
    assert await a2e.legacy.set_public_pool(False) is False
    url = await a2e.legacy.copy_to_storage(CLIP)
    assert url.startswith(sandbox.storage_url)
    assert (await a2e.legacy.add_user("eve")).username == "eve"
    sandbox.faults.data_shape("bare", "legacy")
    assert await a2e.legacy.detect_language("hello") == "en"


async def test_transfer_of_an_output(a2e: A2E, sandbox: Sandbox) -> None:
    output = await a2e.legacy.watermark(CLIP, text="mine")
    copy = await a2e.legacy.copy_to_storage(output)
    assert copy != output.url


async def test_upload_permit(a2e: A2E, sandbox: Sandbox) -> None:
    """All inputs are sent under their names; the signed URL is not in the repr."""
    permit = await a2e.legacy.upload_permit(
        "a.png", content_type="image/png", content_length=3, expires_in=60, url_prefix="mine"
    )
    assert permit.key is not None
    assert permit.key.endswith("/a.png")
    assert permit.expires_in == 60
    assert "?" in permit.upload_url
    assert permit.upload_url.partition("?")[2] not in repr(attrs.asdict(permit))
    assert "?" not in repr(permit)


@pytest.mark.parametrize(
    ("name", "inputs", "field"),
    [
        ("detect_language", {"text": " "}, "text"),
        ("set_public_pool", {"enabled": "yes"}, "enabled"),
        ("copy_to_storage", {"url": "clip.mp4"}, "url"),
        ("copy_to_storage", {"url": media.clip()}, "url"),
        ("add_user", {"username": ""}, "username"),
        ("upload_permit", {"key": ""}, "key"),
        ("upload_permit", {"key": "a", "expires_in": 59}, "expires_in"),
        ("upload_permit", {"key": "a", "bucket": 5}, "bucket"),
        ("upload_permit", {"key": "a", "content_type": " "}, "content_type"),
        ("upload_permit", {"key": "a", "file_size": 0}, "file_size"),
        ("upload_permit", {"key": "a", "content_length": "3"}, "content_length"),
        ("continue_training", {"id": "x y"}, "id"),
        ("clone_voice_of_twin", {"id": None}, "id"),
        ("avatar_video_status", {"id": "x/y"}, "id"),
        ("avatar_videos", {"page": 0}, "page"),
    ],
)
async def test_refused_here(
    a2e: A2E, sandbox: Sandbox, name: str, inputs: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await getattr(a2e.legacy, name)(**inputs)
    assert caught.value.field == field
    assert sandbox.calls_total == 0


# -- avatars and their videos ------------------------------------------------------------------


async def test_characters(a2e: A2E) -> None:
    system = await a2e.legacy.characters()
    assert {one.kind for one in system} == {"system"}
    assert await a2e.legacy.characters("default") == system
    own = await a2e.avatars.add(name="Eve")
    assert own is not None
    assert [one.id for one in await a2e.legacy.characters("custom")] == [own.id]
    assert await a2e.legacy.characters(user_video_twin_id=ID) == ()


async def test_avatar_videos(a2e: A2E) -> None:
    """The legacy list and status return the same records as the current detail."""
    anchor = (await a2e.avatars.list())[0].id
    inputs: dict[str, Any] = {
        "anchor_id": anchor,
        "anchor_type": 0,
        "audio_src": "https://media.example/a.mp3",
    }
    record = await a2e.avatar_video.run(name="first", **inputs)
    await a2e.avatar_video.run(name="second", **inputs)
    again = await a2e.legacy.avatar_video_status(record.id)
    assert (again.id, again.status, again.outputs) == (record.id, record.status, record.outputs)
    page = await a2e.legacy.avatar_videos(page=2, page_size=1)
    assert [one.id for one in page] == [record.id]
    assert page.total == 2
    with pytest.raises(NotFound, match="deleted"):
        await a2e.legacy.avatar_video_status(ID)


async def test_twins(a2e: A2E, sandbox: Sandbox) -> None:
    """A trained twin becomes an avatar, and its video a voice."""
    twin = await a2e.video_twin.run(video_url=CLIP)
    (avatar,) = await a2e.legacy.characters(user_video_twin_id=twin.id)
    assert avatar.id == twin.anchor_id
    assert avatar.video_twin_id == twin.id
    voice = await a2e.legacy.clone_voice_of_twin(twin.id)
    assert voice is not None
    assert (await a2e.voice_clone.attach(voice)).voice_id == voice
    sandbox.faults.http_error(500, role="legacy", accepted=True)
    with pytest.raises(StartOutcomeUnknown):
        await a2e.legacy.clone_voice_of_twin(twin.id)
    assert len(charges(sandbox, "voice_clone")) == 2
    assert await a2e.legacy.continue_training(twin.id)


# -- images from text --------------------------------------------------------------------------


async def test_an_image_by_the_older_path(a2e: A2E, sandbox: Sandbox) -> None:
    """Started once by the older path; its task is waited for by the current operations."""
    inputs: dict[str, Any] = {"name": "lake", "prompt": "a lake", "width": 512, "height": 768}
    task = await a2e.legacy.text_to_image(**inputs, req_key="high_aes")
    record = await task
    assert task.ref == f"text_to_image:{record.id}"
    assert await record.output.read()
    (charge,) = charges(sandbox, "text_to_image")
    assert charge.ids == task.ids
    assert charge.body == inputs
    (listed,) = await a2e.legacy.text_to_images(page_size=5)
    assert (listed.id, listed.name, listed.width) == (record.id, "lake", 512)
    assert await a2e.legacy.text_to_image_status(record.id) == record
    with pytest.raises(NotFound):
        await a2e.legacy.text_to_image_status(ID)


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({"name": ""}, "name"),
        ({"prompt": " "}, "prompt"),
        ({"req_key": 5}, "req_key"),
        ({"width": 0}, "width"),
        ({"height": 1.5}, "height"),
    ],
)
async def test_an_image_refused(
    a2e: A2E, sandbox: Sandbox, inputs: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await a2e.legacy.text_to_image(**{"name": "lake", "prompt": "a lake", **inputs})
    assert caught.value.field == field
    assert nothing_charged(sandbox)


async def test_an_image_whose_response_is_lost(a2e: A2E, sandbox: Sandbox) -> None:
    """Sent once; the error says where to search. A cancelled caller leaves its task."""
    sandbox.faults.http_error(502, role="legacy", accepted=True)
    with pytest.raises(StartOutcomeUnknown, match=r"'lake' in a2e.legacy.text_to_images\(\)"):
        await a2e.legacy.text_to_image(name="lake", prompt="a lake")
    (lost,) = await a2e.legacy.text_to_images()
    assert lost.name == "lake"
    sandbox.faults.slow(0.2, "legacy", accepted=True)
    starting = asyncio.create_task(a2e.legacy.text_to_image(name="sea", prompt="a sea"))
    await until(lambda: len(charges(sandbox, "text_to_image")) == 2)
    starting.cancel()
    await until(a2e.unclaimed)
    assert (await a2e.unclaimed()[0]).name == "sea"


# -- gone --------------------------------------------------------------------------------------

CALLS: dict[str, Any] = {
    "watermark": lambda old: old.watermark(CLIP, text="mine"),
    "copy_to_storage": lambda old: old.copy_to_storage(CLIP),
    "upload_permit": lambda old: old.upload_permit("a.png"),
    "avatar_video_status": lambda old: old.avatar_video_status(ID),
    "avatar_videos": lambda old: old.avatar_videos(),
    "characters": lambda old: old.characters(),
    "continue_training": lambda old: old.continue_training(ID),
    "clone_voice_of_twin": lambda old: old.clone_voice_of_twin(ID),
    "text_to_image": lambda old: old.text_to_image(name="lake", prompt="a lake"),
    "text_to_image_status": lambda old: old.text_to_image_status(ID),
    "text_to_images": lambda old: old.text_to_images(),
    "detect_language": lambda old: old.detect_language("x"),
    "set_public_pool": lambda old: old.set_public_pool(True),
    "add_user": lambda old: old.add_user("eve"),
    "streaming avatars": lambda old: old.streaming_avatar.avatars(),
    "streaming room": lambda old: old.streaming_avatar.room(ID, expire_seconds=9).__aenter__(),
}


PAID = {
    "watermark",
    "copy_to_storage",
    "upload_permit",
    "continue_training",
    "clone_voice_of_twin",
    "text_to_image",
    "streaming room",
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("fault", [(404, True), (405, True), (405, False)], ids=str)
async def test_gone(a2e: A2E, sandbox: Sandbox, name: str, fault: tuple[int, bool]) -> None:
    """An operation that the service no longer has is reported as such.

    Except a charged one for which a gateway returns a page: it may have been carried out.
    """
    status, html = fault
    sandbox.faults.http_error(status, html=html)
    if html and name in PAID:
        with pytest.raises(StartOutcomeUnknown):
            await CALLS[name](a2e.legacy)
        assert sandbox.calls_total == 1
        return
    with pytest.raises(NotFound, match="seems to have removed this legacy operation") as caught:
        await CALLS[name](a2e.legacy)
    assert caught.value.http_status == status
    assert sandbox.calls_total == 1
    assert not sandbox.ledger.charges


async def test_gone_says_what_instead(a2e: A2E, sandbox: Sandbox) -> None:
    sandbox.faults.http_error(404, html=True)
    with pytest.raises(NotFound, match=r"Use a2e\.avatars\.list"):
        await a2e.legacy.characters()


async def test_a_page_under_200(a2e: A2E, sandbox: Sandbox) -> None:
    """A free call raises the same; a charged call stays unknown, to be safe."""
    sandbox.faults.html(times=None)
    with pytest.raises(NotFound, match="seems to have removed"):
        await a2e.legacy.detect_language("x")
    with pytest.raises(StartOutcomeUnknown):
        await a2e.legacy.watermark(CLIP, text="mine")


async def test_a_missing_record_is_no_missing_operation(a2e: A2E, sandbox: Sandbox) -> None:
    sandbox.faults.http_error(404)
    with pytest.raises(NotFound) as caught:
        await a2e.legacy.continue_training(ID)
    assert "legacy operation" not in str(caught.value)
    assert not own_tasks()
