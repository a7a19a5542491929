"""Inputs of valid starts for every kind, derived from its declaration.

A kind stands in a table here only where a rule between its inputs asks for more than the
declaration requires, or where tests want a start that is out of the ordinary.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, get_args, get_origin

from a2e_async._core.schema.inputs import AcceptedMedia, InputField, ItemCount, Range, input_fields
from a2e_async.kinds.registry import kind_named, kind_names

RANDOM_CASES: Final = int(os.environ.get("A2E_RANDOM_CASES", "10000"))
"""How many seeded random cases the tests of what may be anything try; ``.ci/run`` has more."""

FACE = "https://media.example/face.png"
OTHER = "https://media.example/other.png"
CLIP = "https://media.example/clip.mp4"
TALK = "https://media.example/talk.wav"
ANCHOR = "66ea4dd87db10c73fa29b5aa"

Inputs = Mapping[str, Any]

PROMPTS: Inputs = {"prompt": "a lake at dawn", "negative_prompt": "blurry"}

_NEEDED: Mapping[str, Inputs] = {
    "product_avatar": {
        "image_urls": [OTHER, FACE],
        "product_rect": {"x": 10, "y": 20, "width": 100, "height": 80, "rotation": 0, "scale": 1},
    },
    "head_swap": {"target_image_url": OTHER},
    "image_to_video": PROMPTS,
    "wan": {"image_url": FACE},
    "wan30": {"prompt": "a lake"},
    "happyhorse": {"prompt": "a lake"},
    "grok_video": {"prompt": "a lake"},
    "kling_omni": {"prompt": "a lake"},
    "sora": {"image_urls": [FACE]},
    "minimax_h3": {"prompt": "a lake"},
    "wan27_image": {"prompt": "a lake"},
    "wan26_image": {"prompt": "a lake"},
    "avatar_video": {"anchor_id": ANCHOR, "audio_src": TALK},
    "video_twin": {"image_url": FACE},
    "talking_photo": PROMPTS,
    "talking_video": {**PROMPTS, "audio_url": TALK},
    "dubbing": {"target_lang": "es"},
}
"""What a start needs that its declaration does not say, or not precisely."""

_MORE: Mapping[str, Inputs] = {
    "text_to_image": {"max_images": 2},
    "nano_banana": {"input_images": [FACE]},
    "gpt_image": {"quality": "high"},
    "flux2": {"aspect_ratio": "1:1"},
    "qwen_image": {"size": "1024*1024"},
    "kling_image": {"n": 2},
    "photobook": {"total_count": 4},
    "image_to_video": {"number_of_images": 2},
    "wan": {"duration": 5},
    "happyhorse": {"mode": "i2v", "image_url": FACE, "duration": 5},
    "seedance": {"mode": "image-to-video", "image_url": FACE},
    "seedance2": {"mode": "image-to-video", "image_url": FACE},
    "veo": {"aspect_ratio": "16:9"},
    "grok_video": {"duration": 6},
    "kling_video": {"duration": 5},
    "hailuo": {"duration": 6, "resolution": "1080P"},
    "minimax_h3": {"mode": "image-to-video", "first_frame_url": FACE, "duration": 15},
    "wan26_r2v": {"duration": 10, "audio": True},
    "wan27_image": {"input_images": [FACE]},
    "kling_omni": {"prompt": "<<<image_1>>> waves", "image_list": [FACE], "duration": 5},
    "talking_photo": {"audio_url": TALK},
}
"""What tests of the main path give besides: several tasks, media, numbers."""


def choices(hint: Any) -> Iterator[Any]:
    """Yield the known values of a type."""
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    else:
        for part in get_args(hint):
            yield from choices(part)


def parts(hint: Any) -> set[Any]:
    """Return a type and all types that it contains."""
    return {hint, *(p for part in get_args(hint) for p in parts(part))}


def value_of(f: InputField) -> Any:
    """Return a value that fits an input: URLs for media, the first of known values."""
    accepted, count = f.find_metadata(AcceptedMedia), f.find_metadata(ItemCount)
    fitting: Sequence[Any] = tuple(choices(f.hint))
    if accepted is not None:
        fitting = {"image": (FACE, OTHER), "video": (CLIP,), "audio": (TALK,)}[accepted.types[0]]
    elif not fitting:
        bounds = f.find_metadata(Range)
        number = 1 if bounds is None else int(bounds.low)
        by_type = {str: "a lake", bool: True, int: number, float: number, Mapping: {}}
        fitting = [value for cls, value in by_type.items() if cls in parts(f.hint)]
    if "Sequence" not in str(f.hint):
        return fitting[0]
    least = max(1, count.low) if count is not None else 1
    return [fitting[place % len(fitting)] for place in range(least)]


def _needed(name: str) -> dict[str, Any]:
    cls: Any = kind_named(name).input
    derived = {f.name: value_of(f) for f in input_fields(cls) if f.required}
    return {**derived, **_NEEDED.get(name, {})}


LEAST: Mapping[str, Inputs] = {name: _needed(name) for name in kind_names()}
"""The fewest inputs of a start of each kind."""

SAMPLES: Mapping[str, Inputs] = {
    name: {**least, **_MORE.get(name, {})} for name, least in LEAST.items()
}
"""A start of each kind; some make several tasks."""
