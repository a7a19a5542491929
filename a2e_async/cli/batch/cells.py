"""The cells of a CSV file as values, by the declaration of each input (pure)."""

import unicodedata
from typing import Any, Final

from a2e_async.cli import strict_json
from a2e_async.cli.flags import Flag
from a2e_async.cli.numbers import number, whole
from a2e_async.errors import InvalidInput
from a2e_async.narrow import is_list, is_map

_YES: Final = frozenset({"true", "yes", "1"})
_NO: Final = frozenset({"false", "no", "0"})


def value_of(flag: Flag, cell: str) -> Any:
    """Return what a cell that is not empty means for an input. Raises `InvalidInput`.

    Lists and mappings are JSON, numbers and yes or no are read as such, all else is text.
    """
    if flag.many or flag.is_json:
        return _from_json(flag, cell)
    said = cell.strip()
    for choice in flag.choices:
        if str(choice) == said:
            return choice
    if flag.type is bool:
        return _yes_or_no(flag, said)
    if flag.type in (int, float):
        try:
            return whole(said) if flag.type is int else number(said)
        except ValueError:
            raise InvalidInput(
                f"must be a {flag.value}, got {cell!r:.40}.", field=flag.name
            ) from None
    return cell


_INVISIBLE: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
"""Categories of characters that show nothing: control and format characters, and white space."""


def is_invisible(character: str) -> bool:
    """Return whether a character shows nothing, as a zero-width space or a BOM."""
    return unicodedata.category(character) in _INVISIBLE


def is_plain(text: str) -> bool:
    """Return whether no invisible character could make a text look like another one.

    Within a text, spaces and the joiners of scripts and emoji are plain.
    """
    return text == trimmed(text) and not any(
        is_invisible(one) and one not in " \u200c\u200d" for one in text
    )


def trimmed(text: str) -> str:
    """Return a text without the invisible characters around it."""
    seen = [place for place, character in enumerate(text) if not is_invisible(character)]
    return text[seen[0] : seen[-1] + 1] if seen else ""


def _yes_or_no(flag: Flag, said: str) -> bool:
    if said.lower() in _YES | _NO:
        return said.lower() in _YES
    raise InvalidInput(f"must be true or false, got {said!r:.40}.", field=flag.name)


def _from_json(flag: Flag, cell: str) -> Any:
    wanted, sample = ("list", '["a", "b"]') if flag.many else ("object", '{"name": 1}')
    try:
        value = strict_json.parse(cell)
    except ValueError as error:
        raise InvalidInput(
            f"must be a JSON {wanted} such as {sample}: {error}.", field=flag.name
        ) from None
    if not (is_list(value) if flag.many else is_map(value)):
        raise InvalidInput(f"must be a JSON {wanted} such as {sample}.", field=flag.name)
    return value
