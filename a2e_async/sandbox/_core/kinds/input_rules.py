"""Rules on inputs that the service's notes state and its schema cannot express."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from ..validation import FieldProblem
from .kind import Body, InputRule, StartRejection

Condition = Callable[[Body], bool]

REFUSED_PROMPT_WORD: Final = "refuse-me"
"""Some kinds refuse a prompt with this word in a 200 response."""

MINOR_PROMPT_WORD: Final = "minor-me"
"""Some kinds refuse a prompt with this word as showing a minor, with a code of its own."""


IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
"""File name suffixes of images."""


def any_body(body: Body) -> bool:
    """Hold for every body."""
    return True


def input_is(name: str, *values: object, default: object = None) -> Condition:
    """Return a condition: the input (or else the default) is one of these values."""
    return lambda body: body.get(name, default) in values


def all_of(*conditions: Condition) -> Condition:
    """Return a condition that holds when all of these hold."""
    return lambda body: all(condition(body) for condition in conditions)


def require_inputs(*names: str, when: Condition = any_body, condition: str = "") -> InputRule:
    """Require each of these inputs, under a condition."""

    def rule(body: Body) -> Iterator[FieldProblem]:
        if when(body):
            for name in names:
                if not body.get(name):
                    yield FieldProblem(name, f"is required {condition}".strip())

    return rule


def require_any(*names: str, when: Condition = any_body, condition: str = "") -> InputRule:
    """Require at least one of these inputs, under a condition."""

    def rule(body: Body) -> Iterator[FieldProblem]:
        if when(body) and not any(body.get(name) for name in names):
            yield FieldProblem(
                names[0], f"or one of {', '.join(names[1:])} is required {condition}".strip()
            )

    return rule


def require_items(name: str, least: int, most: int, when: Condition, condition: str) -> InputRule:
    """Require a list with a minimum and a maximum number of items, under a condition."""

    def rule(body: Body) -> Iterator[FieldProblem]:
        if when(body) and not least <= len(body.get(name, ())) <= most:
            yield FieldProblem(name, f"must have {least} to {most} items {condition}")

    return rule


def require_value(
    name: str, *values: object, when: Condition, condition: str, default: object = None
) -> InputRule:
    """Allow only these values of an input, under a condition."""

    def rule(body: Body) -> Iterator[FieldProblem]:
        if when(body) and body.get(name, default) not in values:
            yield FieldProblem(name, f"must be {' or '.join(map(str, values))} {condition}")

    return rule


def url_suffix(url: str) -> str:
    """Return the file name suffix in a URL's path, in lower case with its dot; "" if none."""
    try:
        return PurePosixPath(urlsplit(url).path).suffix.lower()
    except ValueError:
        return ""


def require_suffix(name: str, *endings: str) -> InputRule:
    """Allow only these file name suffixes; a URL without a suffix passes."""

    def rule(body: Body) -> Iterator[FieldProblem]:
        ending = url_suffix(str(body[name]))
        if ending and ending not in endings:
            yield FieldProblem(name, f"must be one of {', '.join(endings)}")

    return rule


def check_storyboard(body: Body) -> Iterable[FieldProblem]:
    """Require 1 to 6 shots whose durations add up to that of the video."""
    shots = body.get("multi_prompt", ())
    if not body.get("multi_shot") or body.get("shot_type") != "customize":
        return
    if not 1 <= len(shots) <= 6:
        yield FieldProblem("multi_prompt", "must have 1 to 6 items when shot_type is customize")
        return
    lengths = [str(shot.get("duration", "")) for shot in shots]
    if not all(shot.get("prompt") for shot in shots):
        yield FieldProblem("multi_prompt", "each shot needs a prompt")
    elif not all(text.isdecimal() and len(text) < 4 for text in lengths):
        yield FieldProblem("multi_prompt", "each shot needs a duration in seconds")
    elif str(sum(map(int, lengths))) != body.get("duration", "5"):
        yield FieldProblem("multi_prompt", "the durations must add up to duration")


def reject_prompt_in_record(body: Body) -> StartRejection | None:
    """Refuse a prompt that contains ``refuse-me``: failure fields in place of the record."""
    if REFUSED_PROMPT_WORD in str(body.get("prompt")):
        failure = {"failed_message": "The prompt was refused: NSFW content", "failed_code": "400"}
        return StartRejection(200, 0, data=failure)
    return None


def reject_minors(body: Body) -> StartRejection | None:
    """Refuse a prompt that contains ``minor-me``: 403 with code 1003."""
    if MINOR_PROMPT_WORD in str(body.get("prompt")):
        return StartRejection(403, 1003, "Minor detected: the content was refused")
    return None


def reject_two_backgrounds(body: Body) -> StartRejection | None:
    """Refuse a body with two backgrounds: code 30005."""
    if body.get("back_id") and body.get("custom_back_id"):
        return StartRejection(400, 30005, "back_id and custom_back_id exclude each other")
    return None
