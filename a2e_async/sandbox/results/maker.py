"""Makes the file behind a finished task, once, when it is first asked for."""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Final, Literal

import attrs

from . import stdlib_media, taskless_files
from .spec import PLACEHOLDER_SECONDS, ResultSpec

MediaBackend = Literal["pyav", "stdlib"]
MediaBackendChoice = Literal["auto", "pyav", "stdlib"]

_SUFFIXES: Final[Mapping[str, str]] = {
    "image": ".png",
    **dict.fromkeys(("talking", "sounded", "footage", "image_motion"), ".mp4"),
}

RESULT_SUFFIXES: Final[Mapping[MediaBackend, Mapping[str, str]]] = {
    "pyav": {"dub": ".mp3", **_SUFFIXES},
    "stdlib": {"dub": ".wav", **_SUFFIXES},
}
"""The ending of a result's name, by tool and recipe."""


@attrs.frozen(slots=True)
class ResultFile:
    """A finished file."""

    path: Path
    content_type: str
    size: int
    etag: str
    made_with: MediaBackend


@attrs.define(slots=True)
class ResultMaker:
    """Makes result files into a directory and remembers them. Thread-safe; blocks."""

    made_with: MediaBackend
    directory: Path = attrs.field(init=False)
    """Where the files go; set before the first order."""

    _made: dict[str, Future[ResultFile]] = attrs.field(
        init=False, factory=dict[str, Future[ResultFile]]
    )
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def get(self, order: ResultSpec) -> ResultFile:
        """Returns the file for an order, making it if nobody did; others wait for the maker."""
        digest = order.digest()
        with self._lock:
            future = self._made.get(digest)
            is_maker = future is None
            if future is None:
                future = self._made[digest] = Future()
        if is_maker:
            try:
                future.set_result(self._make(order, digest))
            except BaseException as error:
                with self._lock:
                    del self._made[digest]
                future.set_exception(error)
                raise
        return future.result()

    def _make(self, order: ResultSpec, digest: str) -> ResultFile:
        path = self.directory / f"{digest[:32]}.result"
        seed = bytes.fromhex(digest)
        kind = taskless_files.make_file(order, path, seed)
        if kind is None and self.made_with == "pyav":
            kind = _make_with_pyav(order, path, seed)
        if kind is None:
            kind = _make_with_stdlib(order, path, seed)
        data = path.read_bytes()
        etag = hashlib.sha256(data).hexdigest()[:32]
        return ResultFile(path, kind, len(data), etag, self.made_with)


def choose_backend(wanted: MediaBackendChoice) -> MediaBackend:
    """Returns the tool that results are made with, without importing it.

    Raises:
        RuntimeError: PyAV is wanted and missing.
    """
    if wanted == "stdlib":
        return "stdlib"
    if importlib.util.find_spec("av") is not None:
        return "pyav"
    if wanted == "pyav":
        msg = 'make_results="pyav" needs PyAV: pip install av'
        raise RuntimeError(msg)
    return "stdlib"


def _make_with_pyav(order: ResultSpec, path: Path, seed: bytes) -> str | None:
    """Makes the file with PyAV; None when even the stand-in sources did not do."""
    from . import pyav_media

    for use_placeholders in (False, True):
        try:
            return _run_pyav_recipe(order, path, seed, use_placeholders=use_placeholders)
        except pyav_media.MEDIA_ERRORS:
            continue
    return None


def _run_pyav_recipe(order: ResultSpec, path: Path, seed: bytes, *, use_placeholders: bool) -> str:
    from . import pyav_media

    def source(ending: str, *, is_sound: bool) -> Path:
        if not use_placeholders:
            for name, (file, _) in order.sources.items():
                if (name in order.sound) is is_sound:
                    return file
        made = path.with_suffix(f".source{ending}")
        if is_sound:
            stdlib_media.write_tone(made, PLACEHOLDER_SECONDS, seed)
        else:
            stdlib_media.write_clip(made, 1.0, seed)
        return made

    if order.recipe == "dub":
        return pyav_media.write_pitch_shifted(path, source(".wav", is_sound=True))
    picture = source(".mp4", is_sound=False)
    if order.recipe == "image":
        pyav_media.write_tinted_image(path, picture, seed)
        return "image/png"
    edge = pyav_media.MAX_EDGE * (2 if order.is_large else 1)
    if order.recipe == "image_motion":
        pyav_media.write_panning_video(path, picture, order.seconds, edge)
        return "video/mp4"
    has_sound = order.recipe == "sounded" or any(name in order.inputs for name in order.sound)
    sound = source(".wav", is_sound=True) if has_sound else None
    own = picture if order.recipe == "footage" else None
    pyav_media.write_video_with_sound(path, picture, sound or own, order.seconds)
    return "video/mp4"


def _make_with_stdlib(order: ResultSpec, path: Path, seed: bytes) -> str:
    if order.recipe == "image":
        stdlib_media.write_striped_png(path, seed)
        return "image/png"
    if order.recipe != "dub":
        stdlib_media.write_clip(path, order.seconds, seed, is_large=order.is_large)
        return "video/mp4"
    source = order.sources.get("source_url")
    if source is None or not stdlib_media.write_quieter_copy(path, source[0]):
        stdlib_media.write_tone(path, PLACEHOLDER_SECONDS, seed)
    return "audio/wav"
