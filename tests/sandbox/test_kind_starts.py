"""Starts: response shapes, refusals, prices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .bodies import BODIES, IMAGE, SOUND, STARTS, VIDEO
from .conftest import Api
from .task_helpers import UNKNOWN, download, read_record, start_one

pytestmark = pytest.mark.anyio


async def test_text_to_image_starts_a_list(api: Api) -> None:
    records = await api.start("text_to_image", max_images=3)
    assert len({record["_id"] for record in records}) == 3
    (charge,) = api.sandbox.ledger.charges
    assert charge.ids == tuple(record["_id"] for record in records)
    assert sum(record["coins"] for record in records) == charge.coins
    assert len(await api.start("text_to_image")) == 1


@pytest.mark.sandbox(durations={})
async def test_text_to_image_is_finished_at_once_if_that_is_ordered(
    api: Api, tmp_path: Path
) -> None:
    records = await api.start("text_to_image", max_images=8)
    assert all(record["image_urls"] == [] for record in records)
    api.sandbox.faults.done_at_once("text_to_image")
    ready = (await api.start("text_to_image", max_images=8))[0]
    assert ready["current_status"] == "completed"
    assert (await download(api, ready["image_urls"][0], tmp_path)).kind == "image"


async def test_any_kind_can_be_finished_at_once(api: Api) -> None:
    api.sandbox.faults.done_at_once("flux2")
    assert (await api.start("flux2"))["image_urls"]
    assert not (await api.start("flux2"))["image_urls"]


async def test_kling_image_starts_a_list_for_several(api: Api) -> None:
    assert len(await api.start("kling_image", n=2)) == 2
    assert (await api.start("kling_image", n=1))["_id"]
    assert api.sandbox.ledger.charges[0].coins == 2 * api.sandbox.ledger.charges[1].coins


async def test_outputs_of_one_start_differ(api: Api) -> None:
    records = await api.start("kling_image", n=2)
    api.sandbox.advance(100)
    found = [(await read_record(api, "kling_image", item["_id"]))["image_urls"] for item in records]
    bytes_ = {(await api.fetch("GET", urls[0])).body for urls in found}
    assert len(bytes_) == 2


async def test_video_twin_starts_a_list_if_that_is_ordered(api: Api) -> None:
    assert isinstance(await api.start("video_twin"), dict)
    api.sandbox.faults.data_shape("list", "start", "video_twin")
    assert isinstance(await api.start("video_twin"), list)


async def test_photobook_has_many_files(api: Api, tmp_path: Path) -> None:
    record = await start_one(api, "photobook", total_count=8)
    api.sandbox.advance(100)
    urls = (await read_record(api, "photobook", record["_id"]))["result_url"]
    assert [url.partition("?")[0].rpartition("-")[2] for url in urls] == [
        f"{index}.png" for index in range(8)
    ]
    assert len({(await api.fetch("GET", url)).body for url in urls}) == 8
    moved = urls[0].replace("-0.png", "-1.png")
    assert (await api.fetch("GET", moved)).status == 403


@pytest.mark.parametrize("kind", ["nano_banana", "gpt_image", "flux2"])
async def test_refusal_under_200(api: Api, kind: str) -> None:
    data = await api.start(kind, prompt="please refuse-me now")
    assert set(data) == {"failed_message", "failed_code"}
    assert data["failed_code"] == "400"
    assert api.sandbox.ledger.charges == ()
    assert api.sandbox.tasks == ()


async def test_age_refusal(api: Api) -> None:
    body = {**BODIES["seedance2"], "prompt": "minor-me"}
    reply = await api.post(STARTS["seedance2"], body)
    assert (reply.status, reply.json["code"]) == (403, 1003)
    assert api.sandbox.ledger.charges == ()


async def test_two_backgrounds(api: Api) -> None:
    both = {"back_id": UNKNOWN, "custom_back_id": UNKNOWN, "web_bg_width": 1, "web_bg_height": 1}
    body = {**BODIES["avatar_video"], **both, "web_people_width": 1, "web_people_height": 1}
    reply = await api.post(STARTS["avatar_video"], body)
    assert (reply.status, reply.json["code"]) == (400, 30005)


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        ("gpt_image", {"model": "gpt-image-2", "resolution": "2K"}, "resolution"),
        ("image_edit", {"image_urls": [IMAGE]}, "image_urls"),
        ("image_edit", {"image_urls": [IMAGE, "no"]}, "image_urls[1]"),
        ("product_avatar", {"product_rect": ...}, "product_rect"),
        ("photobook", {"total_count": 5}, "total_count"),
        ("wan", {"image_url": ...}, "image_url"),
        ("wan", {"task_type": "video_edit", "edit_video_url": VIDEO}, "model"),
        ("wan", {"model": "wan2.7-i2v", "task_type": "video_edit"}, "edit_video_url"),
        ("wan", {"model": "wan2.7-i2v", "task_type": "video_extend"}, "first_clip_url"),
        ("wan", {"model": "wan2.7-i2v", "task_type": "first_last_frame"}, "last_frame_url"),
        ("wan", {"model": "wan2.7-i2v", "task_type": "reference_image"}, "reference_media"),
        ("happyhorse", {"prompt": ...}, "prompt"),
        ("happyhorse", {"mode": "i2v"}, "image_url"),
        ("happyhorse", {"mode": "r2v"}, "reference_image_urls"),
        ("happyhorse", {"mode": "video-edit"}, "edit_video_url"),
        ("seedance", {"mode": "image-to-video"}, "image_url"),
        ("seedance2", {"mode": "image-to-video"}, "image_url"),
        ("seedance2", {"mode": "first-last-frames", "first_frame_url": IMAGE}, "last_frame_url"),
        ("seedance2", {"mode": "reference"}, "reference_urls"),
        ("seedance2", {"mode": "reference", "audio_urls": [SOUND]}, "reference_urls"),
        (
            "seedance2",
            {
                "mode": "reference",
                "model_version": "2.5",
                "omni_reference_task_type": "edit",
                "video_urls": [VIDEO],
            },
            "duration",
        ),
        ("veo", {"generationType": "REFERENCE_2_VIDEO"}, "imageUrls"),
        (
            "veo",
            {"generationType": "FIRST_AND_LAST_FRAMES_2_VIDEO", "imageUrls": [IMAGE] * 3},
            "imageUrls",
        ),
        ("grok_video", {"prompt": ...}, "prompt"),
        ("grok_video", {"model_type": "image-to-video"}, "image_urls"),
        ("grok_video", {"model_version": "1.5"}, "model_type"),
        ("kling_video", {"mode": "image-to-video"}, "image_url"),
        ("kling_video", {"mode": "motion-control", "image_url": IMAGE}, "video_url"),
        ("kling_omni", {"prompt": ...}, "prompt"),
        ("kling_omni", {"multi_shot": True}, "shot_type"),
        ("kling_omni", {"multi_shot": True, "shot_type": "customize"}, "multi_prompt"),
        (
            "kling_omni",
            {
                "multi_shot": True,
                "shot_type": "customize",
                "multi_prompt": [{"prompt": "a", "duration": "2"}],
            },
            "multi_prompt",
        ),
        ("sora", {"image_urls": ...}, "image_urls"),
        ("avatar_video", {"audioSrc": ...}, "audioSrc"),
        ("avatar_video", {"back_id": UNKNOWN}, "web_bg_width"),
        ("avatar_video", {"title": "x" * 41}, "title"),
        ("video_twin", {"image_url": ...}, "image_url"),
        ("think_sound", {"video_url": "https://example.com/a.webm"}, "video_url"),
        ("voice_clone", {"voice_urls": []}, "voice_urls"),
        ("voice_clone", {"voice_urls": ["https://example.com/a b.wav"]}, "voice_urls[0]"),
    ],
)
async def test_what_only_the_notes_require(
    api: Api, kind: str, change: dict[str, Any], field: str
) -> None:
    body = {name: value for name, value in {**BODIES[kind], **change}.items() if value is not ...}
    reply = await api.post(STARTS[kind], body)
    assert reply.status == 400, reply.body
    assert field in {error["field"] for error in reply.json["errors"]}
    assert api.sandbox.ledger.charges == ()


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("wan", {"model": "wan2.7-i2v", "task_type": "text_to_video", "image_url": ...}),
        ("seedance2", {"mode": "reference", "model_version": "2.5", "audio_urls": [SOUND]}),
        ("seedance2", {"mode": "reference", "audio_urls": [SOUND], "video_urls": [VIDEO]}),
        ("sora", {"model_type": "text-to-video", "image_urls": ...}),
        ("grok_video", {"model_type": "image-to-video", "image_url": IMAGE, "prompt": ...}),
        (
            "kling_omni",
            {
                "multi_shot": True,
                "shot_type": "customize",
                "prompt": ...,
                "multi_prompt": [
                    {"prompt": "a", "duration": "2"},
                    {"prompt": "b", "duration": "3"},
                ],
            },
        ),
        ("video_twin", {"image_url": ..., "video_url": VIDEO}),
        ("avatar_video", {"audioSrc": ..., "custom_voice": SOUND}),
    ],
)
async def test_what_the_notes_allow(api: Api, kind: str, change: dict[str, Any]) -> None:
    body = {name: value for name, value in {**BODIES[kind], **change}.items() if value is not ...}
    reply = await api.post(STARTS[kind], body)
    assert reply.status == 200, reply.body


# Prices


@pytest.mark.parametrize(
    ("kind", "cheap", "dear"),
    [
        ("text_to_image", {"model_type": "a2e"}, {"model_type": "seedream"}),
        ("nano_banana", {"image_size": "1K"}, {"image_size": "4K"}),
        ("gpt_image", {"quality": "medium"}, {"quality": "high"}),
        ("photobook", {"total_count": 4}, {"total_count": 16}),
        ("wan", {"duration": "5"}, {"duration": "10"}),
        ("wan", {"resolution": "480p"}, {"resolution": "1080p"}),
        ("seedance2", {"generate_audio": False}, {}),
        ("veo", {}, {"model": "veo3"}),
        ("upscale", {"source_url": IMAGE}, {"source_url": VIDEO}),
        ("kling_video", {"quality_mode": "std"}, {"quality_mode": "pro"}),
        ("sora", {"duration_seconds": "5"}, {"duration_seconds": "15"}),
        (
            "wan30",
            {"parameters": {"duration": 5}},
            {"parameters": {"duration": 5, "resolution": "1080P"}},
        ),
    ],
)
async def test_prices_follow_the_inputs(
    api: Api, kind: str, cheap: dict[str, Any], dear: dict[str, Any]
) -> None:
    for inputs in (cheap, dear, cheap):
        await start_one(api, kind, **inputs)
    coins = [charge.coins for charge in api.sandbox.ledger.charges]
    assert coins[0] == coins[2] < coins[1]


async def test_inputs_that_were_sent_are_echoed(api: Api) -> None:
    record = await start_one(api, "kling_video", quality_mode="pro", newer_input=1)
    assert record["quality_mode"] == "pro"
    assert "newer_input" not in record
    assert "image_url" not in record
