"""Sample media for experiments and tests: a spoken sentence, a portrait, a clip.

All three were made for this project and may be used freely with it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def speech() -> Path:
    """Return a spoken sentence: WAV, 16 kHz, mono, 16 bit, about 5 seconds."""
    return _file("speech.wav")


def portrait() -> Path:
    """Return a drawn portrait: PNG, 384x512 pixels."""
    return _file("portrait.png")


def clip() -> Path:
    """Return the portrait in motion: MP4 (H.264), 2.5 seconds, without sound."""
    return _file("clip.mp4")


def _file(name: str) -> Path:
    return Path(str(resources.files(__name__).joinpath(name)))
