"""At least one call of every method that is not common to all kinds.

``EXTRAS`` belong to a kind, ``CALLS`` to the account. Each asserts what its answer must hold.
"""

import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from a2e_async import A2E, Output
from a2e_async.errors import InvalidRequest, NotFound
from a2e_async.sandbox import Sandbox, media
from tests.samples import FACE, SAMPLES, TALK

Call = Callable[[A2E, Sandbox], Awaitable[Any]]


# -- of a kind ---------------------------------------------------------------------------------


async def done(a2e: A2E, name: str, **inputs: Any) -> Any:
    """Return the record of a finished task of this kind."""
    return await a2e.kind(name).run(**{**SAMPLES[name], **inputs})


async def failed(a2e: A2E, sandbox: Sandbox, name: str) -> str:
    """Return the id of a failed task of this kind."""
    sandbox.faults.fail(name)
    task = await a2e.kind(name).start(**SAMPLES[name])
    async for record in task.updates():
        last = record
    assert last.failure
    return task.ids[0]


async def make_avatar(a2e: A2E, sandbox: Sandbox) -> None:
    record = await done(a2e, "text_to_image")
    made = await a2e.text_to_image.make_avatar(record.parts[0].id, gender="female")
    assert made.id


async def marks(a2e: A2E, sandbox: Sandbox) -> None:
    id = (await done(a2e, "image_to_video")).parts[0].id
    await a2e.image_to_video.mark_shared(id)
    await a2e.image_to_video.mark_downloaded(id)
    await a2e.image_to_video.mark_copied(id)
    assert await a2e.image_to_video.avg_processing_time()
    await a2e.image_to_video.unlimited_queue_level()


PROMPT: Mapping[str, Any] = {
    "reference_id": "66ea4dd87db10c73fa29b5aa",
    "image_url": FACE,
    "prompt": "wave",
    "negative_prompt": "blurry",
    "lang": "en",
    "max_length": 500,
}
MORE: Mapping[str, Any] = {"template": "cinematic", "shot_count": 2, "with_audio": True}


async def extend_prompt(a2e: A2E, sandbox: Sandbox) -> None:
    assert (await a2e.image_to_video.extend_prompt(**PROMPT, **MORE)).prompt
    assert (await a2e.image_to_video.extend_prompt(**PROMPT, end_image_url=FACE)).prompt
    assert a2e.image_to_video.unclaimed_prompts() == ()


async def stream_prompt(a2e: A2E, sandbox: Sandbox) -> None:
    for more in (MORE, {"end_image_url": FACE}):
        async with a2e.image_to_video.stream_prompt(**PROMPT, **more) as events:
            last = [event async for event in events][-1]
        assert last.result
        assert last.result.prompt


async def high_resolution(a2e: A2E, sandbox: Sandbox) -> None:
    id = (await done(a2e, "veo")).id
    assert (await a2e.veo.wait_1080p(id, timeout=60)).media == "video"
    assert await a2e.veo.get_1080p(id)


async def faces(a2e: A2E, sandbox: Sandbox) -> None:
    face = await a2e.face_swap.save_face(FACE)
    assert face in await a2e.face_swap.faces()
    await a2e.face_swap.delete_face(face.id)
    assert face not in await a2e.face_swap.faces()


async def running_swaps(a2e: A2E, sandbox: Sandbox) -> None:
    task = await a2e.face_swap.start(**SAMPLES["face_swap"])
    await a2e.face_swap.running()
    await task


async def retry_captions(a2e: A2E, sandbox: Sandbox) -> None:
    again = await a2e.caption_removal.retry(await failed(a2e, sandbox, "caption_removal"))
    assert (await again).output


async def retry_twin(a2e: A2E, sandbox: Sandbox) -> None:
    again = await a2e.video_twin.retry(await failed(a2e, sandbox, "video_twin"))
    assert (await again).anchor_id


async def improve_twin(a2e: A2E, sandbox: Sandbox) -> None:
    twin = await done(
        a2e,
        "video_twin",
        video_background_image=FACE,
        video_background_color="rgba(0,0,0,1)",
    )
    assert (await (await a2e.video_twin.continue_training(twin.id))).anchor_id
    assert (await (await a2e.video_twin.correct_eye_contact(twin.id))).id == twin.id
    assert twin.id in {one.id for one in await a2e.video_twin.all()}
    await a2e.video_twin.upload_status()


EXTRAS: Mapping[str, Call] = {
    "text_to_image.make_avatar": make_avatar,
    "image_to_video.mark_shared": marks,
    "image_to_video.mark_downloaded": marks,
    "image_to_video.mark_copied": marks,
    "image_to_video.avg_processing_time": marks,
    "image_to_video.unlimited_queue_level": marks,
    "image_to_video.extend_prompt": extend_prompt,
    "image_to_video.unclaimed_prompts": extend_prompt,
    "image_to_video.stream_prompt": stream_prompt,
    "veo.get_1080p": high_resolution,
    "veo.wait_1080p": high_resolution,
    "face_swap.save_face": faces,
    "face_swap.faces": faces,
    "face_swap.delete_face": faces,
    "face_swap.running": running_swaps,
    "caption_removal.retry": retry_captions,
    "video_twin.retry": retry_twin,
    "video_twin.continue_training": improve_twin,
    "video_twin.correct_eye_contact": improve_twin,
    "video_twin.all": improve_twin,
    "video_twin.upload_status": improve_twin,
}


# -- of the account ----------------------------------------------------------------------------


async def voices(a2e: A2E, sandbox: Sandbox) -> None:
    public = await a2e.voices.public(country="en", region="US", voice_map_type="en-US")
    assert public
    assert await a2e.voices.presets()
    assert await a2e.voices.languages(voice_map_type="en-US")
    clone = await done(a2e, "voice_clone")
    assert clone.voice_id in {one.voice_id for one in await a2e.voices.cloned()}


async def previews(a2e: A2E, sandbox: Sandbox) -> None:
    found = await a2e.voices.previews(page=1, page_size=10)
    await a2e.voices.delete_preview(found.items[0].id)


async def speech(a2e: A2E, sandbox: Sandbox) -> None:
    voice = (await a2e.voices.public())[0]
    said = await a2e.speech.say("Good morning.", tts_id=voice.id, speech_rate=1.2)
    assert isinstance(said, Output)
    clone = await done(a2e, "voice_clone")
    said = await a2e.speech.say(
        "Good morning.", user_voice_id=clone.voice_id, country="en", region="US"
    )
    assert await said.read()
    assert a2e.speech.unclaimed() == ()


CLIP = "https://media.example/clip.mp4"


async def recipes(a2e: A2E, sandbox: Sandbox) -> None:
    dubbed = await a2e.recipes.dub_video(video_url=CLIP, target_lang="es", duration=5)
    assert dubbed.sound.media == "audio"
    avatar = next(one for one in await a2e.avatars.list() if one.anchor_type == 0)
    voice = (await a2e.voices.public())[0]
    spoken = await a2e.recipes.speak_video("Good day.", anchor_id=avatar.id, tts_id=voice.id)
    assert spoken.speech.media == "audio"
    for output in (dubbed.output, spoken.output):
        assert output.media == "video"


async def avatars(a2e: A2E, sandbox: Sandbox) -> None:
    assert await a2e.avatars.list()
    added = await a2e.avatars.add(name="me", image_url=FACE, tags=["work"])
    assert added
    await a2e.avatars.update(added.id, name="myself")
    assert added.id in {one.id for one in await a2e.avatars.custom()}
    await a2e.avatars.tags()
    await a2e.avatars.delete(added.id)
    assert added.id not in {one.id for one in await a2e.avatars.custom()}


async def backgrounds(a2e: A2E, sandbox: Sandbox) -> None:
    added = await a2e.backgrounds.add(FACE)
    assert added.id in {one.id for one in await a2e.backgrounds.custom()}
    assert added.id in {one.id for one in await a2e.backgrounds.all()}
    assert await a2e.backgrounds.random()
    await a2e.backgrounds.delete(added.id)
    assert added.id not in {one.id for one in await a2e.backgrounds.custom()}


async def money(a2e: A2E, sandbox: Sandbox) -> None:
    assert (await a2e.credits.balance()).coins == sandbox.ledger.balance
    now = datetime.now(UTC)
    page = await a2e.credits.history(
        page=1,
        page_size=20,
        spending=True,
        since=now - timedelta(days=30),
        until=now + timedelta(days=30),
    )
    assert page.items
    assert [one async for one in first_of(a2e.credits.iter_history(until=now), 3)]
    quote = await a2e.credits.quote(
        "/api/v1/userDubbing/startDubbing", {"source_url": TALK, "target_lang": "es"}
    )
    assert quote


async def first_of(source: Any, most: int) -> Any:
    """Yield the first few of an asynchronous iterator."""
    count = itertools.count(1)
    async for item in source:
        yield item
        if next(count) >= most:
            return


async def files(a2e: A2E, sandbox: Sandbox) -> None:
    url = await a2e.files.upload(media.portrait())
    with TemporaryDirectory() as directory:
        path = await a2e.files.download(url, Path(directory) / "back.png")
        assert path.read_bytes() == media.portrait().read_bytes()


async def legacy_media(a2e: A2E, sandbox: Sandbox) -> None:
    marked = await a2e.legacy.watermark(
        FACE,
        text="draft",
        fontsize=20,
        fontcolor=[255, 255, 255, 128],
        position="center",
        scale_ratio=0.5,
        to_720p=True,
    )
    assert await marked.read()
    assert await a2e.legacy.watermark(FACE, image=FACE)
    assert a2e.legacy.unclaimed() == ()
    assert await a2e.legacy.copy_to_storage(FACE)
    permit = await a2e.legacy.upload_permit(
        "a.png",
        bucket="3days-apac",
        url_prefix="adam2eve",
        cdn_domain="cdn.example",
        expires_in=600,
        content_type="image/png",
        file_size=10,
        content_length=10,
    )
    assert permit.upload_url


async def legacy_avatars(a2e: A2E, sandbox: Sandbox) -> None:
    record = await done(a2e, "avatar_video")
    assert (await a2e.legacy.avatar_video_status(record.id)).output
    assert record.id in {one.id for one in await a2e.legacy.avatar_videos(page=1, page_size=10)}
    twin = await done(a2e, "video_twin", image_url=None, video_url="https://media.example/a.mp4")
    assert await a2e.legacy.characters("custom", user_video_twin_id=twin.id)
    await a2e.legacy.continue_training(twin.id)
    await a2e.legacy.clone_voice_of_twin(twin.id)


async def legacy_images(a2e: A2E, sandbox: Sandbox) -> None:
    task = await a2e.legacy.text_to_image(name="lake", prompt="a lake", width=512, height=512)
    record = await task
    assert record.output
    assert task.ids[0] in {one.id for one in await a2e.legacy.text_to_images(page=1, page_size=10)}
    for _ in range(2):  # every third request is refused
        with suppress(NotFound, InvalidRequest):
            assert (await a2e.legacy.text_to_image_status(task.ids[0])).output
            break


async def legacy_account(a2e: A2E, sandbox: Sandbox) -> None:
    assert await a2e.legacy.detect_language("Good morning")
    assert await a2e.legacy.set_public_pool(True) is True
    assert (await a2e.legacy.add_user("someone")).username == "someone"


async def rooms(a2e: A2E, sandbox: Sandbox) -> None:
    """The streaming rooms: a namespace within the legacy one."""
    who = await a2e.legacy.streaming_avatar.avatars()
    async with a2e.legacy.streaming_avatar.room(who[0].id, expire_seconds=60) as room:
        await room.set_context("A museum.")
        await room.ask("When do you open?")
        await room.speak("At nine.")


CALLS: Mapping[str, Call] = {
    "voices.public": voices,
    "voices.presets": voices,
    "voices.languages": voices,
    "voices.cloned": voices,
    "voices.previews": previews,
    "voices.delete_preview": previews,
    "speech.say": speech,
    "speech.unclaimed": speech,
    "recipes.dub_video": recipes,
    "recipes.speak_video": recipes,
    "avatars.list": avatars,
    "avatars.custom": avatars,
    "avatars.add": avatars,
    "avatars.update": avatars,
    "avatars.tags": avatars,
    "avatars.delete": avatars,
    "backgrounds.add": backgrounds,
    "backgrounds.custom": backgrounds,
    "backgrounds.all": backgrounds,
    "backgrounds.random": backgrounds,
    "backgrounds.delete": backgrounds,
    "credits.balance": money,
    "credits.history": money,
    "credits.iter_history": money,
    "credits.quote": money,
    "files.upload": files,
    "files.download": files,
    "legacy.watermark": legacy_media,
    "legacy.unclaimed": legacy_media,
    "legacy.copy_to_storage": legacy_media,
    "legacy.upload_permit": legacy_media,
    "legacy.avatar_video_status": legacy_avatars,
    "legacy.avatar_videos": legacy_avatars,
    "legacy.characters": legacy_avatars,
    "legacy.continue_training": legacy_avatars,
    "legacy.clone_voice_of_twin": legacy_avatars,
    "legacy.text_to_image": legacy_images,
    "legacy.text_to_image_status": legacy_images,
    "legacy.text_to_images": legacy_images,
    "legacy.streaming_avatar.avatars": rooms,
    "legacy.streaming_avatar.room": rooms,
    "legacy.detect_language": legacy_account,
    "legacy.set_public_pool": legacy_account,
    "legacy.add_user": legacy_account,
}
