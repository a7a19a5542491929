"""Makes the result file of a finished task, once, on its first download."""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Final, Literal

import attrs

from . import samples, taskless_files
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
"""The suffix of a result file's name, by backend and recipe."""


@attrs.frozen(slots=True)
class ResultFile:
    """A finished result file."""

    path: Path
    content_type: str
    size: int
    etag: str
    made_with: MediaBackend


@attrs.define(slots=True)
class ResultMaker:
    """Makes result files in a directory and caches them. Thread-safe; blocks."""

    made_with: MediaBackend
    directory: Path = attrs.field(init=False)
    """The directory of the files; set before the first file is made."""

    _made: dict[str, Future[ResultFile]] = attrs.field(
        init=False, factory=dict[str, Future[ResultFile]]
    )
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def get(self, spec: ResultSpec) -> ResultFile:
        """Return the file for a spec, made on the first call; concurrent callers wait for it."""
        digest = spec.digest()
        with self._lock:
            future = self._made.get(digest)
            is_maker = future is None
            if future is None:
                future = self._made[digest] = Future()
        if is_maker:
            try:
                future.set_result(self._make_file(spec, digest))
            except BaseException as error:
                with self._lock:
                    del self._made[digest]
                future.set_exception(error)
                raise
        return future.result()

    def _make_file(self, spec: ResultSpec, digest: str) -> ResultFile:
        path = self.directory / f"{digest[:32]}.result"
        seed = bytes.fromhex(digest)
        kind = taskless_files.make_file(spec, path, seed)
        if kind is None and self.made_with == "pyav":
            kind = _make_with_pyav(spec, path, seed)
        if kind is None:
            kind = _make_with_stdlib(spec, path, seed)
        data = path.read_bytes()
        etag = hashlib.sha256(data).hexdigest()[:32]
        return ResultFile(path, kind, len(data), etag, self.made_with)


def choose_backend(choice: MediaBackendChoice) -> MediaBackend:
    """Return the backend that makes result files, without importing it.

    Raises:
        RuntimeError: PyAV is required but not installed.
    """
    if choice == "stdlib":
        return "stdlib"
    if importlib.util.find_spec("av") is not None:
        return "pyav"
    if choice == "pyav":
        msg = 'make_results="pyav" needs PyAV: pip install av'
        raise RuntimeError(msg)
    return "stdlib"


def _make_with_pyav(spec: ResultSpec, path: Path, seed: bytes) -> str | None:
    """Make the file with PyAV; None when even the placeholder sources failed."""
    from . import pyav_media

    for use_placeholders in (False, True):
        try:
            return _run_pyav_recipe(spec, path, seed, use_placeholders=use_placeholders)
        except pyav_media.MEDIA_ERRORS:
            continue
    return None


def _run_pyav_recipe(spec: ResultSpec, path: Path, seed: bytes, *, use_placeholders: bool) -> str:
    from . import pyav_media

    def source(ending: str, *, is_sound: bool) -> Path:
        if not use_placeholders:
            for name, (file, _) in spec.sources.items():
                if (name in spec.sound) is is_sound:
                    return file
        made = path.with_suffix(f".source{ending}")
        if is_sound:
            samples.write_speech(made, PLACEHOLDER_SECONDS, seed)
        else:
            samples.write_clip(made, PLACEHOLDER_SECONDS, seed)
        return made

    if spec.recipe == "dub":
        return pyav_media.write_pitch_shifted(path, source(".wav", is_sound=True))
    picture = source(".mp4", is_sound=False)
    if spec.recipe == "image":
        pyav_media.write_tinted_image(path, picture, seed)
        return "image/png"
    edge = pyav_media.MAX_EDGE * (2 if spec.is_large else 1)
    if spec.recipe == "image_motion":
        pyav_media.write_panning_video(path, picture, spec.seconds, edge)
    else:
        has_sound = spec.recipe == "sounded" or any(name in spec.inputs for name in spec.sound)
        sound = source(".wav", is_sound=True) if has_sound else None
        own = picture if spec.recipe == "footage" else None
        pyav_media.write_video_with_sound(path, picture, sound or own, spec.seconds)
    samples.mark_video(path, seed)
    return "video/mp4"


def _make_with_stdlib(spec: ResultSpec, path: Path, seed: bytes) -> str:
    if spec.recipe == "image":
        samples.write_image(path, seed)
        return "image/png"
    if spec.recipe == "dub":
        samples.write_speech(path, spec.seconds, seed)
        return "audio/wav"
    samples.write_clip(path, spec.seconds, seed, is_large=spec.is_large)
    return "video/mp4"
