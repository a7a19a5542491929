"""Numbers as a command line takes them: plainly written, and nothing guessed (pure)."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def whole(text: str) -> int:
    """Return a plain decimal whole number. Raises ValueError."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"must be a whole number such as 12, got {text!r:.40}.")
    return int(text)


def number(text: str) -> float:
    """Return a plain decimal number that is finite. Raises ValueError."""
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise ValueError(f"must be a number such as 1.5, got {text!r:.40}.")
    return value


def seconds(text: str) -> float:
    """Return a number of seconds, 0 or more. Raises ValueError."""
    value = number(text)
    if value < 0:
        raise ValueError(f"must be a number of seconds, 0 or more, got {text!r:.40}.")
    return value


def choice_of(choices: Sequence[Any]) -> Callable[[str], Any]:
    """Return what reads one of these, written just so."""
    by_text = {str(choice): choice for choice in choices}

    def read(text: str) -> Any:
        if text not in by_text:
            raise ValueError(f"choose from {', '.join(by_text)}, not {text!r:.40}.")
        return by_text[text]

    return read


def one(read: Callable[[str], Any]) -> Callable[[Any, Sequence[Any]], Any]:
    """Return it as the converter of a flag that is given once."""
    return lambda _, tokens: read(tokens[0].value)


def each(read: Callable[[str], Any]) -> Callable[[Any, Sequence[Any]], Any]:
    """Return it as the converter of a flag that is repeated."""
    return lambda _, tokens: [read(token.value) for token in tokens]


WHOLE: Final = one(whole)
NUMBER: Final = one(number)
SECONDS: Final = one(seconds)
