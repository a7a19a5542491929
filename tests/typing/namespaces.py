"""User code that touches every namespace, with wrong calls that must be refused.

Checked by mypy and pyright, never run; see user_code.py.
"""

from pathlib import Path
from typing import assert_type

from a2e_async import A2E, ApiResponse, Output, Page, Task
from a2e_async.account import Avatar, Background, Voice
from a2e_async.kinds import (
    ActorSwapRecord,
    AvatarVideoRecord,
    CaptionRemovalRecord,
    FaceSwapPreviewRecord,
    FaceSwapRecord,
    Flux2Record,
    GptImageRecord,
    GrokVideoRecord,
    HappyhorseRecord,
    HeadSwapRecord,
    ImageEditRecord,
    KlingImageRecord,
    KlingOmniRecord,
    KlingVideoRecord,
    MotionTransferRecord,
    NanoBananaRecord,
    PhotobookRecord,
    ProductAvatarRecord,
    QwenImageRecord,
    SavedFace,
    Seedance2Record,
    SeedanceRecord,
    SoraRecord,
    TalkingPhotoRecord,
    TextToImageRecord,
    ThinkSoundRecord,
    UpscaleRecord,
    VeoRecord,
    VideoTwinRecord,
    VirtualTryOnRecord,
    VoiceCloneRecord,
    Wan30Record,
    WanRecord,
)
from a2e_async.recipes import DubbedVideo, SpokenVideo

ID = "66ea4dd87db10c73fa29b570"


async def pictures(a2e: A2E) -> None:
    picture = await a2e.text_to_image.run(prompt="a lake", width=1024, max_images=2)
    assert_type(picture, TextToImageRecord)
    assert_type(picture.outputs[0], Output)
    await a2e.text_to_image.make_avatar(picture.id, gender="female")
    assert_type(await a2e.nano_banana.run(prompt="a", image_size="2K"), NanoBananaRecord)
    assert_type(await a2e.gpt_image.run(prompt="a", quality="high"), GptImageRecord)
    assert_type(await a2e.flux2.run(prompt="a", input_images=[Path("a.png")]), Flux2Record)
    assert_type(await a2e.qwen_image.run(prompt="a", size="1024*1024"), QwenImageRecord)
    assert_type(await a2e.kling_image.run(prompt="a", n=2), KlingImageRecord)
    both = (picture.outputs[0], b"...")
    assert_type(await a2e.image_edit.run(edit_type="product", image_urls=both), ImageEditRecord)
    assert_type(await a2e.virtual_try_on.run(image_urls=both), VirtualTryOnRecord)
    rect = {"x": 1, "y": 2, "width": 3, "height": 4}
    product = a2e.product_avatar.run(image_urls=both, product_rect=rect, processing_limit=100)
    assert_type(await product, ProductAvatarRecord)
    assert_type(await a2e.photobook.run(face_image_url="me.png", total_count=8), PhotobookRecord)


async def videos(a2e: A2E) -> None:
    assert_type(await a2e.wan.start(prompt="a", duration=5), Task[WanRecord])
    assert_type(await a2e.wan30.start(model="wan3.0-video", prompt="a"), Task[Wan30Record])
    assert_type(await a2e.happyhorse.start(mode="t2v", prompt="a"), Task[HappyhorseRecord])
    assert_type(await a2e.seedance.start(prompt="a", duration=5), Task[SeedanceRecord])
    assert_type(await a2e.seedance2.start(prompt="a", duration=5), Task[Seedance2Record])
    await a2e.seedance2.rename(ID, "another")
    assert_type(await a2e.veo.start(prompt="a", aspect_ratio="16:9"), Task[VeoRecord])
    assert_type(await a2e.veo.get_1080p(ID), Output | None)
    assert_type(await a2e.veo.wait_1080p(ID, timeout=60), Output)
    assert_type(await a2e.grok_video.start(prompt="a", duration=6), Task[GrokVideoRecord])
    kling = await a2e.kling_video.start(mode="text-to-video", prompt="a", sound=True)
    assert_type(kling, Task[KlingVideoRecord])
    assert_type(await a2e.kling_omni.start(prompt="a"), Task[KlingOmniRecord])
    assert_type(await a2e.sora.start(prompt="a", quality="high"), Task[SoraRecord])


async def people(a2e: A2E) -> None:
    twin = await a2e.video_twin.run(video_url="me.mp4")
    assert_type(twin, VideoTwinRecord)
    assert_type(twin.anchor_id, str)
    said = await a2e.speech.say("Good morning.", tts_id=ID)
    assert_type(said, Output)
    film = await a2e.avatar_video.run(anchor_id=twin.anchor_id, anchor_type=1, audio_src=said)
    assert_type(film, AvatarVideoRecord)
    assert_type(film.progress, float | None)
    photo = await a2e.talking_photo.run(image_url="a.png", prompt="p", negative_prompt="n")
    assert_type(photo, TalkingPhotoRecord)
    assert_type(await a2e.face_swap.run(video_url=film.output, face_url="me.png"), FaceSwapRecord)
    assert_type(await a2e.face_swap.faces(), tuple[SavedFace, ...])
    preview = await a2e.face_swap_preview.run(video_url="a.mp4", face_url="me.png")
    assert_type(preview, FaceSwapPreviewRecord)
    assert_type(
        await a2e.head_swap.run(image_url="a.png", target_image_url="b.png"), HeadSwapRecord
    )
    assert_type(await a2e.actor_swap.run(image_url="a.png", video_url="b.mp4"), ActorSwapRecord)
    moved = await a2e.motion_transfer.run(image_url="a.png", video_url="b.mp4")
    assert_type(moved, MotionTransferRecord)


async def sound(a2e: A2E) -> None:
    clone = await a2e.voice_clone.run(name="me", voice_urls=["me.wav"], gender="female")
    assert_type(clone, VoiceCloneRecord)
    assert_type(clone.voice_id, str)
    await a2e.voice_clone.rename(clone.voice_id, "me again")
    assert_type(await a2e.think_sound.run(video_url="a.mp4"), ThinkSoundRecord)
    assert_type(await a2e.caption_removal.run(source_url="a.mp4"), CaptionRemovalRecord)
    assert_type(await a2e.caption_removal.retry(ID), Task[CaptionRemovalRecord])
    assert_type(await a2e.upscale.run(source_url="a.png"), UpscaleRecord)
    page = await a2e.upscale.list(page=2)
    assert_type(page, Page[UpscaleRecord])


async def account(a2e: A2E) -> None:
    assert_type(await a2e.voices.public(country="de", region="DE"), tuple[Voice, ...])
    assert_type(await a2e.avatars.list(), tuple[Avatar, ...])
    assert_type(await a2e.backgrounds.random(), Background)
    assert_type(await a2e.legacy.detect_language("Guten Tag"), str)
    async with a2e.legacy.streaming_avatar.room(ID, expire_seconds=60) as room:
        await room.speak("Good morning.")
    answer = await a2e.request("GET", "/api/v1/userDubbing/allRecords", params={"pageNum": 1})
    assert_type(answer, ApiResponse)
    assert_type(answer.http_status, int)

    dubbed = await a2e.recipes.dub_video(video_url="a.mp4", target_lang="es")
    assert_type(dubbed, DubbedVideo)
    assert_type(dubbed.output, Output)
    spoken = await a2e.recipes.speak_video("Hi.", anchor_id=ID, tts_id=ID)
    assert_type(spoken, SpokenVideo)


async def refused(a2e: A2E) -> None:
    await a2e.recipes.dub_video(target_lang="es")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.text_to_image.start(width=1024)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.nano_banana.start(prompt="a", image_size="8K")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.image_edit.run(edit_type="hair", image_urls=[b"a", b"b"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.wan.start(prompt="a", duration="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.seedance.start(prompt="a", duration=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.veo.start(prompt="a", aspectRatio="16:9")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.sora.rename(ID, "another")  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await a2e.kling_video.start(mode="dance", prompt="a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.product_avatar.run(image_urls=[b"a", b"b"], product_rect={}, timeout=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.avatar_video.run(anchor_id=ID, anchor_type=2, audio_src="a.wav")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.voice_clone.run(name="me", voice_urls=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.speech.say(tts_id=ID)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.upscale.retry(ID)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await a2e.dubbing.start(source_url="a.wav")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.talking_video.run(video_url="a.mp4", prompt="p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.talking_photo.run(image_url="a.png", prompt="p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.image_to_video.start(image_url=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.gpt_image.run(prompt="a", quality="best")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.flux2.run(prompt="a", width=1024)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.qwen_image.run(prompt=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.kling_image.run(prompt="a", n="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.virtual_try_on.run(image_urls=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.photobook.run(face_image_url="me.png", total_count=2.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.wan30.start(prompt="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.happyhorse.start(mode="fly", prompt="a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.seedance2.start(prompt="a", duration="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.grok_video.start(prompt="a", duration=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.kling_omni.start(prompt="a", multi_shot="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.video_twin.run(video_url=["me.mp4"])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.face_swap.run(video_url="a.mp4")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.face_swap_preview.run(face_url="me.png")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.head_swap.run(image_url="a.png")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.actor_swap.run(image_url="a.png", video_url="b.mp4", timeout=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.motion_transfer.run(image_url="a.png", video_url="b.mp4", prompt="p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.think_sound.run(video_url="a.mp4", seed="7")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.caption_removal.run(video_url="a.mp4")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.voices.public(country=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.avatars.list(system="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.backgrounds.add(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.credits.quote("/api/v1/veoVideo/start")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.files.upload(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.legacy.detect_language()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.request("GET")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    print(a2e.midjourney)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
