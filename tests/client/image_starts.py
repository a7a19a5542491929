"""Start inputs of the kinds that make images."""

from collections.abc import Mapping
from typing import Any

from tests.samples import FACE

COAT = "https://media.example/coat.png"
PROMPT: dict[str, Any] = {"prompt": "a lake at dawn"}
RECT = {"x": 100, "y": 150, "width": 200, "height": 300, "rotation": 0, "scale": 1.5}
PRODUCT: dict[str, Any] = {"image_urls": [COAT, FACE], "product_rect": RECT}

Inputs = Mapping[str, Any]

MOST: dict[str, Inputs] = {
    "text_to_image": {
        **PROMPT,
        "width": 768,
        "height": 1024,
        "model_type": "seedream",
        "model_version": "5.0-pro",
        "input_images": [FACE, COAT, FACE],
        "skip_face_enhance": True,
        "aspect_ratio": "3:4",
        "max_images": 2,
    },
    "nano_banana": {
        **PROMPT,
        "model": "nano-banana-2",
        "input_images": [FACE, COAT],
        "aspect_ratio": "4:5",
        "image_size": "2K",
        "google_search": False,
    },
    "gpt_image": {
        **PROMPT,
        "model": "gpt-image-2",
        "input_images": [FACE],
        "aspect_ratio": "21:9",
        "resolution": "4K",
    },
    "flux2": {
        **PROMPT,
        "input_images": [FACE],
        "aspect_ratio": "match_input_image",
        "resolution": "2K",
    },
    "qwen_image": {
        **PROMPT,
        "model": "qwen-image-3.0-pro",
        "input_images": [FACE],
        "size": "2048*1152",
    },
    "kling_image": {
        **PROMPT,
        "input_images": [FACE],
        "aspect_ratio": "21:9",
        "resolution": "2k",
        "n": 3,
    },
    "wan27_image": {
        **PROMPT,
        "model": "wan2.7-image-pro",
        "input_images": [FACE, COAT],
        "aspect_ratio": "16:9",
    },
    "wan26_image": {
        **PROMPT,
        "model": "of the future",
        "input_images": [FACE],
        "aspect_ratio": "1:1",
    },
    "image_edit": {"edit_type": "product", "image_urls": [FACE, COAT, FACE]},
    "virtual_try_on": {"image_urls": [FACE, COAT]},
    "product_avatar": {**PRODUCT, **PROMPT},
    "photobook": {
        "face_image_url": FACE,
        "location": "a beach",
        "clothing": "a suit",
        "total_count": 8,
    },
}
"""All inputs of each kind that can be combined."""

SEVERAL = {"text_to_image": 2, "kling_image": 3}
"""How many remote tasks these starts create, where it is not one."""

OUTPUTS = {**SEVERAL, "photobook": 8}
"""How many images they produce, where it is not one."""
