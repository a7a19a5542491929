"""Start inputs of the kinds about people, voices and existing videos."""

from typing import Any

from a2e_async.sandbox import media
from tests.samples import CLIP, FACE, LEAST, OTHER, TALK, Inputs

ID = "66ea4dd87db10c73fa29b570"

PROMPTS: dict[str, Any] = {"prompt": "smile and speak", "negative_prompt": "blurry"}
SPEAK: dict[str, Any] = {"anchor_id": ID, "anchor_type": 0}
SPOKEN: dict[str, Any] = {**SPEAK, "audio_src": TALK}
CANVAS: dict[str, Any] = {
    "web_bg_width": 1920,
    "web_bg_height": 1080,
    "web_people_width": 800,
    "web_people_height": 900,
}
MOVES: dict[str, Any] = {"image_url": FACE, "video_url": CLIP}
SWAP: dict[str, Any] = {"video_url": CLIP, "face_url": FACE}

MOST: dict[str, Inputs] = {
    "face_swap": {**SWAP, "cover_url": OTHER, "model_version": "v1"},
    "face_swap_preview": SWAP,
    "head_swap": {"image_url": FACE, "target_image_url": CLIP},
    "actor_swap": {**MOVES, **PROMPTS, "processing_limit": 600},
    "motion_transfer": {
        **MOVES,
        "positive_prompt": "a dance",
        "negative_prompt": "blurry",
        "processing_limit": 600,
    },
    "talking_photo": {"image_url": FACE, "audio_url": TALK, "duration": 20, **PROMPTS},
    "avatar_video": {
        **SPEAK,
        **CANVAS,
        "custom_voice": TALK,
        "anchor_background_img": OTHER,
        "anchor_background_color": "rgba(0,255,0,1)",
        "custom_back_id": ID,
        "face_swap_id": ID,
        "color": "rgba(0,0,0,1)",
        "web_people_x": 10,
        "web_people_y": -10,
        "web_dist_bg_width": -1,
        "web_dist_bg_height": -1,
        "web_dist_bg_x": 0,
        "web_dist_bg_y": 0,
        "resolution": 720,
        "msg": "Good morning.",
        "erode_factor": 0.5,
        "is_skip_rs": True,
        "is_skip_gp": False,
        "gp_model": {"hue": 120},
        "is_caption_enabled": True,
        "caption_align": {"bottom": 20},
        "is_to_public_pool": False,
        "lip_model": "a",
        "wl_model": "b",
    },
    "video_twin": {
        "image_url": FACE,
        "video_background_image": OTHER,
        "video_background_color": "rgba(0,0,0,1)",
    },
    "voice_clone": {
        "voice_urls": [TALK, f"{TALK}?2"],
        "gender": "male",
        "denoise": True,
        "enhance_voice_similarity": False,
        "model": "minimax",
        "language": "de",
    },
    "think_sound": {
        "video_url": CLIP,
        "caption": "rain on a roof",
        "cot_description": "first drops, then a storm",
        "seed": 7,
    },
    "caption_removal": {"source_url": CLIP},
    "upscale": {"source_url": FACE},
}
"""All inputs of each kind that can be combined."""

REFUSED: list[tuple[str, Inputs, str]] = [
    ("face_swap", {"video_url": CLIP}, "face_url"),
    ("face_swap", {**SWAP, "video_url": media.speech()}, "video_url"),
    ("face_swap", {**SWAP, "face_url": media.clip()}, "face_url"),
    ("face_swap", {**SWAP, "model_version": 2}, "model_version"),
    ("face_swap_preview", {**SWAP, "name": "mine"}, "name"),
    ("head_swap", {"image_url": FACE}, "target_image_url"),
    ("head_swap", {"image_url": FACE, "target_image_url": media.speech()}, "target_image_url"),
    ("head_swap", {"image_url": media.clip(), "target_image_url": OTHER}, "image_url"),
    ("head_swap", {**LEAST["head_swap"], "name": "mine"}, "name"),
    ("actor_swap", {**MOVES, "processing_limit": "300"}, "processing_limit"),
    ("actor_swap", {**MOVES, "extra": {"timeout": 60}}, "extra"),
    ("actor_swap", {**MOVES, "processing_limit": 0}, "processing_limit"),
    ("motion_transfer", {**MOVES, "processing_limit": -5}, "processing_limit"),
    ("motion_transfer", {**MOVES, "video_url": [CLIP]}, "video_url"),
    ("talking_photo", {"image_url": FACE, "negative_prompt": "blurry"}, "prompt"),
    ("talking_photo", {"image_url": FACE, "prompt": "a", "negative_prompt": ""}, "negative_prompt"),
    ("talking_photo", {**LEAST["talking_photo"], "duration": 0}, "duration"),
    ("talking_photo", {**LEAST["talking_photo"], "duration": 21}, "duration"),
    ("think_sound", {"video_url": CLIP, "seed": "7"}, "seed"),
    ("think_sound", {"video_url": media.portrait()}, "video_url"),
    ("caption_removal", {"source_url": media.portrait()}, "source_url"),
    ("upscale", {"source_url": media.speech()}, "source_url"),
    ("avatar_video", SPEAK, "audio_src"),
    ("avatar_video", {**SPOKEN, "custom_voice": TALK}, "audio_src"),
    ("avatar_video", {**SPEAK, "audio_src": media.portrait()}, "audio_src"),
    ("avatar_video", {**SPOKEN, "anchor_id": " "}, "anchor_id"),
    ("avatar_video", {**SPOKEN, "anchor_id": "not an id"}, "anchor_id"),
    ("avatar_video", {**SPOKEN, **CANVAS, "back_id": "a/b"}, "back_id"),
    ("avatar_video", {**SPOKEN, **CANVAS, "custom_back_id": ""}, "custom_back_id"),
    ("avatar_video", {**SPOKEN, "face_swap_id": "x y"}, "face_swap_id"),
    ("avatar_video", {**SPOKEN, "extra": {"title": "mine"}}, "extra"),
    ("avatar_video", {**SPOKEN, "extra": {"name": "mine"}}, "extra"),
    *(("avatar_video", {**SPOKEN, size: least}, size) for size in CANVAS for least in (0, -1)),
    ("avatar_video", {**SPOKEN, "resolution": 0}, "resolution"),
    ("avatar_video", {**SPOKEN, "web_dist_bg_width": 0}, "web_dist_bg_width"),
    ("avatar_video", {**SPOKEN, "web_dist_bg_height": -2}, "web_dist_bg_height"),
    ("avatar_video", {**SPOKEN, "anchor_type": None}, "anchor_type"),
    ("avatar_video", {**SPOKEN, "anchor_type": 2}, "anchor_type"),
    ("avatar_video", {**SPOKEN, "anchor_type": "0"}, "anchor_type"),
    ("avatar_video", {**SPOKEN, "anchor_type": True}, "anchor_type"),
    ("avatar_video", {**SPOKEN, "back_id": ID, "custom_back_id": ID, **CANVAS}, "back_id"),
    ("avatar_video", {**SPOKEN, "back_id": ID}, "web_bg_width"),
    ("avatar_video", {**SPOKEN, "custom_back_id": ID}, "web_bg_width"),
    *(
        ("avatar_video", {**SPOKEN, **CANVAS, "color": "rgba(0,0,0,1)", size: None}, size)
        for size in CANVAS
    ),
    ("avatar_video", {**SPOKEN, "name": "x" * 41}, "name"),
    ("video_twin", {"image_url": FACE, "video_url": CLIP}, "video_url"),
    ("video_twin", {"video_url": media.portrait()}, "video_url"),
    ("voice_clone", {"voice_urls": []}, "voice_urls"),
    ("voice_clone", {"voice_urls": TALK}, "voice_urls"),
    ("voice_clone", {"voice_urls": [TALK, media.portrait()]}, "voice_urls"),
    ("voice_clone", {"voice_urls": [TALK], "gender": "other"}, "gender"),
    ("voice_clone", {"voice_urls": [TALK], "denoise": 1}, "denoise"),
]

ALLOWED: list[tuple[str, Inputs]] = [
    ("face_swap", {**SWAP, "model_version": "v3"}),
    ("face_swap", {"video_url": media.portrait(), "face_url": FACE, "model_version": "v2"}),
    ("head_swap", {"image_url": FACE, "target_image_url": media.clip()}),
    ("talking_photo", {**LEAST["talking_photo"], "duration": 1}),
    ("avatar_video", {**SPOKEN, "back_id": ID, **CANVAS, "name": "x" * 40}),
    ("avatar_video", {**SPOKEN, "anchor_type": 1, "web_bg_width": 1920}),
    ("avatar_video", {**SPOKEN, "web_dist_bg_width": -1, "web_dist_bg_height": 1}),
    ("avatar_video", {**SPOKEN, "web_people_x": -10, "web_dist_bg_y": -20}),
    ("actor_swap", {**MOVES, "processing_limit": 1}),
    ("voice_clone", {"voice_urls": (media.speech(),), "model": "newer", "language": "xx"}),
]
