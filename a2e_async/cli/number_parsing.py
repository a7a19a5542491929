"""Strict parsing of numbers in flags: decimal notation only, nothing guessed (pure)."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

_WHOLE_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def whole_number(text: str) -> int:
    """Return a decimal whole number. Raises ValueError."""
    if not _WHOLE_NUMBER.fullmatch(text):
        raise ValueError(f"must be a whole number such as 12, got {text!r:.40}.")
    return int(text)


def number(text: str) -> float:
    """Return a finite decimal number. Raises ValueError."""
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise ValueError(f"must be a number such as 1.5, got {text!r:.40}.")
    return value


def seconds(text: str) -> float:
    """Return a number of seconds that is not negative. Raises ValueError."""
    value = number(text)
    if value < 0:
        raise ValueError(f"must be a number of seconds, 0 or more, got {text!r:.40}.")
    return value


def choice_of(choices: Sequence[Any]) -> Callable[[str], Any]:
    """Return a parser that accepts exactly the texts of ``choices``."""
    by_text = {str(choice): choice for choice in choices}

    def parse(text: str) -> Any:
        if text not in by_text:
            raise ValueError(f"choose from {', '.join(by_text)}, not {text!r:.40}.")
        return by_text[text]

    return parse


def parse_one(parse: Callable[[str], Any]) -> Callable[[Any, Sequence[Any]], Any]:
    """Return a cyclopts converter for a flag that is given once."""
    return lambda _, tokens: parse(tokens[0].value)


def parse_each(parse: Callable[[str], Any]) -> Callable[[Any, Sequence[Any]], Any]:
    """Return a cyclopts converter for a flag that can be repeated."""
    return lambda _, tokens: [parse(token.value) for token in tokens]


WHOLE: Final = parse_one(whole_number)
NUMBER: Final = parse_one(number)
SECONDS: Final = parse_one(seconds)
