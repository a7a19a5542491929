"""How a kind's inputs are declared, once: an attrs class whose annotations say the rest.

    @define(kw_only=True)
    class DubbingInput(TaskInput):
        source_url: Annotated[MediaInput, Media("audio", "video"), Doc("What to dub.")]
        num_speakers: Annotated[int | None, Between(1, 10), Doc("…")] = None

From that follow the parameters of ``start``, ``run``, ``job`` and ``quote`` (names, types and
documentation), the checks made before anything is sent, the body on the wire, and the command
line. ``None`` means: not sent.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, ClassVar, Final, get_args, get_origin, get_type_hints

from attrs import NOTHING, define, field, fields, frozen

from a2e_async.errors import InvalidInput
from a2e_async.free_json import free_json, shown
from a2e_async.hints import Test, fitter, is_whole, say, takes_mapping, takes_sequence
from a2e_async.models import MediaType, Output, Wire
from a2e_async.narrow import is_sequence
from a2e_async.paths import path_text
from a2e_async.redact import live_url
from a2e_async.urls import BadUrl, split_url

MediaInput = str | os.PathLike[str] | bytes | Output
"""A URL, a local path, the bytes themselves, or the Output of another task."""

MAX_TEXT: Final = 20_000
"""Characters; longer texts are refused by every kind, so they are refused here."""

_URL: Final = re.compile(r"(?i)https?://[^/?#@]+(?:[/?#]|$)")
_HOST_END: Final = re.compile(r"[/?#]")
_SCHEME: Final = re.compile(r"(?i)[a-z][a-z0-9+.\-]+://")


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
    fits: Test = field(eq=False, repr=False)
    """Whether a value is what the annotation says."""
    media: Media | None
    as_text: bool
    many: bool
    """It may be a list."""
    mapping: bool
    """It may be a mapping, or hold one."""
    most: int
    """Characters of a text at most."""

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

    def __rich_repr__(self) -> Iterator[str]:
        """Yield what rich shows: the names of the inputs, as the repr."""
        yield from (f.name for f in input_fields(type(self)) if getattr(self, f.name) is not None)

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
            if value is None or f.media is None:
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
            if f.as_text:
                body[f.wire] = str(value)
            elif f.media is None:
                body[f.wire] = list(value) if is_sequence(value) else value
            elif is_sequence(value):
                body[f.wire] = [urls[f.name, place] for place in range(len(value))]
            else:
                body[f.wire] = urls[f.name, None]
        return body | dict(self.extra or {})

    def _check_json(self) -> None:
        fields_here = input_fields(type(self))
        for f in fields_here:
            if f.mapping and (value := getattr(self, f.name)) is not None:
                # The user's own values go nowhere; all others reach the service.
                setattr(self, f.name, free_json(f.name, value, sent=f.name != "meta"))
        if not self.extra:
            return
        declared = {f.wire: f.name for f in fields_here if not f.common} | dict(self.given_as)
        for name in self.extra:
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
        length = next((n.most for n in notes if isinstance(n, Length)), MAX_TEXT)
        made.append(
            InputField(
                name=attribute.name,
                wire=wire,
                hint=hint,
                notes=notes,
                required=required,
                common=common,
                fits=fitter(hint),
                media=next((n for n in notes if isinstance(n, Media)), None),
                as_text=any(isinstance(n, AsText) for n in notes),
                many=takes_sequence(hint),
                mapping=takes_mapping(hint),
                most=length,
            )
        )
    return tuple(made)


@cache
def _names(cls: Any) -> dict[str, bool]:
    """Return the names of a kind's inputs, and whether each must be given."""
    return {f.name: f.required for f in input_fields(cls)}


def build_input(cls: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TaskInput:
    """Return ``cls(*args, **kwargs)``; a wrong or missing name is an `InvalidInput`, too."""
    if args:
        raise InvalidInput("Inputs are given by name, such as source_url=….")
    known = _names(cls)
    unknown = [name for name in kwargs if name not in known]
    missing = [name for name, required in known.items() if required and name not in kwargs]
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
    """Return a media URL fit for the wire: spaces percent-encoded, the host in ASCII.

    Raises `InvalidInput` for what cannot be requested: control characters, credentials, no host
    or an impossible one, a port out of range.
    """
    url = live_url(value).strip().replace(" ", "%20")
    # What is printable is no white space: of that, the plain space alone is, and there is none.
    if not url.isprintable() or len(url) > 8192:
        raise InvalidInput(f"{field}: the URL holds a line break or is too long.", field=field)
    if not _URL.match(url):
        raise InvalidInput(f"{field}: the URL has no host or holds credentials.", field=field)
    try:
        parts = split_url(url)
    except BadUrl as error:
        raise InvalidInput(f"{field}: the URL cannot be used: {error}.", field=field) from None
    scheme, _, rest = url.partition("://")
    host = _HOST_END.split(rest, maxsplit=1)[0]
    return url if host.isascii() else f"{scheme}://{parts.authority}{rest[len(host) :]}"


def plain_number(value: float) -> str:
    """Return a bound as people write it: a whole number in full, without point or exponent."""
    return str(int(value)) if value == int(value) else f"{value:g}"


# -- checks ------------------------------------------------------------------------------------


def _check(f: InputField, value: Any) -> None:
    if f.media is not None:
        items: Sequence[Any] = value if is_sequence(value) else (value,)
        if items is value and not f.many:
            raise InvalidInput(f"{f.name} takes one file, not a list.", field=f.name)
        if items is not value and f.many:
            raise InvalidInput(f"{f.name} takes a list.", field=f.name)
        for item in items:
            check_media(f.name, item)
    elif not f.fits(value):
        if is_whole(value) and f.fits(0):
            raise InvalidInput(f"{f.name} is too large a number.", field=f.name)
        raise InvalidInput(f"{f.name} must be {say(f.hint)}, got {shown(value)}.", field=f.name)
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
    if isinstance(value, str) and f.media is None:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"{f.name} holds what is no UTF-8 text.", field=f.name) from None
        if len(value) > f.most:
            raise InvalidInput(
                f"{f.name} must have at most {f.most} characters, got {len(value)}.", field=f.name
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
        elif _SCHEME.match(value) or value[:5].lower() == "data:":
            raise InvalidInput(
                f"{name} takes an http(s) URL, a path, bytes or an Output; "
                f"not {value.partition(':')[0][:20]}:….",
                field=name,
            )
        else:
            path_text(value, name)
        return
    if not isinstance(value, os.PathLike):
        raise InvalidInput(
            f"{name} must be a URL, a path as text, bytes or an Output, got {shown(value)}.",
            field=name,
        )
    path_text(value, name)
