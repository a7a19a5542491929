"""Makes the file behind a finished task, once, when it is first asked for."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Literal

import attrs

from . import stdlib_media as plain_media
from . import copies as files

MadeWith = Literal["pyav", "stdlib"]
Wanted = Literal["auto", "pyav", "stdlib"]

STAND_IN_SECONDS: Final = 3.0
"""Length of a result whose source is not here or cannot be read."""

_ENDINGS: Final[Mapping[str, str]] = {
    "image": ".png",
    **dict.fromkeys(("talking", "sounded", "footage", "image_motion"), ".mp4"),
}

EXTENSIONS: Final[Mapping[MadeWith, Mapping[str, str]]] = {
    "pyav": {"dub": ".mp3", **_ENDINGS},
    "stdlib": {"dub": ".wav", **_ENDINGS},
}
"""The ending of a result's name, by tool and recipe."""


@attrs.frozen(slots=True)
class Order:
    """What a result is made of: the recipe, the inputs that count, and the sources on disk."""

    recipe: str
    inputs: Mapping[str, Any]
    sources: Mapping[str, tuple[Path, str]]
    """Path and digest of each source that the sandbox holds, by input name."""

    variant: int = 0
    """Tells the outputs of one start apart."""

    seconds: float = STAND_IN_SECONDS
    """How long the result should last."""

    sound: tuple[str, ...] = ()
    """The inputs that give the sound."""

    is_large: bool = False
    """Whether a file of more bytes is wanted."""

    def digest(self) -> str:
        """Returns what identifies the result: equal orders share one file."""
        facts = [
            self.recipe,
            self.variant,
            self.seconds,
            self.is_large,
            dict(self.inputs),
            {name: digest for name, (_, digest) in self.sources.items()},
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@attrs.frozen(slots=True)
class ResultFile:
    """A finished file."""

    path: Path
    content_type: str
    size: int
    etag: str
    made_with: MadeWith


@attrs.define(slots=True)
class ResultMaker:
    """Makes result files into a directory and remembers them. Thread-safe; blocks."""

    made_with: MadeWith
    directory: Path = attrs.field(init=False)
    """Where the files go; set before the first order."""

    _made: dict[str, Future[ResultFile]] = attrs.field(
        init=False, factory=dict[str, Future[ResultFile]]
    )
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def get(self, order: Order) -> ResultFile:
        """Returns the file for an order, making it if nobody did; others wait for the maker."""
        digest = order.digest()
        with self._lock:
            future = self._made.get(digest)
            is_mine = future is None
            if future is None:
                future = self._made[digest] = Future()
        if is_mine:
            try:
                future.set_result(self._make(order, digest))
            except BaseException as error:
                with self._lock:
                    del self._made[digest]
                future.set_exception(error)
                raise
        return future.result()

    def _make(self, order: Order, digest: str) -> ResultFile:
        path = self.directory / f"{digest[:32]}.result"
        seed = bytes.fromhex(digest)
        kind = files.make(order, path, seed)
        if kind is None and self.made_with == "pyav":
            kind = _with_av(order, path, seed)
        if kind is None:
            kind = _plainly(order, path, seed)
        data = path.read_bytes()
        etag = hashlib.sha256(data).hexdigest()[:32]
        return ResultFile(path, kind, len(data), etag, self.made_with)


def choose(wanted: Wanted) -> MadeWith:
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


def _with_av(order: Order, path: Path, seed: bytes) -> str | None:
    """Makes the file with PyAV; None when even the stand-in sources did not do."""
    from . import pyav_media as av_media

    for is_stand_in in (False, True):
        try:
            return _av_recipe(order, path, seed, is_stand_in=is_stand_in)
        except av_media.MEDIA_ERRORS:
            continue
    return None


def _av_recipe(order: Order, path: Path, seed: bytes, *, is_stand_in: bool) -> str:
    from . import pyav_media as av_media

    def source(ending: str, *, is_sound: bool) -> Path:
        if not is_stand_in:
            for name, (file, _) in order.sources.items():
                if (name in order.sound) is is_sound:
                    return file
        made = path.with_suffix(f".source{ending}")
        if is_sound:
            plain_media.write_tone(made, STAND_IN_SECONDS, seed)
        else:
            plain_media.write_clip(made, 1.0, seed)
        return made

    if order.recipe == "dub":
        return av_media.dub(path, source(".wav", is_sound=True))
    picture = source(".mp4", is_sound=False)
    if order.recipe == "image":
        av_media.image(path, picture, seed)
        return "image/png"
    edge = av_media.LONGEST_EDGE * (2 if order.is_large else 1)
    if order.recipe == "image_motion":
        av_media.image_motion(path, picture, order.seconds, edge)
        return "video/mp4"
    has_sound = order.recipe == "sounded" or any(name in order.inputs for name in order.sound)
    sound = source(".wav", is_sound=True) if has_sound else None
    own = picture if order.recipe == "footage" else None
    av_media.talking(path, picture, sound or own, order.seconds)
    return "video/mp4"


def _plainly(order: Order, path: Path, seed: bytes) -> str:
    if order.recipe == "image":
        plain_media.write_picture(path, seed)
        return "image/png"
    if order.recipe != "dub":
        plain_media.write_clip(path, order.seconds, seed, is_large=order.is_large)
        return "video/mp4"
    source = order.sources.get("source_url")
    if source is None or not plain_media.write_echo(path, source[0]):
        plain_media.write_tone(path, STAND_IN_SECONDS, seed)
    return "audio/wav"
