"""The kinds about people and voices, and those that process an existing video."""

from __future__ import annotations

from typing import Any, Final

from .input_rules import reject_two_backgrounds, require_any, require_inputs, require_suffix
from .kind import (
    DATA_AND_TOTAL,
    LIST_AND_TOTAL,
    RECORDS_AND_TOTAL,
    Body,
    PriceFactor,
    RequestedSeconds,
    SimulatedKind,
    Tariff,
    priced_kind,
)
from .status_sequences import AVATAR_SEQUENCE, DUBBING_SEQUENCE, TWIN_SEQUENCE, VOICE_SEQUENCE


def _footage_kind(
    name: str, median: float, tariff: Tariff, *media: str, **more: Any
) -> SimulatedKind:
    """Return a kind whose result is a video as long as its first medium."""
    return priced_kind(name, median, tariff, media, **{"recipe": "footage", **more})


def _no_files(body: Body) -> int:
    return 0


_MISSPELT_FAILURE_FIELD: Final = {"failure_field": "faild_message"}
"""The misspelt field name of the kinds from 2024."""

_ERROR_CODE_FIELDS: Final = {
    **_MISSPELT_FAILURE_FIELD,
    "code_field": "error_code",
    "no_failure_values": (None, "0"),
}
_SPEECH_SECONDS: Final = RequestedSeconds("duration", 3)
_SPEECH_TARIFF: Final = Tariff(2.6, (), _SPEECH_SECONDS, seconds_step=5)

PERSON_KINDS: Final = (
    _footage_kind(
        "face_swap",
        300,
        Tariff(1, (PriceFactor("model_version", "v1", {"v1": 1, "v2": 2}),), "source"),
        "video_url",
        "face_url",
        time_range=(0, 900),
        keeps_images=True,
        length_field="duration",
        **_ERROR_CODE_FIELDS,
    ),
    _footage_kind(
        "face_swap_preview",
        30,
        Tariff(2),
        "video_url",
        "face_url",
        keeps_images=True,
        detail_id_parameter="_id",
        detail_is_list=True,
        **_ERROR_CODE_FIELDS,
    ),
    _footage_kind(
        "head_swap",
        120,
        Tariff(2, (), "source"),
        "target_image_url",
        "image_url",
        keeps_images=True,
        max_source_seconds=15.0,
        refund_deleted=True,
        list_envelope=DATA_AND_TOTAL,
    ),
    _footage_kind(
        "actor_swap",
        240,
        Tariff(2, (), "source"),
        "video_url",
        "image_url",
        list_envelope=RECORDS_AND_TOTAL,
    ),
    _footage_kind(
        "motion_transfer",
        240,
        Tariff(2, (), "source"),
        "video_url",
        "image_url",
        result_fields=("result_video_url", "result_url"),
    ),
    _footage_kind(
        "talking_photo",
        120,
        _SPEECH_TARIFF,
        "image_url",
        "audio_url",
        recipe="talking",
        sound_inputs=("audio_url",),
        result_seconds=_SPEECH_SECONDS,
        echo_defaults={"duration": 3},
    ),
    _footage_kind(
        "talking_video",
        120,
        _SPEECH_TARIFF,
        "video_url",
        "audio_url",
        recipe="talking",
        sound_inputs=("audio_url",),
        result_seconds=_SPEECH_SECONDS,
        echo_defaults={"duration": 3},
        refund_deleted=True,
    ),
    _footage_kind(
        "avatar_video",
        180,
        Tariff(1, (PriceFactor("resolution", 1080, {720: 0.8, 1080: 1, 2160: 2}),), "source"),
        "audioSrc",
        "custom_voice",
        recipe="talking",
        sound_inputs=("audioSrc", "custom_voice"),
        time_range=(0, 900),
        seconds_per_source_second=5.0,
        status_sequence=AVATAR_SEQUENCE,
        rules=(
            require_any("audioSrc", "custom_voice"),
            require_inputs(
                "web_bg_width",
                "web_bg_height",
                "web_people_width",
                "web_people_height",
                when=lambda body: any(
                    body.get(name) for name in ("back_id", "custom_back_id", "color")
                ),
                condition="with a background",
            ),
        ),
        reject=reject_two_backgrounds,
        detail_id_parameter="video_id",
        result_fields=("result",),
        failure_field="msg",
        code_field="",
    ),
    _footage_kind(
        "video_twin",
        1200,
        Tariff(300),
        "video_url",
        "image_url",
        time_range=(600, 7200),
        status_sequence=TWIN_SEQUENCE,
        rules=(require_any("image_url", "video_url"),),
        result_fields=("preview_result_url",),
        product_id_field="anchor_id",
        never_expires=True,
        echo_defaults={"gender": "female"},
        is_quotable=False,
    ),
    _footage_kind(
        "voice_clone",
        90,
        Tariff(
            50,
            (
                PriceFactor(
                    "model", "a2e", {"a2e": 1, "cartesia": 3, "minimax": 4, "elevenlabs": 6}
                ),
            ),
        ),
        "voice_urls",
        time_range=(60, 120),
        recipe="",
        status_sequence=VOICE_SEQUENCE,
        file_count=_no_files,
        result_fields=(),
        one_at_a_time=True,
        never_expires=True,
        echo_defaults={"gender": "female", "train_mode": "a2e", "speaker_id": ""},
        list_envelope=None,
        refund_failed=True,
        is_quotable=False,
    ),
    _footage_kind(
        "dubbing",
        60,
        Tariff(1 / 6, (), "source"),
        "source_url",
        recipe="dub",
        sound_inputs=("source_url",),
        status_sequence=DUBBING_SEQUENCE,
        echo_defaults={"num_speakers": 1, "drop_background_audio": False},
        fixed_echoes={"source_lang": "auto"},
        length_field="duration",
        unknown_is_null=True,
        **_MISSPELT_FAILURE_FIELD,
    ),
    _footage_kind(
        "think_sound",
        60,
        Tariff(10),
        "video_url",
        recipe="sounded",
        rules=(require_suffix("video_url", ".mp4", ".avi", ".mov", ".mkv"),),
        list_envelope=LIST_AND_TOTAL,
    ),
    _footage_kind("caption_removal", 120, Tariff(0.5, (), "source"), "source_url"),
    _footage_kind(
        "upscale",
        120,
        Tariff(0.5, (), "source"),
        "source_url",
        keeps_images=True,
        list_envelope=LIST_AND_TOTAL,
    ),
)
