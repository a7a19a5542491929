"""Inputs of valid starts for every kind, derived from its declaration.

The fewest inputs come from the command that verifies the service. A kind is in the table here only
where tests want a start that is out of the ordinary.
"""

import os
from collections.abc import Mapping
from typing import Final

from a2e_async.cli.verify.samples import (
    ANCHOR,
    CLIP,
    FACE,
    OTHER,
    PROMPTS,
    TALK,
    Inputs,
    choices,
    fewest_inputs,
    parts,
    value_of,
)
from a2e_async.kinds.registry import kind_named, kind_names

__all__ = [
    "ANCHOR",
    "CLIP",
    "FACE",
    "LEAST",
    "OTHER",
    "PROMPTS",
    "RANDOM_CASES",
    "SAMPLES",
    "TALK",
    "Inputs",
    "choices",
    "parts",
    "value_of",
]

RANDOM_CASES: Final = int(os.environ.get("A2E_RANDOM_CASES", "10000"))
"""How many seeded random cases the tests of what may be anything try; ``.ci/run`` has more."""

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


LEAST: Mapping[str, Inputs] = {name: fewest_inputs(kind_named(name)) for name in kind_names()}
"""The fewest inputs of a start of each kind."""

SAMPLES: Mapping[str, Inputs] = {
    name: {**least, **_MORE.get(name, {})} for name, least in LEAST.items()
}
"""A start of each kind; some make several tasks."""
