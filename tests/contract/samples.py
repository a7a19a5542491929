"""Inputs of one valid start for every kind."""

from collections.abc import Mapping
from typing import Any

FACE = "https://media.example/face.png"
OTHER = "https://media.example/other.png"
CLIP = "https://media.example/clip.mp4"
TALK = "https://media.example/talk.wav"
ANCHOR = "66ea4dd87db10c73fa29b5aa"

PROMPTS: Mapping[str, Any] = {"prompt": "a lake at dawn", "negative_prompt": "blurry"}

SAMPLES: Mapping[str, Mapping[str, Any]] = {
    "text_to_image": {"prompt": "a lake", "max_images": 2},
    "nano_banana": {"prompt": "a lake", "input_images": [FACE]},
    "gpt_image": {"prompt": "a lake", "quality": "high"},
    "flux2": {"prompt": "a lake", "aspect_ratio": "1:1"},
    "qwen_image": {"prompt": "a lake", "size": "1024*1024"},
    "kling_image": {"prompt": "a lake", "n": 2},
    "image_edit": {"edit_type": "clothing", "image_urls": [FACE, OTHER]},
    "virtual_try_on": {"image_urls": [FACE, OTHER]},
    "product_avatar": {
        "image_urls": [OTHER, FACE],
        "product_rect": {"x": 10, "y": 20, "width": 100, "height": 80, "rotation": 0, "scale": 1},
    },
    "photobook": {"face_image_url": FACE, "total_count": 4},
    "image_to_video": {"image_url": FACE, **PROMPTS, "number_of_images": 2},
    "wan": {"image_url": FACE, "prompt": "wave", "duration": 5},
    "wan30": {"model": "wan3.0-video", "prompt": "a lake"},
    "happyhorse": {"mode": "i2v", "image_url": FACE, "prompt": "wave", "duration": 5},
    "seedance": {"mode": "image-to-video", "image_url": FACE, "prompt": "wave"},
    "seedance2": {"mode": "image-to-video", "image_url": FACE, "prompt": "wave"},
    "veo": {"prompt": "a lake", "aspect_ratio": "16:9"},
    "grok_video": {"prompt": "a lake", "duration": 6},
    "kling_video": {"mode": "text-to-video", "prompt": "a lake", "duration": 5},
    "kling_omni": {"prompt": "<<<image_1>>> waves", "image_list": [FACE], "duration": 5},
    "sora": {"prompt": "a lake", "model_type": "text-to-video"},
    "avatar_video": {"audio_src": TALK, "anchor_id": ANCHOR, "anchor_type": 0},
    "video_twin": {"image_url": FACE},
    "talking_photo": {"image_url": FACE, "audio_url": TALK, **PROMPTS},
    "talking_video": {"video_url": CLIP, "audio_url": TALK, **PROMPTS},
    "face_swap": {"video_url": CLIP, "face_url": FACE},
    "face_swap_preview": {"video_url": CLIP, "face_url": FACE},
    "head_swap": {"image_url": FACE, "target_image_url": OTHER},
    "actor_swap": {"image_url": FACE, "video_url": CLIP},
    "motion_transfer": {"image_url": FACE, "video_url": CLIP},
    "dubbing": {"source_url": TALK, "target_lang": "es"},
    "voice_clone": {"voice_urls": [TALK]},
    "think_sound": {"video_url": CLIP},
    "caption_removal": {"source_url": CLIP},
    "upscale": {"source_url": FACE},
}
