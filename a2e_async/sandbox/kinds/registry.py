"""The task kinds the sandbox can play, one table row each, by family.

A kind is added by a row in the module of its family; what is not said there, kinds.json and
openapi.json tell. Two words in a prompt are understood: ``refuse-me`` is refused under 200 with a
``failed_message`` by nano_banana, gpt_image and flux2, ``minor-me`` with 403 and code 1003 by
seedance2. Neither is charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from . import image_kinds as kind_images, person_kinds as kind_people, video_kinds as kind_videos
from .kind import UNKNOWN_SECONDS, Body, Kind, body_problems, is_own_machine, media_urls

__all__ = [
    "BY_START",
    "KINDS",
    "PRESIGN_COINS",
    "UNKNOWN_SECONDS",
    "Body",
    "Kind",
    "body_problems",
    "is_own_machine",
    "media_urls",
]

PRESIGN_COINS: Final = 1
"""Price of one upload permit."""

KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind for kind in (*kind_images.KINDS, *kind_videos.KINDS, *kind_people.KINDS)
}
"""Every kind by its name."""

BY_START: Final[Mapping[str, Kind]] = {kind.start_path: kind for kind in KINDS.values()}
"""Every kind by the path of its start."""
