"""The conditions that the service's notes state and its schema cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlsplit

from ..validation import FieldProblem
from .kind import Body, InputRule, StartRejection

Condition = Callable[[Body], bool]

REFUSED_PROMPT_WORD: Final = "refuse-me"
"""A prompt with this word is refused under 200 by the kinds that do so."""

MINOR_PROMPT_WORD: Final = "minor-me"
"""A prompt with this word is refused on age grounds by the kinds that tell a code for it."""


IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"})
"""How the names of images end."""


def always(body: Body) -> bool:
    """Returns True."""
    return True


def input_is(name: str, *values: object, default: object = None) -> Condition:
    """Returns whether the input (or its usual value) is one of these."""
    return lambda body: body.get(name, default) in values


def all_of(*conditions: Condition) -> Condition:
    """Returns whether all hold."""
    return lambda body: all(condition(body) for condition in conditions)


def require(*names: str, when: Condition = always, why: str = "") -> InputRule:
    """Requires each of these inputs, under a condition."""

    def rule(body: Body) -> Iterator[FieldProblem]:
        if when(body):
            for name in names:
                if not body.get(name):
                    yield FieldProblem(name, f"is required {why}".strip())

    return rule


def require_any(*names: str, when: Condition = always, why: str = "") -> InputRule:
    """Requires at least one of these inputs, under a condition."""

    def rule(body: Body) -> Iterator[FieldProblem]:
        if when(body) and not any(body.get(name) for name in names):
            yield FieldProblem(
                names[0], f"or one of {', '.join(names[1:])} is required {why}".strip()
            )

    return rule


def require_items(name: str, least: int, most: int, when: Condition, why: str) -> InputRule:
    """Requires a list of so many items, under a condition."""

    def rule(body: Body) -> Iterator[FieldProblem]:
        if when(body) and not least <= len(body.get(name, ())) <= most:
            yield FieldProblem(name, f"must have {least} to {most} items {why}")

    return rule


def require_value(
    name: str, *values: object, when: Condition, why: str, default: object = None
) -> InputRule:
    """Allows only these values of an input, under a condition."""

    def rule(body: Body) -> Iterator[FieldProblem]:
        if when(body) and body.get(name, default) not in values:
            yield FieldProblem(name, f"must be {' or '.join(map(str, values))} {why}")

    return rule


def url_suffix(url: str) -> str:
    """Returns the ending of the file that a URL names, in small letters, with its dot."""
    try:
        return PurePosixPath(urlsplit(url).path).suffix.lower()
    except ValueError:
        return ""


def require_suffix(name: str, *endings: str) -> InputRule:
    """Allows only files with these endings, where the URL shows one."""

    def rule(body: Body) -> Iterator[FieldProblem]:
        ending = url_suffix(str(body[name]))
        if ending and ending not in endings:
            yield FieldProblem(name, f"must be one of {', '.join(endings)}")

    return rule


def check_storyboard(body: Body) -> Iterable[FieldProblem]:
    """Requires 1 to 6 shots whose seconds add up to those of the video."""
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
    """Refuses a prompt with the sandbox word ``refuse-me`` in the place of the record."""
    if REFUSED_PROMPT_WORD in str(body.get("prompt")):
        told = {"failed_message": "The prompt was refused: NSFW content", "failed_code": "400"}
        return StartRejection(200, 0, data=told)
    return None


def reject_minors(body: Body) -> StartRejection | None:
    """Refuses a prompt with the sandbox word ``minor-me`` as 403 with code 1003."""
    if MINOR_PROMPT_WORD in str(body.get("prompt")):
        return StartRejection(403, 1003, "Minor detected: the content was refused")
    return None


def reject_two_backgrounds(body: Body) -> StartRejection | None:
    """Refuses two backgrounds with code 30005."""
    if body.get("back_id") and body.get("custom_back_id"):
        return StartRejection(400, 30005, "back_id and custom_back_id exclude each other")
    return None
