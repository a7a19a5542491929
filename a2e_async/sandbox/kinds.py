"""The task kinds the sandbox can play, one table row each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from .spec import Problem, kind_rows

Body = Mapping[str, Any]

UNKNOWN_SECONDS: Final = 51
"""Length of a source that the sandbox cannot read, in seconds."""

PRESIGN_COINS: Final = 1
"""Price of one upload permit."""


@attrs.frozen(slots=True)
class Kind:
    """How one kind of task is served. What kinds.json and openapi.json tell is not repeated."""

    name: str
    median: float
    """Median of the time from start to end, in service seconds."""

    sigma: float
    """Spread of the logarithm of that time."""

    price: Callable[[Body, float | None], int]
    """Coins of one output, by the body and the length of the first medium (None: not known)."""

    price_inputs: tuple[str, ...]
    """The inputs that decide the price: all that a quote checks."""

    media_inputs: tuple[str, ...]
    """The inputs that are media URLs, the one with the length first."""

    recipe: str
    """Which file the result is: ``image_motion``, ``talking`` or ``dub``."""

    rules: tuple[Callable[[Body], Iterable[Problem]], ...] = ()
    """What the schema cannot say."""

    count: Callable[[Body], int] = lambda body: 1
    """How many records one start makes."""

    defaults: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    """What a record echoes for an input that was not sent ("" for all others)."""

    length_field: str = ""
    """The record field that tells the length of the source in whole seconds."""

    sic: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Misspelt status words that occur now and then, by the right word."""

    failure_field: str = "failed_message"
    code_field: str = "failed_code"
    result_field: str = "result_url"
    unknown_is_null: bool = False
    """The detail of an unknown id is 200 with null instead of 404."""

    bare_list: bool = False
    """A list that is asked without paging is a bare array."""

    refund_failed: bool = False
    refund_deleted: bool = True

    @property
    def row(self) -> Mapping[str, Any]:
        """The kind's row of kinds.json."""
        return kind_rows()[self.name]

    @property
    def status_field(self) -> str:
        """The record field that holds the status word."""
        return str(self.row["status_field"])

    @property
    def start_path(self) -> str:
        """The path of the start operation."""
        return str(self.row["start"]).split(" ", 1)[1]


def _dubbing_price(body: Body, seconds: float | None) -> int:
    return math.ceil(max(1, round(UNKNOWN_SECONDS if seconds is None else seconds)) / 6)


def _talking_price(body: Body, seconds: float | None) -> int:
    return 13 * math.ceil(int(body.get("duration", 3)) / 5)


def _image_price(body: Body, seconds: float | None) -> int:
    return 30 * math.ceil(int(body.get("video_time", 5)) / 5)


def _image_count(body: Body) -> int:
    return int(body.get("number_of_images", 1))


def _prompts_unless_lora(body: Body) -> Iterable[Problem]:
    if not body.get("lora"):
        for name in ("prompt", "negative_prompt"):
            if name not in body:
                yield Problem(name, "is required unless lora is given")


def _last_frame(body: Body) -> Iterable[Problem]:
    if body.get("model_type") == "FLF2V" and not body.get("end_image_url"):
        yield Problem("end_image_url", "is required when model_type is FLF2V")


def _video_time(body: Body) -> Iterable[Problem]:
    if body.get("video_time", 5) not in {5, 10, 15, 20}:
        yield Problem("video_time", "must be one of 5, 10, 15, 20")


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind(
            "dubbing",
            median=60,
            sigma=0.5,
            price=_dubbing_price,
            price_inputs=("source_url",),
            media_inputs=("source_url",),
            recipe="dub",
            defaults={"source_lang": "auto", "num_speakers": 1, "drop_background_audio": False},
            length_field="duration",
            sic={"pending": "pendding"},
            failure_field="faild_message",
            unknown_is_null=True,
        ),
        Kind(
            "talking_video",
            median=120,
            sigma=0.5,
            price=_talking_price,
            price_inputs=("duration",),
            media_inputs=("video_url", "audio_url"),
            recipe="talking",
            defaults={"duration": 3},
        ),
        Kind(
            "image_to_video",
            median=90,
            sigma=0.5,
            price=_image_price,
            price_inputs=("video_time", "number_of_images"),
            media_inputs=("image_url", "end_image_url"),
            recipe="image_motion",
            rules=(_prompts_unless_lora, _last_frame, _video_time),
            count=_image_count,
            bare_list=True,
            refund_failed=True,
        ),
    )
}
"""Every kind by its name."""


def body_problems(kind: Kind, body: Body) -> Iterable[Problem]:
    """Yields what the kind's own rules and those of all starts find wrong with a body."""
    for rule in kind.rules:
        yield from rule(body)
    for name in kind.media_inputs:
        if name in body:
            yield from _url_problems(name, body[name])
    hook = body.get("webhook_url")
    if hook is not None and not str(hook).startswith("https://"):
        yield Problem("webhook_url", "must be an https URL")


def _url_problems(name: str, url: object) -> Iterable[Problem]:
    text = str(url)
    if not text.startswith(("http://", "https://")) or len(text) < 10:
        yield Problem(name, "must be an http or https URL")
    elif any(character.isspace() for character in text):
        yield Problem(name, "must not hold spaces (percent-encode them)")
