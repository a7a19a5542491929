"""Converts the cells of a CSV file to input values (pure)."""

import re
import unicodedata
from typing import Any, Final

from a2e_async._core.typeguards import is_list, is_mapping
from a2e_async.cli import strict_json
from a2e_async.cli.input_flags import InputFlag
from a2e_async.cli.number_parsing import number, whole_number
from a2e_async.errors import InvalidInput

_YES: Final = frozenset({"true", "yes", "1"})
_NO: Final = frozenset({"false", "no", "0"})


def value_of(flag: InputFlag, cell: str) -> Any:
    """Return the value of a cell that is not empty. Raises `InvalidInput`.

    Lists and objects are JSON; numbers and booleans are parsed; everything else is text.
    """
    if flag.many or flag.is_json:
        return _from_json(flag, cell)
    text = cell.strip()
    for choice in flag.choices:
        if str(choice) == text:
            return choice
    if flag.type is bool:
        return _boolean(flag, text)
    if flag.type in (int, float):
        try:
            if flag.type is int:
                return whole_number(text)
            return number(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text)
        except ValueError:
            raise InvalidInput(
                f"must be a {flag.value}, got {cell!r:.40}.", field=flag.name
            ) from None
    return cell


_DECIMAL_COMMA: Final = re.compile(r"[+-]?(?:0|\d{4,}|\d+(?!,\d{3}$)),\d+")
"""A number as Excel in Europe writes it. 1,500 is none: it may be thousands."""

_INVISIBLE: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
"""Categories of invisible characters: control and format characters, and white space."""


def is_invisible(character: str) -> bool:
    """Return whether a character is invisible, such as a zero-width space or a BOM."""
    return unicodedata.category(character) in _INVISIBLE


def is_plain(text: str) -> bool:
    """Return whether a text holds no invisible character that makes it look like another text.

    Inside a text, spaces and the joiners of scripts and emoji are allowed.
    """
    return text == trimmed(text) and not any(
        is_invisible(one) and one not in " \u200c\u200d" for one in text
    )


def trimmed(text: str) -> str:
    """Return a text without leading and trailing invisible characters."""
    visible = [index for index, character in enumerate(text) if not is_invisible(character)]
    return text[visible[0] : visible[-1] + 1] if visible else ""


def _boolean(flag: InputFlag, text: str) -> bool:
    if text.lower() in _YES | _NO:
        return text.lower() in _YES
    raise InvalidInput(f"must be true or false, got {text!r:.40}.", field=flag.name)


def _from_json(flag: InputFlag, cell: str) -> Any:
    expected, example = ("list", '["a", "b"]') if flag.many else ("object", '{"name": 1}')
    try:
        value = strict_json.parse(cell)
    except ValueError as error:
        raise InvalidInput(
            f"must be a JSON {expected} such as {example}: {error}.", field=flag.name
        ) from None
    if not (is_list(value) if flag.many else is_mapping(value)):
        raise InvalidInput(f"must be a JSON {expected} such as {example}.", field=flag.name)
    return value
