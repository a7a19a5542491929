"""A valid start body for every kind of task."""

from __future__ import annotations

from typing import Any, Final

from a2e_async.sandbox._core.kinds.registry import KINDS

SOUND: Final = "https://example.com/talk.wav"
IMAGE: Final = "https://example.com/a.png"
OTHER_IMAGE: Final = "https://example.com/b.jpg"
VIDEO: Final = "https://example.com/a.mp4"
WORDS: Final = {"prompt": "wave", "negative_prompt": "blurry"}

BODIES: Final[dict[str, dict[str, Any]]] = {
    "text_to_image": {"name": "picture", "prompt": "a dog"},
    "nano_banana": {"name": "picture", "prompt": "a dog"},
    "gpt_image": {"name": "picture", "prompt": "a dog"},
    "flux2": {"name": "picture", "prompt": "a dog", "input_images": [IMAGE]},
    "qwen_image": {"name": "picture", "prompt": "a dog"},
    "kling_image": {"name": "picture", "prompt": "a dog"},
    "image_edit": {"name": "edit", "edit_type": "clothing", "image_urls": [IMAGE, OTHER_IMAGE]},
    "virtual_try_on": {"name": "try", "image_urls": [IMAGE, OTHER_IMAGE]},
    "product_avatar": {
        "name": "product",
        "image_urls": [IMAGE, OTHER_IMAGE],
        "product_rect": {"x": 1, "y": 2, "width": 30, "height": 40, "rotation": 0, "scale": 1},
    },
    "photobook": {"name": "book", "face_image_url": IMAGE},
    "image_to_video": {"name": "image", "image_url": IMAGE, **WORDS},
    "wan": {"name": "wan", "image_url": IMAGE, "prompt": "wave"},
    "wan30": {
        "name": "wan",
        "model": "wan3.0-video",
        "input": {"prompt": "wave"},
        "parameters": {"duration": 5},
    },
    "happyhorse": {"name": "horse", "mode": "t2v", "prompt": "wave"},
    "seedance": {"name": "dance", "prompt": "wave"},
    "seedance2": {"name": "dance", "prompt": "wave"},
    "veo": {"name": "veo", "prompt": "wave", "aspectRatio": "16:9"},
    "grok_video": {"name": "grok", "prompt": "wave"},
    "kling_video": {"name": "kling", "mode": "text-to-video", "prompt": "wave"},
    "kling_omni": {"name": "omni", "prompt": "wave", "image_list": [IMAGE]},
    "sora": {"name": "sora", "prompt": "wave", "image_urls": [IMAGE]},
    "face_swap": {"name": "swap", "video_url": VIDEO, "face_url": IMAGE},
    "face_swap_preview": {"video_url": VIDEO, "face_url": IMAGE},
    "head_swap": {"image_url": IMAGE, "target_image_url": OTHER_IMAGE},
    "actor_swap": {"name": "swap", "image_url": IMAGE, "video_url": VIDEO},
    "motion_transfer": {"name": "move", "image_url": IMAGE, "video_url": VIDEO},
    "talking_photo": {"name": "photo", "image_url": IMAGE, "audio_url": SOUND, **WORDS},
    "talking_video": {
        "name": "clip",
        "video_url": VIDEO,
        "audio_url": "https://example.com/a.mp3",
        "prompt": "speak",
        "negative_prompt": "blurry",
        "duration": 5,
    },
    "avatar_video": {
        "title": "avatar",
        "audioSrc": SOUND,
        "anchor_id": "6" * 24,
        "anchor_type": 0,
    },
    "video_twin": {"name": "twin", "video_url": VIDEO},
    "voice_clone": {"name": "voice", "voice_urls": [SOUND]},
    "dubbing": {"source_url": SOUND, "target_lang": "es", "name": "talk"},
    "think_sound": {"name": "sound", "video_url": VIDEO},
    "caption_removal": {"name": "captions", "source_url": VIDEO},
    "upscale": {"name": "large", "source_url": IMAGE},
}

STARTS: Final = {kind.name: kind.start_path for kind in KINDS.values()}
