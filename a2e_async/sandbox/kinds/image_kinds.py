"""The kinds whose results are images."""

from __future__ import annotations

from typing import Any, Final

from .kind import DATA, LIST, RECORDS, ROWS, Body, Kind, Rate, Tariff, row
from .input_rules import both, given, must_be, refuses_under_200


def _row(name: str, median: float, tariff: Tariff, *media: str, **more: Any) -> Kind:
    """Returns a kind that makes images."""
    return row(name, median, tariff, media, recipe="image", **more)


def _photos(body: Body) -> int:
    return int(body.get("total_count", 4))


_NANO_BANANA: Final = Rate(
    "model",
    "nano-banana-pro",
    {"nano-banana": 0.5, "nano-banana-pro": 1, "nano-banana-2": 0.8, "nano-banana-2-lite": 0.4},
)
_QWEN: Final = Rate(
    "model",
    "qwen-image-2.0",
    {
        "qwen-image-2.0": 1,
        "qwen-image-2.0-pro": 2,
        "qwen-image-3.0": 1.5,
        "qwen-image-3.0-pro": 3,
    },
)
_GPT: Final = Rate("model", "gpt-image-1.5", {"gpt-image-1.5": 1, "gpt-image-2": 1.25})

_IMAGES: Final[dict[str, Any]] = {"result_fields": ("image_urls",), "result_list": True}
"""Records that hold a list of image URLs."""

_INPUTS: Final[dict[str, Any]] = {"defaults": {"input_images": []}}

KINDS: Final = (
    _row(
        "text_to_image",
        20,
        Tariff(5, (Rate("model_type", "a2e", {"a2e": 1, "seedream": 2}),), counted="max_images"),
        "input_images",
        start_data="list",
        early=0.25,
        flaky_detail=3,
        list_shape=ROWS,
        defaults={"name": "text to image", "input_images": []},
        **_IMAGES,
    ),
    _row(
        "nano_banana",
        60,
        Tariff(20, (_NANO_BANANA, Rate("image_size", "1K", {"1K": 1, "2K": 1.5, "4K": 2}))),
        "input_images",
        verdict=refuses_under_200,
        list_shape=LIST,
        **_IMAGES,
        **_INPUTS,
    ),
    _row(
        "gpt_image",
        60,
        Tariff(
            20,
            (
                _GPT,
                Rate("quality", "medium", {"medium": 1, "high": 1.75}),
                Rate("resolution", "1K", {"1K": 1, "2K": 1.4, "4K": 1.8}),
            ),
        ),
        "input_images",
        verdict=refuses_under_200,
        rules=(
            must_be(
                "resolution",
                "1K",
                usual="1K",
                when=both(given("model", "gpt-image-2"), given("aspect_ratio", None, "auto")),
                why="when gpt-image-2 gets no aspect_ratio or auto",
            ),
        ),
        list_shape=DATA,
        **_IMAGES,
        **_INPUTS,
    ),
    _row(
        "flux2",
        40,
        Tariff(12, (Rate("resolution", "1K", {"1K": 1, "2K": 2}),)),
        "input_images",
        verdict=refuses_under_200,
        list_shape=RECORDS,
        **_IMAGES,
        **_INPUTS,
    ),
    _row(
        "qwen_image",
        40,
        Tariff(8, (_QWEN,)),
        "input_images",
        list_shape=None,
        **_IMAGES,
        **_INPUTS,
    ),
    _row(
        "kling_image",
        50,
        Tariff(10, (Rate("resolution", "1k", {"1k": 1, "2k": 2}),), counted="n"),
        "input_images",
        list_shape=DATA,
        **_IMAGES,
        **_INPUTS,
    ),
    _row(
        "image_edit",
        60,
        Tariff(15, (Rate("edit_type", "clothing", {"clothing": 1, "product": 1.2}),)),
        "image_urls",
        list_shape=LIST,
    ),
    _row(
        "virtual_try_on",
        60,
        Tariff(25),
        "image_urls",
        result_fields=("result_image_url", "result_url"),
    ),
    _row(
        "product_avatar",
        120,
        Tariff(30),
        "image_urls",
        result_fields=("result_image_url",),
        gives_up=7200.0,
        refund_failed=True,
        list_shape=DATA,
    ),
    _row(
        "photobook",
        240,
        Tariff(10, (Rate("total_count", 4, {4: 4, 8: 8, 12: 12, 16: 16}),)),
        "face_image_url",
        files=_photos,
        result_list=True,
        list_shape=RECORDS,
    ),
)
