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

from . import plain_media

MadeWith = Literal["pyav", "stdlib"]
Wanted = Literal["auto", "pyav", "stdlib"]

STAND_IN_SECONDS: Final = 3.0
"""Length of a result whose source is not here or cannot be read."""

EXTENSIONS: Final[Mapping[MadeWith, Mapping[str, str]]] = {
    "pyav": {"dub": ".mp3", "talking": ".mp4", "image_motion": ".mp4"},
    "stdlib": {"dub": ".wav", "talking": ".mp4", "image_motion": ".mp4"},
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

    def digest(self) -> str:
        """Returns what identifies the result: equal orders share one file."""
        facts = [
            self.recipe,
            self.variant,
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
        kind = None
        if self.made_with == "pyav":
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


def seconds_of(order: Order) -> float:
    """Returns how long the result should last."""
    if order.recipe == "image_motion":
        return float(order.inputs.get("video_time", 5))
    return float(order.inputs.get("duration", STAND_IN_SECONDS))


def _with_av(order: Order, path: Path, seed: bytes) -> str | None:
    """Makes the file with PyAV; None when even the stand-in sources did not do."""
    from . import av_media

    for is_stand_in in (False, True):
        try:
            return _av_recipe(order, path, seed, is_stand_in=is_stand_in)
        except av_media.MEDIA_ERRORS:
            continue
    return None


def _av_recipe(order: Order, path: Path, seed: bytes, *, is_stand_in: bool) -> str:
    from . import av_media

    def source(name: str, ending: str) -> Path:
        if name in order.sources and not is_stand_in:
            return order.sources[name][0]
        made = path.with_suffix(f".{name}{ending}")
        if ending == ".wav":
            plain_media.write_tone(made, STAND_IN_SECONDS, seed)
        else:
            plain_media.write_clip(made, 1.0, seed)
        return made

    if order.recipe == "dub":
        return av_media.dub(path, source("source_url", ".wav"))
    if order.recipe == "talking":
        audio = source("audio_url", ".wav") if "audio_url" in order.inputs else None
        av_media.talking(path, source("video_url", ".mp4"), audio, seconds_of(order))
    else:
        av_media.image_motion(path, source("image_url", ".mp4"), seconds_of(order))
    return "video/mp4"


def _plainly(order: Order, path: Path, seed: bytes) -> str:
    if order.recipe != "dub":
        plain_media.write_clip(path, seconds_of(order), seed)
        return "video/mp4"
    source = order.sources.get("source_url")
    if source is None or not plain_media.write_echo(path, source[0]):
        plain_media.write_tone(path, STAND_IN_SECONDS, seed)
    return "audio/wav"
