"""The kinds whose results are images."""

from __future__ import annotations

from typing import Any, Final

from .input_rules import all_of, input_is, reject_prompt_in_record, require_value
from .kind import (
    DATA_AND_TOTAL,
    LIST_AND_TOTAL,
    RECORDS_AND_TOTAL,
    ROWS_AND_COUNT,
    Body,
    PriceFactor,
    SimulatedKind,
    Tariff,
    priced_kind,
)


def _image_kind(
    name: str, median: float, tariff: Tariff, *media: str, **more: Any
) -> SimulatedKind:
    """Return a kind whose results are images."""
    return priced_kind(name, median, tariff, media, recipe="image", **more)


def _photo_count(body: Body) -> int:
    return int(body.get("total_count", 4))


_NANO_BANANA_FACTOR: Final = PriceFactor(
    "model",
    "nano-banana-pro",
    {"nano-banana": 0.5, "nano-banana-pro": 1, "nano-banana-2": 0.8, "nano-banana-2-lite": 0.4},
)
_QWEN_FACTOR: Final = PriceFactor(
    "model",
    "qwen-image-2.0",
    {
        "qwen-image-2.0": 1,
        "qwen-image-2.0-pro": 2,
        "qwen-image-3.0": 1.5,
        "qwen-image-3.0-pro": 3,
    },
)
_GPT_FACTOR: Final = PriceFactor(
    "model", "gpt-image-1.5", {"gpt-image-1.5": 1, "gpt-image-2": 1.25}
)

_IMAGE_LIST_RESULT: Final[dict[str, Any]] = {"result_fields": ("image_urls",), "result_list": True}
"""For records that hold a list of image URLs."""

_EMPTY_INPUT_IMAGES: Final[dict[str, Any]] = {"echo_defaults": {"input_images": []}}

IMAGE_KINDS: Final = (
    _image_kind(
        "text_to_image",
        20,
        Tariff(
            5,
            (PriceFactor("model_type", "a2e", {"a2e": 1, "seedream": 2}),),
            count_input="max_images",
        ),
        "input_images",
        time_range=(0, 60),
        start_data_is_list=True,
        list_envelope=ROWS_AND_COUNT,
        echo_defaults={"name": "text to image", "input_images": []},
        **_IMAGE_LIST_RESULT,
    ),
    _image_kind(
        "nano_banana",
        60,
        Tariff(
            20,
            (_NANO_BANANA_FACTOR, PriceFactor("image_size", "1K", {"1K": 1, "2K": 1.5, "4K": 2})),
        ),
        "input_images",
        time_range=(40, 90),
        reject=reject_prompt_in_record,
        list_envelope=LIST_AND_TOTAL,
        **_IMAGE_LIST_RESULT,
        **_EMPTY_INPUT_IMAGES,
    ),
    _image_kind(
        "gpt_image",
        60,
        Tariff(
            20,
            (
                _GPT_FACTOR,
                PriceFactor("quality", "medium", {"medium": 1, "high": 1.75}),
                PriceFactor("resolution", "1K", {"1K": 1, "2K": 1.4, "4K": 1.8}),
            ),
        ),
        "input_images",
        reject=reject_prompt_in_record,
        rules=(
            require_value(
                "resolution",
                "1K",
                default="1K",
                when=all_of(
                    input_is("model", "gpt-image-2"), input_is("aspect_ratio", None, "auto")
                ),
                condition="when gpt-image-2 gets no aspect_ratio or auto",
            ),
        ),
        list_envelope=DATA_AND_TOTAL,
        **_IMAGE_LIST_RESULT,
        **_EMPTY_INPUT_IMAGES,
    ),
    _image_kind(
        "flux2",
        40,
        Tariff(12, (PriceFactor("resolution", "1K", {"1K": 1, "2K": 2}),)),
        "input_images",
        reject=reject_prompt_in_record,
        list_envelope=RECORDS_AND_TOTAL,
        **_IMAGE_LIST_RESULT,
        **_EMPTY_INPUT_IMAGES,
    ),
    _image_kind(
        "qwen_image",
        40,
        Tariff(8, (_QWEN_FACTOR,)),
        "input_images",
        list_envelope=None,
        **_IMAGE_LIST_RESULT,
        **_EMPTY_INPUT_IMAGES,
    ),
    _image_kind(
        "kling_image",
        50,
        Tariff(10, (PriceFactor("resolution", "1k", {"1k": 1, "2k": 2}),), count_input="n"),
        "input_images",
        list_envelope=DATA_AND_TOTAL,
        **_IMAGE_LIST_RESULT,
        **_EMPTY_INPUT_IMAGES,
    ),
    _image_kind(
        "wan27_image",
        40,
        Tariff(
            10, (PriceFactor("model", "wan2.7-image", {"wan2.7-image": 1, "wan2.7-image-pro": 2}),)
        ),
        "input_images",
        has_first_detail=False,
        list_envelope=LIST_AND_TOTAL,
        **_IMAGE_LIST_RESULT,
        **_EMPTY_INPUT_IMAGES,
    ),
    _image_kind(
        "wan26_image",
        40,
        Tariff(8),
        "input_images",
        **_IMAGE_LIST_RESULT,
        **_EMPTY_INPUT_IMAGES,
    ),
    _image_kind(
        "image_edit",
        60,
        Tariff(15, (PriceFactor("edit_type", "clothing", {"clothing": 1, "product": 1.2}),)),
        "image_urls",
        list_envelope=LIST_AND_TOTAL,
    ),
    _image_kind(
        "virtual_try_on",
        60,
        Tariff(25),
        "image_urls",
        result_fields=("result_image_url", "result_url"),
    ),
    _image_kind(
        "product_avatar",
        120,
        Tariff(30),
        "image_urls",
        result_fields=("result_image_url",),
        gives_up_after=7200.0,
        refund_failed=True,
        list_envelope=DATA_AND_TOTAL,
    ),
    _image_kind(
        "photobook",
        240,
        Tariff(10, (PriceFactor("total_count", 4, {4: 4, 8: 8, 12: 12, 16: 16}),)),
        "face_image_url",
        file_count=_photo_count,
        result_list=True,
        list_envelope=RECORDS_AND_TOTAL,
    ),
)
