"""How a kind's inputs are declared, once: an attrs class whose annotations say the rest.

    @define(kw_only=True)
    class DubbingInput(TaskInput):
        source_url: Annotated[MediaInput, Media("audio", "video"), Doc("What to dub.")]
        num_speakers: Annotated[int | None, Between(1, 10), Doc("…")] = None

From that follow the parameters of ``start``, ``run``, ``job`` and ``quote`` (names, types and
documentation), the checks made before anything is sent, the body on the wire, and the command
line. ``None`` means: not sent.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Literal,
    TypeGuard,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from attrs import NOTHING, define, fields, frozen

from a2e_async.errors import InvalidInput
from a2e_async.free_json import free_json, shown
from a2e_async.models import MediaType, Output, Wire
from a2e_async.narrow import is_map, is_sequence

MediaInput = str | os.PathLike[str] | bytes | Output
"""A URL, a local path, the bytes themselves, or the Output of another task."""

MAX_TEXT: Final = 20_000
"""Characters; longer texts are refused by every kind, so they are refused here."""

_TOO_LARGE: Final = 2**63
"""No service means such a number, and one of thousands of digits cannot even be written."""


@frozen
class Doc:
    """What an input means, in one or two sentences."""

    text: str


@frozen
class Between:
    """A number's bounds, both included."""

    low: float
    high: float


@frozen
class Count:
    """How many items a list takes, both bounds included; ``high`` is None where none is known."""

    low: int
    high: int | None = None

    def __str__(self) -> str:
        """Return the bounds as words: ``2 to 4``, ``2``, ``at least 2``."""
        if self.high is None:
            return f"at least {self.low}"
        return f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"


@frozen
class AsText:
    """A number that goes out as text."""


@frozen
class Length:
    """A text's longest length in characters."""

    most: int


class Media:
    """An input that takes media: which types the service accepts there."""

    __slots__ = ("types",)

    def __init__(self, *types: MediaType) -> None:
        self.types = types


@frozen
class InputField:
    """One declared input, read from its annotation."""

    name: str
    wire: str
    hint: Any
    notes: tuple[Any, ...]
    required: bool
    common: bool

    def note(self, cls: type[Any]) -> Any:
        """Return the annotation's note of that class, or None."""
        return next((n for n in self.notes if isinstance(n, cls)), None)


@define(kw_only=True)
class TaskInput:
    """What the inputs of every kind have in common."""

    name: Annotated[
        str | None,
        Length(200),
        Doc(
            "A name for the task; the longest depends on the kind. Without one the client sends "
            "a unique mark, by which a lost start is found."
        ),
    ] = None
    key: Annotated[
        str | None,
        Length(200),
        Doc(
            "The same key gives the same task, paid once: in one client's life, and with a "
            "journal in every process that shares it."
        ),
    ] = None
    meta: Annotated[
        Mapping[str, Any] | None, Doc("Your own JSON values; they come back with the task.")
    ] = None
    extra: Annotated[
        Mapping[str, Any] | None,
        Doc("Inputs newer than this package, under their names on the wire."),
    ] = None

    always: ClassVar[Mapping[str, Any]] = {}
    """What every start of the kind sends besides: safe choices where the service's are not."""

    given_as: ClassVar[Mapping[str, str]] = {"name": "name"}
    """Names on the wire that a start fills from a common input, and that input."""

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        # Inputs hold prompts and whole files; they stay out of logs.
        cls.__repr__ = TaskInput.__repr__  # type: ignore[method-assign]  # attrs made one with all fields

    def __repr__(self) -> str:
        given = [f.name for f in input_fields(type(self)) if getattr(self, f.name) is not None]
        return f"<{type(self).__name__} of {', '.join(given)}>"

    def __attrs_post_init__(self) -> None:
        for f in input_fields(type(self)):
            value = getattr(self, f.name)
            if value is not None:
                _check(f, value)
            elif f.required:
                raise InvalidInput(f"{f.name} is required.", field=f.name)
        if self.key is not None and not self.key.strip():
            raise InvalidInput("key must not be blank.", field="key")
        self._check_json()
        self.check()

    def check(self) -> None:
        """Check what no single field can tell; kinds override it. Raises `InvalidInput`."""

    def media(self) -> Iterator[tuple[InputField, int | None, MediaInput]]:
        """Yield every media input: its field, its place in a list (None if alone), its value."""
        for f in input_fields(type(self)):
            value = getattr(self, f.name)
            if value is None or f.note(Media) is None:
                continue
            if is_sequence(value):
                for place, item in enumerate(value):
                    yield f, place, item
            else:
                yield f, None, value

    def to_wire(self, urls: Mapping[tuple[str, int | None], str]) -> dict[str, Any]:
        """Return the JSON body, with the media's URLs (by field and place) put in.

        The common fields are left to the starter, apart from ``extra``.
        """
        body: dict[str, Any] = dict(self.always)
        for f in input_fields(type(self)):
            value = getattr(self, f.name)
            if value is None or f.common:
                continue
            if f.note(AsText) is not None:
                body[f.wire] = str(value)
            elif f.note(Media) is None:
                body[f.wire] = list(value) if is_sequence(value) else value
            elif is_sequence(value):
                body[f.wire] = [urls[f.name, place] for place in range(len(value))]
            else:
                body[f.wire] = urls[f.name, None]
        return body | dict(self.extra or {})

    def _check_json(self) -> None:
        fields_here = input_fields(type(self))
        for label in (f.name for f in fields_here if _takes_mapping(f.hint)):
            # The user's own values go nowhere; all others reach the service.
            setattr(self, label, free_json(label, getattr(self, label), sent=label != "meta"))
        declared = {f.wire: f.name for f in fields_here if not f.common} | dict(self.given_as)
        for name in self.extra or {}:
            if name in declared or name in self.always:
                given = declared.get(name, name)
                raise InvalidInput(f"extra: give {name!r} as {given}=….", field="extra")


_COMMON: Final = frozenset(a.name for a in fields(TaskInput))


def input_fields(cls: type[TaskInput]) -> tuple[InputField, ...]:
    """Return the declared inputs of a kind, in their order (common ones first)."""
    key: Any = cls  # attrs classes with eq are hashable as classes; mypy takes them for instances
    return _read_fields(key)


@cache
def _read_fields(cls: Any) -> tuple[InputField, ...]:
    hints = get_type_hints(cls, include_extras=True)
    made: list[InputField] = []
    for attribute in fields(cls):
        hint = hints[attribute.name]
        notes: tuple[Any, ...] = ()
        if get_origin(hint) is Annotated:
            hint, *rest = get_args(hint)
            notes = tuple(rest)
        wire = next((n.name for n in notes if isinstance(n, Wire)), attribute.name)
        required = attribute.default is NOTHING
        common = attribute.name in _COMMON
        made.append(InputField(attribute.name, wire, hint, notes, required, common))
    return tuple(made)


def build_input(cls: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TaskInput:
    """Return ``cls(*args, **kwargs)``; a wrong or missing name is an `InvalidInput`, too."""
    known = {f.name: f for f in input_fields(cls)}
    if args:
        raise InvalidInput("Inputs are given by name, such as source_url=….")
    unknown = [name for name in kwargs if name not in known]
    missing = [f.name for f in known.values() if f.required and f.name not in kwargs]
    if unknown:
        names = ", ".join(sorted(known))
        raise InvalidInput(
            f"There is no input {shown(unknown[0])}. There are: {names}.", field=unknown[0]
        )
    if missing:
        raise InvalidInput(f"{' and '.join(missing)} must be given.", field=missing[0])
    made: TaskInput = cls(**kwargs)
    return made


def is_url(value: str) -> bool:
    """Return True for a text that is taken as a URL rather than as a local path."""
    return value.lstrip()[:8].lower().startswith(("http://", "https://"))


def clean_url(value: str, field: str) -> str:
    """Return a media URL fit for the wire (spaces percent-encoded); refuse control characters."""
    url = value.strip().replace(" ", "%20")
    if any(c.isspace() or not c.isprintable() for c in url) or len(url) > 8192:
        raise InvalidInput(f"{field}: the URL holds a line break or is too long.", field=field)
    if not re.match(r"(?i)https?://[^/?#@]+(?:[/?#]|$)", url):
        raise InvalidInput(f"{field}: the URL has no host or holds credentials.", field=field)
    return url


def plain_number(value: float) -> str:
    """Return a bound as people write it: a whole number in full, without point or exponent."""
    return str(int(value)) if value == int(value) else f"{value:g}"


# -- checks ------------------------------------------------------------------------------------


def _check(f: InputField, value: Any) -> None:
    if f.note(Media) is not None:
        items: Sequence[Any] = value if is_sequence(value) else (value,)
        if items is value and not _takes_sequence(f.hint):
            raise InvalidInput(f"{f.name} takes one file, not a list.", field=f.name)
        if items is not value and _takes_sequence(f.hint):
            raise InvalidInput(f"{f.name} takes a list.", field=f.name)
        for item in items:
            check_media(f.name, item)
    elif not _fits(value, f.hint):
        if _is_whole(value) and _fits(0, f.hint):
            raise InvalidInput(f"{f.name} is too large a number.", field=f.name)
        raise InvalidInput(f"{f.name} must be {_say(f.hint)}, got {shown(value)}.", field=f.name)
    _check_bounds(f, value)


def _check_bounds(f: InputField, value: Any) -> None:
    for note in f.notes:
        if isinstance(note, Count) and not (
            note.low <= len(value) and (note.high is None or len(value) <= note.high)
        ):
            raise InvalidInput(f"{f.name} takes {note} items, got {len(value)}.", field=f.name)
        if isinstance(note, Between) and not note.low <= value <= note.high:
            raise InvalidInput(
                f"{f.name} must be between {plain_number(note.low)} and "
                f"{plain_number(note.high)}, got {shown(value)}.",
                field=f.name,
            )
    if isinstance(value, str) and f.note(Media) is None:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"{f.name} holds what is no UTF-8 text.", field=f.name) from None
        length = f.note(Length)
        most = length.most if length else MAX_TEXT
        if len(value) > most:
            raise InvalidInput(
                f"{f.name} must have at most {most} characters, got {len(value)}.", field=f.name
            )
        if f.required and not value.strip():
            raise InvalidInput(f"{f.name} must not be blank.", field=f.name)


def check_media(name: str, value: Any) -> None:
    """Raise `InvalidInput` for what can be no media input, by its looks alone."""
    if isinstance(value, Output):
        return
    if isinstance(value, bytes):
        if not value:
            raise InvalidInput(f"{name} is empty.", field=name)
        return
    if isinstance(value, str):
        if not value.strip():
            raise InvalidInput(f"{name} is blank.", field=name)
        if is_url(value):
            clean_url(value, name)
        elif re.match(r"(?i)[a-z][a-z0-9+.\-]+://", value) or value[:5].lower() == "data:":
            raise InvalidInput(
                f"{name} takes an http(s) URL, a path, bytes or an Output; "
                f"not {value.partition(':')[0][:20]}:….",
                field=name,
            )
        elif "\0" in value:
            raise InvalidInput(f"{name}: the path holds a NUL character.", field=name)
        return
    if not isinstance(value, os.PathLike):
        raise InvalidInput(
            f"{name} must be a URL, a path, bytes or an Output, got {shown(value)}.", field=name
        )


def _takes_sequence(hint: Any) -> bool:
    return any(get_origin(part) in (Sequence, list, tuple) for part in (hint, *get_args(hint)))


def _takes_mapping(hint: Any) -> bool:
    return (
        hint is Mapping or get_origin(hint) is Mapping or any(map(_takes_mapping, get_args(hint)))
    )


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        return _fits(value, get_args(hint)[0])
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if origin is Literal:
        return any(value == word and type(value) is type(word) for word in get_args(hint))
    if origin in (Sequence, list, tuple):
        inner = get_args(hint)[0]
        return is_sequence(value) and all(_fits(item, inner) for item in value)
    if origin is Mapping or hint is Mapping:
        return is_map(value)
    if hint in (None, NoneType):
        return value is None
    if hint is float and isinstance(value, float):
        return math.isfinite(value)
    if hint in (int, float):
        return _is_whole(value) and -_TOO_LARGE < value < _TOO_LARGE
    return isinstance(value, hint)


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _say(hint: Any) -> str:
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    words = [w for part in parts if part is not NoneType for w in _words(part)]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def _words(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [repr(word) for word in get_args(hint)]
    if get_origin(hint) in (Sequence, list, tuple):
        return ["a list of " + _say(get_args(hint)[0])]
    names = {str: "text", int: "a whole number", float: "a number", bool: "True or False"}
    return [names.get(hint, "a mapping" if get_origin(hint) is Mapping else str(hint))]
