"""JSON values under names that the caller chose: copied, and kept from the safety checks (pure).

The service has inputs that switch off its safety checks. This package never sends them, by none
of the ways that take any name: ``extra``, mappings, free filters, `A2E.request`.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from a2e_async.errors import InvalidInput
from a2e_async.narrow import is_map, is_sequence

# Known ones, and how their newer relatives may be called: guessed on the cautious side. A name
# is compared without case and without what stands between its words.
_SAFETY: Final = re.compile(
    r"""
    forced?gen | force\Z                                   # generated in spite of a refusal
    | minor | underage | under1[68] | suspect | adult      # who may be a child
    | age(check|verif|gate|limit) | (check|verify)age
    | facemask | maskface | masking | mosaic | faceblur | blurface
    | safe | moderat | nsfw | sfw | contentfilter | filtercontent
    """,
    re.VERBOSE,
)


def free_json(label: str, value: Any, *, sent: bool = True) -> Any:
    """Return a copy of a JSON value, which what the caller does to its own cannot change.

    Raises `InvalidInput`, which names ``label``, for what is no JSON and, unless the value stays
    here (``sent=False``), for a name that bears on a safety check of the service.
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{label} must hold JSON values: {error}.", field=label) from None
    if sent:  # only now: a value that holds itself would be walked for ever
        for name in _names_within(value):
            check_name(label, name)
    return json.loads(text)


def check_name(label: str, name: Any) -> None:
    """Raise `InvalidInput` for what is no name, or one that bears on a safety check."""
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"{label} needs text as names.", field=label)
    plain = unicodedata.normalize("NFKC", name).casefold()
    if not plain.isascii():  # letters that look like others; the service has no such name
        raise InvalidInput(f"{label}: {shown(name)} has letters that no name has.", field=label)
    words = re.sub(r"[^a-z0-9]", "", plain)
    if _SAFETY.search(words) or _SAFETY.search(re.sub(r"[0-9]", "", words)):
        raise InvalidInput(
            f"{label}: {shown(name)} bears on a safety check of the service; this package "
            "does not send such inputs.",
            field=label,
        )


def shown(value: Any) -> str:
    """Return a value as an error shows it: at most 40 characters of it, for it may be private."""
    try:
        text = repr(value[:40] if isinstance(value, str | bytes | bytearray) else value)
    except Exception:  # a number too long for text, a foreign __repr__
        return type(value).__name__
    return text if len(text) <= 40 else f"{type(value).__name__} {text[:36]}…"


def _names_within(value: Any) -> Iterator[Any]:
    left: list[Any] = [value]
    while left:
        within: Any = left.pop()
        if is_map(within):
            names: Mapping[Any, Any] = within
            yield from names
            left.extend(names.values())
        elif is_sequence(within):
            items: Sequence[Any] = within
            left.extend(items)
