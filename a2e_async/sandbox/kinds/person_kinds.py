"""The kinds around people and their voices, and those that work a given video over."""

from __future__ import annotations

from typing import Any, Final

from .kind import DATA, LIST, RECORDS, Asked, Body, Kind, Rate, Tariff, row
from .input_rules import ends_with, needs, needs_one, one_background
from .status_sequences import AVATAR, TWIN, VOICE


def _row(name: str, median: float, tariff: Tariff, *media: str, **more: Any) -> Kind:
    """Returns a kind that gives a video back, as long as the one it got."""
    return row(name, median, tariff, media, **{"recipe": "footage", **more})


def _none(body: Body) -> int:
    return 0


_SIC: Final = {"failure_field": "faild_message"}
"""The spelling of the kinds of 2024."""

_ERROR_CODE: Final = {**_SIC, "code_field": "error_code", "fine": (None, "0")}
_SPOKEN: Final = Asked("duration", 3)
_SPEAKING: Final = Tariff(2.6, (), _SPOKEN, block=5)

KINDS: Final = (
    _row(
        "face_swap",
        300,
        Tariff(1, (Rate("model_version", "v1", {"v1": 1, "v2": 2}),), "source"),
        "video_url",
        "face_url",
        follows=True,
        length_field="duration",
        **_ERROR_CODE,
    ),
    _row(
        "face_swap_preview",
        30,
        Tariff(2),
        "video_url",
        "face_url",
        follows=True,
        detail_by="_id",
        detail_list=True,
        **_ERROR_CODE,
    ),
    _row(
        "head_swap",
        120,
        Tariff(2, (), "source"),
        "target_image_url",
        "image_url",
        follows=True,
        longest=15.0,
        refund_deleted=True,
        list_shape=DATA,
    ),
    _row(
        "actor_swap",
        240,
        Tariff(2, (), "source"),
        "video_url",
        "image_url",
        list_shape=RECORDS,
    ),
    _row(
        "motion_transfer",
        240,
        Tariff(2, (), "source"),
        "video_url",
        "image_url",
        result_fields=("result_video_url", "result_url"),
    ),
    _row(
        "talking_photo",
        120,
        _SPEAKING,
        "image_url",
        "audio_url",
        recipe="talking",
        sound=("audio_url",),
        seconds=_SPOKEN,
        defaults={"duration": 3},
    ),
    _row(
        "talking_video",
        120,
        _SPEAKING,
        "video_url",
        "audio_url",
        recipe="talking",
        sound=("audio_url",),
        seconds=_SPOKEN,
        defaults={"duration": 3},
        refund_deleted=True,
    ),
    _row(
        "avatar_video",
        180,
        Tariff(1, (Rate("resolution", 1080, {720: 0.8, 1080: 1, 2160: 2}),), "source"),
        "audioSrc",
        "custom_voice",
        recipe="talking",
        sound=("audioSrc", "custom_voice"),
        pace=5.0,
        walk=AVATAR,
        rules=(
            needs_one("audioSrc", "custom_voice"),
            needs(
                "web_bg_width",
                "web_bg_height",
                "web_people_width",
                "web_people_height",
                when=lambda body: any(
                    body.get(name) for name in ("back_id", "custom_back_id", "color")
                ),
                why="with a background",
            ),
        ),
        verdict=one_background,
        detail_by="video_id",
        result_fields=("result",),
        failure_field="msg",
        code_field="",
    ),
    _row(
        "video_twin",
        1200,
        Tariff(300),
        "video_url",
        "image_url",
        walk=TWIN,
        rules=(needs_one("image_url", "video_url"),),
        start_data="either",
        result_fields=("preview_result_url",),
        made_id="anchor_id",
        lasting=True,
        defaults={"gender": "female"},
        quotable=False,
    ),
    _row(
        "voice_clone",
        90,
        Tariff(
            50, (Rate("model", "a2e", {"a2e": 1, "cartesia": 3, "minimax": 4, "elevenlabs": 6}),)
        ),
        "voice_urls",
        recipe="",
        walk=VOICE,
        files=_none,
        result_fields=(),
        single=True,
        lasting=True,
        defaults={"gender": "female", "train_mode": "a2e", "speaker_id": ""},
        list_shape=None,
        refund_failed=True,
        quotable=False,
    ),
    _row(
        "dubbing",
        60,
        Tariff(1 / 6, (), "source"),
        "source_url",
        recipe="dub",
        sound=("source_url",),
        defaults={"source_lang": "auto", "num_speakers": 1, "drop_background_audio": False},
        length_field="duration",
        sic={"pending": "pendding"},
        unknown_is_null=True,
        refund_deleted=True,
        **_SIC,
    ),
    _row(
        "think_sound",
        60,
        Tariff(10),
        "video_url",
        recipe="sounded",
        rules=(ends_with("video_url", ".mp4", ".avi", ".mov", ".mkv"),),
        list_shape=LIST,
    ),
    _row("caption_removal", 120, Tariff(0.5, (), "source"), "source_url"),
    _row(
        "upscale",
        120,
        Tariff(0.5, (), "source"),
        "source_url",
        follows=True,
        list_shape=LIST,
    ),
)
