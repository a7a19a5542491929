"""Copy JSON values with names chosen by the caller, and refuse safety-check inputs (pure).

The service has inputs that switch off its safety checks. This package never sends them, not even
through parameters that accept arbitrary names: ``extra``, mappings, filters, `A2E.request`.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from a2e_async._core.typeguards import is_mapping, is_nested_deeper_than, is_sequence
from a2e_async.errors import InvalidInput

# The known names, and likely names of future ones; rather too many than too few. Names are
# compared without case and without separators between words.
_SAFETY: Final = re.compile(
    r"""
    forced?gen | force\Z                                   # generate in spite of a refusal
    | minor | underage | under1[68] | suspect | adult      # checks whether a person may be a child
    | age(check|verif|gate|limit) | (check|verify)age
    | facemask | maskface | masking | mosaic | faceblur | blurface
    | safe | moderat | nsfw | sfw | contentfilter | filtercontent
    """,
    re.VERBOSE,
)

MAX_SENT_DEPTH: Final = 32
"""Maximum nesting depth of a value that is sent. The service repeats inputs in records:
a deeper one could make the response to a paid start, and the list that holds it, unreadable."""


def guarded_json(label: str, value: Any, *, sent: bool = True) -> Any:
    """Return a deep copy of a JSON value, so that later changes by the caller have no effect.

    Raises `InvalidInput`, naming ``label``, if the value is not JSON or, unless ``sent`` is False
    (the value is not sent to the service), if it is nested too deeply or a name in it concerns a
    safety check.
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{label} must contain only JSON values: {error}.", field=label
        ) from None
    copied = json.loads(text)
    if sent:  # after dumps, which rejects a value that contains itself: the walk would not end
        if is_nested_deeper_than(copied, MAX_SENT_DEPTH):
            raise InvalidInput(
                f"{label} is nested too deeply: at most {MAX_SENT_DEPTH} lists and objects inside "
                "each other.",
                field=label,
            )
        for name in _names_within(value):
            check_field_name(label, name)
    return copied


def check_body(body: Mapping[str, Any]) -> None:
    """Raise `InvalidInput` if a name anywhere in a request body concerns a safety check."""
    for name, value in body.items():
        check_field_name(name, name)
        for inner in _names_within(value):
            check_field_name(name, inner)


def check_field_name(label: str, name: Any) -> None:
    """Raise `InvalidInput` if ``name`` is not a name, or concerns a safety check."""
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"{label}: names must be non-empty text.", field=label)
    plain = unicodedata.normalize("NFKC", name).casefold()
    if (
        not plain.isascii()
    ):  # look-alike letters could evade the pattern; no name of the service has any
        raise InvalidInput(f"{label}: {short_repr(name)} must be an ASCII name.", field=label)
    words = re.sub(r"[^a-z0-9]", "", plain)
    if _SAFETY.search(words) or _SAFETY.search(re.sub(r"[0-9]", "", words)):
        raise InvalidInput(
            f"{label}: {short_repr(name)} concerns a safety check of the service; this package "
            "does not send such inputs.",
            field=label,
        )


def short_repr(value: Any) -> str:
    """Return a repr for error messages: at most 40 characters, because values may be private."""
    try:
        text = repr(value[:40] if isinstance(value, str | bytes | bytearray) else value)
    except Exception:  # an int with too many digits, or a __repr__ that raises
        return type(value).__name__
    return text if len(text) <= 40 else f"{type(value).__name__} {text[:36]}…"


def _names_within(value: Any) -> Iterator[Any]:
    left: list[Any] = [value]
    while left:
        within: Any = left.pop()
        if is_mapping(within):
            names: Mapping[Any, Any] = within
            yield from names
            left.extend(names.values())
        elif is_sequence(within):
            items: Sequence[Any] = within
            left.extend(items)
