"""Strict JSON for files and flags: a repeated member is an error, not silently the last (pure)."""

import json
from typing import Any, Final

from a2e_async._core.schema.json_guard import short_repr


def parse(text: str) -> Any:
    """Return a JSON value. Raises ValueError, also for an object with a repeated member."""
    try:
        return json.loads(text, object_pairs_hook=_reject_repeated_names)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise _without_python(error) from None


def parse_at(text: str, index: int) -> tuple[Any, int]:
    """Return the JSON value that begins at ``index``, and where it ends. Raises ValueError."""
    try:
        return _DECODER.raw_decode(text, index)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise _without_python(error) from None


def _without_python(error: ValueError) -> ValueError:
    """Return an error as it is, but for Python's own of a number: that names a Python function."""
    return ValueError("it has a number with too many digits") if "digits" in str(error) else error


def describe(error: ValueError) -> str:
    """Return what is wrong with a JSON text, with the column and what stands there."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    found = error.doc[error.pos :].partition("\n")[0].strip()
    return f"{error.msg} in column {error.colno}, found {short_repr(found) if found else 'the end'}"


def _reject_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has {short_repr(repeated)} twice")
    return members


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_reject_repeated_names)
