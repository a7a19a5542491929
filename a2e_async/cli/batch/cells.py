"""The cells of a CSV file as values, by the declaration of each input (pure)."""

import json
from typing import Any, Final

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


def _yes_or_no(flag: Flag, said: str) -> bool:
    if said.lower() in _YES | _NO:
        return said.lower() in _YES
    raise InvalidInput(f"must be true or false, got {said!r:.40}.", field=flag.name)


def _from_json(flag: Flag, cell: str) -> Any:
    wanted, sample = ("list", '["a", "b"]') if flag.many else ("object", '{"name": 1}')
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        value = None
    if not (is_list(value) if flag.many else is_map(value)):
        raise InvalidInput(f"must be a JSON {wanted} such as {sample}.", field=flag.name)
    return value
