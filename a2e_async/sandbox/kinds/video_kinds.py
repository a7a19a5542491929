"""The kinds that make a video from words and pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from .kind import DATA, LIST, RECORDS, ROWS, Asked, Body, Kind, Rate, Tariff, row
from .input_rules import both, given, must_be, needs, needs_one, needs_some, refuses_minors, storyboard
from ..api_spec import Problem
from .status_sequences import VEO


def _row(name: str, median: float, tariff: Tariff, *media: str, **more: Any) -> Kind:
    """Returns a kind that makes a video of the seconds that its price is for."""
    seconds = tariff.seconds if isinstance(tariff.seconds, Asked) else Asked("", 8)
    return row(name, median, tariff, media, recipe="image_motion", seconds=seconds, **more)


def _video_time(body: Body) -> Iterable[Problem]:
    if body.get("video_time", 5) not in {5, 10, 15, 20}:
        yield Problem("video_time", "must be one of 5, 10, 15, 20")


_RESOLUTION: Final = Rate("resolution", "720p", {"480p": 0.5, "720p": 1, "1080p": 1.8, "4k": 4})
_LOUD: Final = {True: 1.5, False: 1}
_UNLESS_LORA: Final = "unless lora is given"
_WAN_27: Final = given("model", "wan2.7-i2v")
_FRAMES: Final = both(_WAN_27, given("task_type", "first_last_frame"))
_SEEDANCE_EDIT: Final = both(
    given("model_version", "2.5"),
    given("mode", "reference"),
    given("omni_reference_task_type", "edit"),
)


_WAN_30: Final = Tariff(
    8,
    (
        Rate("model", "wan3.0-video", {"wan3.0-video": 1, "wan3.0-video-prime": 1.5}),
        Rate("resolution", "720P", {"480P": 0.5, "720P": 1, "1080P": 2}),
    ),
    Asked("duration", 5),
)


def _wan_begins_with_a_frame(body: Body) -> bool:
    task = body.get("task_type", "first_frame") if _WAN_27(body) else "first_frame"
    return task in {"first_frame", "first_last_frame"}


def _only_sound(body: Body) -> bool:
    pictures = body.get("reference_urls") or body.get("video_urls")
    return bool(body.get("audio_urls")) and not pictures and body.get("model_version") != "2.5"


def _wan30_price(body: Body, length: float | None) -> int:
    return _WAN_30({**body["parameters"], "model": body["model"]}, length)


KINDS: Final = (
    _row(
        "image_to_video",
        90,
        Tariff(
            6,
            (Rate("model_version", "a2e", {"a2e": 1, "a2e-v2": 2, "a2e-v2-flash": 1}),),
            Asked("video_time", 5),
            block=5,
            counted="number_of_images",
        ),
        "image_url",
        "end_image_url",
        rules=(
            needs(
                "prompt",
                "negative_prompt",
                when=lambda body: not body.get("lora"),
                why=_UNLESS_LORA,
            ),
            needs(
                "end_image_url",
                when=given("model_type", "FLF2V"),
                why="when model_type is FLF2V",
            ),
            _video_time,
        ),
        bare_list=True,
        refund_failed=True,
        refund_deleted=True,
    ),
    _row(
        "wan",
        150,
        Tariff(
            7,
            (
                _RESOLUTION,
                Rate(
                    "model",
                    "wan2.5-i2v-preview",
                    {
                        "wan2.5-i2v-preview": 1,
                        "wan2.6-i2v": 1.2,
                        "wan2.6-i2v-flash": 0.8,
                        "wan2.7-i2v": 1.4,
                    },
                ),
            ),
            Asked("duration", 5),
        ),
        "image_url",
        "last_frame_url",
        "first_clip_url",
        "edit_video_url",
        "reference_image_urls",
        "audio_url",
        sound=("audio_url",),
        rules=(
            needs("image_url", when=_wan_begins_with_a_frame, why="for this task_type"),
            needs("last_frame_url", when=_FRAMES, why="for first_last_frame"),
            needs(
                "first_clip_url",
                when=both(_WAN_27, given("task_type", "video_extend")),
                why="for video_extend",
            ),
            needs(
                "edit_video_url",
                when=both(_WAN_27, given("task_type", "video_edit")),
                why="for video_edit",
            ),
            needs_one(
                "reference_media",
                "reference_image_urls",
                when=both(_WAN_27, given("task_type", "reference_image")),
                why="for reference_image",
            ),
            must_be(
                "model",
                "wan2.7-i2v",
                when=lambda body: body.get("task_type", "first_frame") != "first_frame",
                why="for this task_type",
            ),
        ),
    ),
    Kind(
        "wan30",
        300,
        _wan30_price,
        (),
        (),
        "image_motion",
        seconds=lambda body: Asked("duration", 5)(body["parameters"]),
        quotable=False,
    ),
    _row(
        "happyhorse",
        120,
        Tariff(
            8,
            (
                Rate("resolution", "720P", {"480P": 0.6, "720P": 1, "1080P": 1.8}),
                Rate("model_version", "1.0", {"1.0": 1, "1.1": 1.3}),
            ),
            Asked("duration", 5),
        ),
        "image_url",
        "reference_image_urls",
        "edit_video_url",
        rules=(
            needs("prompt", when=given("mode", "t2v", "r2v", "video-edit"), why="for this mode"),
            needs("image_url", when=given("mode", "i2v"), why="for i2v"),
            needs_some("reference_image_urls", 1, 9, given("mode", "r2v"), "for r2v"),
            needs("edit_video_url", when=given("mode", "video-edit"), why="for video-edit"),
        ),
        list_shape=LIST,
    ),
    _row(
        "seedance",
        100,
        Tariff(6, (_RESOLUTION, Rate("generate_audio", False, _LOUD)), Asked("duration", 5)),
        "image_url",
        "end_image_url",
        rules=(needs("image_url", when=given("mode", "image-to-video"), why="for image-to-video"),),
        list_shape=DATA,
    ),
    _row(
        "seedance2",
        180,
        Tariff(
            8,
            (
                _RESOLUTION,
                Rate("generate_audio", True, _LOUD),
                Rate(
                    "model_version",
                    "standard",
                    {"standard": 1, "mini": 0.5, "fast": 0.7, "2.5": 1.6},
                ),
            ),
            Asked("duration", 5),
        ),
        "image_url",
        "first_frame_url",
        "last_frame_url",
        "reference_urls",
        "video_urls",
        "audio_urls",
        sound=("audio_urls",),
        rules=(
            needs("image_url", when=given("mode", "image-to-video"), why="for image-to-video"),
            needs(
                "first_frame_url",
                "last_frame_url",
                when=given("mode", "first-last-frames"),
                why="for first-last-frames",
            ),
            needs_one(
                "reference_urls",
                "video_urls",
                "audio_urls",
                when=given("mode", "reference"),
                why="for reference",
            ),
            needs_one(
                "reference_urls",
                "video_urls",
                when=_only_sound,
                why="beside audio_urls",
            ),
            must_be("duration", -1, when=_SEEDANCE_EDIT, why="for edit"),
            needs_some("video_urls", 1, 1, _SEEDANCE_EDIT, "for edit"),
        ),
        verdict=refuses_minors,
        list_shape=ROWS,
    ),
    _row(
        "veo",
        120,
        Tariff(60, (Rate("model", "veo3_fast", {"veo3": 4, "veo3_fast": 1}),)),
        "imageUrls",
        walk=VEO,
        result_fields=("video_output",),
        failure_field="fail_reason",
        code_field="",
        rules=(
            needs_some(
                "imageUrls",
                1,
                2,
                given("generationType", "FIRST_AND_LAST_FRAMES_2_VIDEO"),
                "for FIRST_AND_LAST_FRAMES_2_VIDEO",
            ),
            needs_some(
                "imageUrls",
                1,
                3,
                given("generationType", "REFERENCE_2_VIDEO"),
                "for REFERENCE_2_VIDEO",
            ),
        ),
        defaults={"name": "veo video"},
        list_shape=LIST,
    ),
    _row(
        "grok_video",
        80,
        Tariff(
            5, (Rate("model_version", "legacy", {"legacy": 1, "1.5": 1.6}),), Asked("duration", 6)
        ),
        "image_url",
        "image_urls",
        rules=(
            needs(
                "prompt",
                when=given("model_type", "text-to-video", usual="text-to-video"),
                why="for text-to-video",
            ),
            needs_one(
                "image_urls",
                "image_url",
                when=given("model_type", "image-to-video"),
                why="for image-to-video",
            ),
            must_be(
                "model_type",
                "image-to-video",
                when=given("model_version", "1.5"),
                why="for model_version 1.5",
            ),
        ),
    ),
    _row(
        "kling_video",
        150,
        Tariff(
            7,
            (
                Rate("quality_mode", "std", {"std": 1, "pro": 1.6, "4k": 4}),
                Rate("sound", False, _LOUD),
                Rate("version", "2.6", {"2.6": 1, "3.0": 1.3}),
            ),
            Asked("duration", 5),
        ),
        "image_url",
        "video_url",
        "end_image_url",
        rules=(
            needs(
                "image_url",
                when=given("mode", "image-to-video", "motion-control"),
                why="for this mode",
            ),
            needs("video_url", when=given("mode", "motion-control"), why="for motion-control"),
        ),
        list_shape=RECORDS,
    ),
    _row(
        "kling_omni",
        180,
        Tariff(
            9,
            (Rate("mode", "std", {"std": 1, "pro": 1.6}), Rate("sound", False, _LOUD)),
            Asked("duration", 5),
        ),
        "image_list",
        rules=(
            needs(
                "prompt",
                when=lambda body: (
                    not body.get("multi_shot") or body.get("shot_type") == "intelligence"
                ),
                why="unless the storyboard is your own",
            ),
            needs("shot_type", when=given("multi_shot", True), why="when multi_shot is true"),
            storyboard,
        ),
        list_shape=DATA,
    ),
    _row(
        "sora",
        150,
        Tariff(
            10,
            (Rate("quality", "standard", {"standard": 1, "high": 2}),),
            Asked("duration_seconds", 5),
        ),
        "image_urls",
        rules=(
            needs(
                "image_urls",
                when=given("model_type", "image-to-video", usual="image-to-video"),
                why="unless model_type is text-to-video",
            ),
        ),
    ),
)
