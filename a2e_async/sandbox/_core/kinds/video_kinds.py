"""The kinds that generate a video from text and images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from ..validation import FieldProblem
from .input_rules import (
    all_of,
    check_storyboard,
    input_is,
    reject_minors,
    require_any,
    require_inputs,
    require_items,
    require_value,
)
from .kind import (
    DATA_AND_TOTAL,
    LIST_AND_TOTAL,
    RECORDS_AND_TOTAL,
    ROWS_AND_COUNT,
    Body,
    PriceFactor,
    RequestedSeconds,
    SimulatedKind,
    Tariff,
    priced_kind,
)
from .status_sequences import IMAGE_TO_VIDEO_SEQUENCE, VEO_SEQUENCE


def _video_kind(
    name: str, median: float, tariff: Tariff, *media: str, **more: Any
) -> SimulatedKind:
    """Return a kind whose result is a video as long as the seconds in its price."""
    seconds = (
        tariff.seconds if isinstance(tariff.seconds, RequestedSeconds) else RequestedSeconds("", 8)
    )
    return priced_kind(
        name, median, tariff, media, recipe="image_motion", result_seconds=seconds, **more
    )


def _check_video_time(body: Body) -> Iterable[FieldProblem]:
    if body.get("video_time", 5) not in {5, 10, 15, 20}:
        yield FieldProblem("video_time", "must be one of 5, 10, 15, 20")


_RESOLUTION_FACTOR: Final = PriceFactor(
    "resolution", "720p", {"480p": 0.5, "720p": 1, "1080p": 1.8, "4k": 4}
)
_SOUND_FACTORS: Final = {True: 1.5, False: 1}
_UNLESS_LORA: Final = "unless lora is given"
_is_wan_27: Final = input_is("model", "wan2.7-i2v")
_is_first_last_frame: Final = all_of(_is_wan_27, input_is("task_type", "first_last_frame"))
_is_seedance_edit: Final = all_of(
    input_is("model_version", "2.5"),
    input_is("mode", "reference"),
    input_is("omni_reference_task_type", "edit"),
)


_WAN30_TARIFF: Final = Tariff(
    8,
    (
        PriceFactor("model", "wan3.0-video", {"wan3.0-video": 1, "wan3.0-video-prime": 1.5}),
        PriceFactor("resolution", "720P", {"480P": 0.5, "720P": 1, "1080P": 2}),
    ),
    RequestedSeconds("duration", 5),
)


def _wan_needs_first_frame(body: Body) -> bool:
    task = body.get("task_type", "first_frame") if _is_wan_27(body) else "first_frame"
    return task in {"first_frame", "first_last_frame"}


def _has_only_sound(body: Body) -> bool:
    pictures = body.get("reference_urls") or body.get("video_urls")
    return bool(body.get("audio_urls")) and not pictures and body.get("model_version") != "2.5"


def _wan30_price(body: Body, length: float | None) -> int:
    return _WAN30_TARIFF({**body["parameters"], "model": body["model"]}, length)


VIDEO_KINDS: Final = (
    _video_kind(
        "image_to_video",
        90,
        Tariff(
            6,
            (PriceFactor("model_version", "a2e", {"a2e": 1, "a2e-v2": 2, "a2e-v2-flash": 1}),),
            RequestedSeconds("video_time", 5),
            seconds_step=5,
            count_input="number_of_images",
        ),
        "image_url",
        "end_image_url",
        time_range=(60, 600),
        status_sequence=IMAGE_TO_VIDEO_SEQUENCE,
        rules=(
            require_inputs(
                "prompt",
                when=lambda body: not body.get("lora"),
                condition=_UNLESS_LORA,
            ),
            require_inputs(
                "end_image_url",
                when=input_is("model_type", "FLF2V"),
                condition="when model_type is FLF2V",
            ),
            _check_video_time,
        ),
        bare_list_without_paging=True,
        refund_failed=True,
        refund_deleted=True,
    ),
    _video_kind(
        "wan",
        150,
        Tariff(
            7,
            (
                _RESOLUTION_FACTOR,
                PriceFactor(
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
            RequestedSeconds("duration", 5),
        ),
        "image_url",
        "last_frame_url",
        "first_clip_url",
        "edit_video_url",
        "reference_image_urls",
        "audio_url",
        sound_inputs=("audio_url",),
        rules=(
            require_inputs(
                "image_url", when=_wan_needs_first_frame, condition="for this task_type"
            ),
            require_inputs(
                "last_frame_url", when=_is_first_last_frame, condition="for first_last_frame"
            ),
            require_inputs(
                "first_clip_url",
                when=all_of(_is_wan_27, input_is("task_type", "video_extend")),
                condition="for video_extend",
            ),
            require_inputs(
                "edit_video_url",
                when=all_of(_is_wan_27, input_is("task_type", "video_edit")),
                condition="for video_edit",
            ),
            require_any(
                "reference_media",
                "reference_image_urls",
                when=all_of(_is_wan_27, input_is("task_type", "reference_image")),
                condition="for reference_image",
            ),
            require_value(
                "model",
                "wan2.7-i2v",
                when=lambda body: body.get("task_type", "first_frame") != "first_frame",
                condition="for this task_type",
            ),
        ),
    ),
    _video_kind(
        "wan26_r2v",
        150,
        Tariff(
            8,
            (
                _RESOLUTION_FACTOR,
                PriceFactor("model", "wan2.6-r2v", {"wan2.6-r2v": 1, "wan2.6-r2v-flash": 0.6}),
            ),
            RequestedSeconds("duration", 5),
        ),
        "reference_urls",
    ),
    SimulatedKind(
        "wan30",
        300,
        _wan30_price,
        (),
        (),
        "image_motion",
        result_seconds=lambda body: RequestedSeconds("duration", 5)(body["parameters"]),
        is_quotable=False,
    ),
    _video_kind(
        "happyhorse",
        120,
        Tariff(
            8,
            (
                PriceFactor("resolution", "720P", {"480P": 0.6, "720P": 1, "1080P": 1.8}),
                PriceFactor("model_version", "1.0", {"1.0": 1, "1.1": 1.3}),
            ),
            RequestedSeconds("duration", 5),
        ),
        "image_url",
        "reference_image_urls",
        "edit_video_url",
        rules=(
            require_inputs(
                "prompt",
                when=input_is("mode", "t2v", "r2v", "video-edit"),
                condition="for this mode",
            ),
            require_inputs("image_url", when=input_is("mode", "i2v"), condition="for i2v"),
            require_items("reference_image_urls", 1, 9, input_is("mode", "r2v"), "for r2v"),
            require_inputs(
                "edit_video_url", when=input_is("mode", "video-edit"), condition="for video-edit"
            ),
        ),
        list_envelope=LIST_AND_TOTAL,
    ),
    _video_kind(
        "seedance",
        100,
        Tariff(
            6,
            (_RESOLUTION_FACTOR, PriceFactor("generate_audio", False, _SOUND_FACTORS)),
            RequestedSeconds("duration", 5),
        ),
        "image_url",
        "end_image_url",
        rules=(
            require_inputs(
                "image_url", when=input_is("mode", "image-to-video"), condition="for image-to-video"
            ),
        ),
        list_envelope=DATA_AND_TOTAL,
    ),
    _video_kind(
        "seedance2",
        180,
        Tariff(
            8,
            (
                _RESOLUTION_FACTOR,
                PriceFactor("generate_audio", True, _SOUND_FACTORS),
                PriceFactor(
                    "model_version",
                    "standard",
                    {"standard": 1, "mini": 0.5, "fast": 0.7, "2.5": 1.6},
                ),
            ),
            RequestedSeconds("duration", 5),
        ),
        "image_url",
        "first_frame_url",
        "last_frame_url",
        "reference_urls",
        "video_urls",
        "audio_urls",
        sound_inputs=("audio_urls",),
        rules=(
            require_inputs(
                "image_url", when=input_is("mode", "image-to-video"), condition="for image-to-video"
            ),
            require_inputs(
                "first_frame_url",
                "last_frame_url",
                when=input_is("mode", "first-last-frames"),
                condition="for first-last-frames",
            ),
            require_any(
                "reference_urls",
                "video_urls",
                "audio_urls",
                when=input_is("mode", "reference"),
                condition="for reference",
            ),
            require_any(
                "reference_urls",
                "video_urls",
                when=_has_only_sound,
                condition="beside audio_urls",
            ),
            require_value("duration", -1, when=_is_seedance_edit, condition="for edit"),
            require_items("video_urls", 1, 1, _is_seedance_edit, "for edit"),
        ),
        reject=reject_minors,
        list_envelope=ROWS_AND_COUNT,
    ),
    _video_kind(
        "veo",
        120,
        Tariff(60, (PriceFactor("model", "veo3_fast", {"veo3": 4, "veo3_fast": 1}),)),
        "imageUrls",
        status_sequence=VEO_SEQUENCE,
        result_fields=("video_output",),
        failure_field="fail_reason",
        code_field="",
        rules=(
            require_items(
                "imageUrls",
                1,
                2,
                input_is("generationType", "FIRST_AND_LAST_FRAMES_2_VIDEO"),
                "for FIRST_AND_LAST_FRAMES_2_VIDEO",
            ),
            require_items(
                "imageUrls",
                1,
                3,
                input_is("generationType", "REFERENCE_2_VIDEO"),
                "for REFERENCE_2_VIDEO",
            ),
        ),
        echo_defaults={"name": "veo video"},
        list_envelope=LIST_AND_TOTAL,
    ),
    _video_kind(
        "grok_video",
        80,
        Tariff(
            5,
            (PriceFactor("model_version", "legacy", {"legacy": 1, "1.5": 1.6}),),
            RequestedSeconds("duration", 6),
        ),
        "image_url",
        "image_urls",
        rules=(
            require_inputs(
                "prompt",
                when=input_is("model_type", "text-to-video", default="text-to-video"),
                condition="for text-to-video",
            ),
            require_any(
                "image_urls",
                "image_url",
                when=input_is("model_type", "image-to-video"),
                condition="for image-to-video",
            ),
            require_value(
                "model_type",
                "image-to-video",
                when=input_is("model_version", "1.5"),
                condition="for model_version 1.5",
            ),
        ),
    ),
    _video_kind(
        "kling_video",
        150,
        Tariff(
            7,
            (
                PriceFactor("quality_mode", "std", {"std": 1, "pro": 1.6, "4k": 4}),
                PriceFactor("sound", False, _SOUND_FACTORS),
                PriceFactor("version", "2.6", {"2.6": 1, "3.0": 1.3}),
            ),
            RequestedSeconds("duration", 5),
        ),
        "image_url",
        "video_url",
        "end_image_url",
        rules=(
            require_inputs(
                "image_url",
                when=input_is("mode", "image-to-video", "motion-control"),
                condition="for this mode",
            ),
            require_inputs(
                "video_url", when=input_is("mode", "motion-control"), condition="for motion-control"
            ),
        ),
        list_envelope=RECORDS_AND_TOTAL,
    ),
    _video_kind(
        "kling_omni",
        180,
        Tariff(
            9,
            (
                PriceFactor("mode", "std", {"std": 1, "pro": 1.6}),
                PriceFactor("sound", False, _SOUND_FACTORS),
            ),
            RequestedSeconds("duration", 5),
        ),
        "image_list",
        rules=(
            require_inputs(
                "prompt",
                when=lambda body: (
                    not body.get("multi_shot") or body.get("shot_type") == "intelligence"
                ),
                condition="unless the storyboard is your own",
            ),
            require_inputs(
                "shot_type", when=input_is("multi_shot", True), condition="when multi_shot is true"
            ),
            check_storyboard,
        ),
        list_envelope=DATA_AND_TOTAL,
    ),
    _video_kind(
        "sora",
        150,
        Tariff(
            10,
            (PriceFactor("quality", "standard", {"standard": 1, "high": 2}),),
            RequestedSeconds("duration_seconds", 5),
        ),
        "image_urls",
        rules=(
            require_inputs(
                "image_urls",
                when=input_is("model_type", "image-to-video", default="image-to-video"),
                condition="unless model_type is text-to-video",
            ),
        ),
    ),
    _video_kind(
        "hailuo",
        150,
        Tariff(
            6,
            (PriceFactor("resolution", "768P", {"768P": 1, "1080P": 1.8}),),
            RequestedSeconds("duration", 6),
        ),
        "image_urls",
        rules=(
            require_value(
                "resolution",
                "768P",
                default="768P",
                when=input_is("duration", "10"),
                condition="for 10 s",
            ),
        ),
    ),
    _video_kind(
        "minimax_h3",
        180,
        Tariff(
            8,
            (PriceFactor("resolution", "768P", {"768P": 1, "2K": 3}),),
            RequestedSeconds("duration", 5),
        ),
        "first_frame_url",
        rules=(
            require_any("prompt", "first_frame_url"),
            require_inputs(
                "first_frame_url",
                when=input_is("mode", "image-to-video"),
                condition="for image-to-video",
            ),
        ),
        list_envelope=RECORDS_AND_TOTAL,
    ),
)
