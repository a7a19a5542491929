"""Declare a kind's inputs once, as an attrs class with annotations.

    @define(kw_only=True)
    class DubbingInput(TaskInput):
        source_url: Annotated[MediaInput, AcceptedMedia("audio", "video"), FieldDoc("…")]
        num_speakers: Annotated[int | None, Range(1, 10), FieldDoc("…")] = None

The parameters of ``start``, ``run``, ``job`` and ``quote`` (names, types and documentation), the
checks before anything is sent, the JSON body and the command line are derived from it. An input
that is ``None`` is not sent.
"""

import os
import re
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, ClassVar, Final, get_args, get_origin, get_type_hints

from attrs import NOTHING, define, field, fields, frozen

from a2e_async._core.paths import path_text
from a2e_async._core.redact import full_url
from a2e_async._core.schema.json_guard import guarded_json, short_repr
from a2e_async._core.schema.language_names import code_of_language
from a2e_async._core.schema.media_input import (
    ACCEPTED,
    AsyncBinaryFile,
    AsyncBodyPart,
    BinaryFile,
    FormFile,
    OpenFile,
    as_open_file,
)
from a2e_async._core.schema.validators import (
    TypePredicate,
    accepts_free_text,
    accepts_mapping,
    accepts_sequence,
    describe_type,
    is_integer,
    predicate_for,
)
from a2e_async._core.typeguards import is_sequence
from a2e_async._core.urls import InvalidUrl, split_url
from a2e_async.errors import InvalidInput
from a2e_async.models import MediaType, Output, WireName

MediaInput = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | Output
    | BinaryFile
    | FormFile
    | AsyncBinaryFile
    | AsyncBodyPart
    | AsyncIterable[bytes]
)
"""A URL, a path, bytes, an open binary file or async stream, or the Output of another task."""

MAX_KEY_CHARS: Final = 200
"""Longest key of a start or a paid call, in characters."""

MAX_TEXT_CHARS: Final = 20_000
"""Longest text in characters; every kind of the service refuses longer ones."""

_URL: Final = re.compile(r"(?i)https?://[^/?#@]+(?:[/?#]|$)")
_HOST_END: Final = re.compile(r"[/?#]")
_SCHEME: Final = re.compile(r"(?i)[a-z][a-z0-9+.\-]+://")


@frozen
class FieldDoc:
    """The documentation of an input: one or two sentences."""

    text: str


@frozen
class Range:
    """The bounds of a number, inclusive."""

    low: float
    high: float


@frozen
class ItemCount:
    """The bounds of a list's length, inclusive; ``high`` is None if no maximum is known."""

    low: int
    high: int | None = None

    def __str__(self) -> str:
        """Return the bounds as words: ``2 to 4 items``, ``2 items``, ``at least 1 item``."""
        noun = "item" if (self.high or self.low) == 1 else "items"
        if self.high is None:
            return f"at least {self.low} {noun}"
        bounds = f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"
        return f"{bounds} {noun}"


@frozen
class SerializeAsString:
    """Send a number as a JSON string, as the service expects for this input."""


@frozen
class MaxLength:
    """The maximum length of a text, in characters."""

    max_chars: int


@frozen
class LanguageCode:
    """A text that is the code of a language, such as en. Which codes there are is not checked."""


class AcceptedMedia:
    """The media types that the service accepts for an input."""

    __slots__ = ("types",)

    def __init__(self, *types: MediaType) -> None:
        self.types: tuple[MediaType, ...] = types


@frozen
class InputField:
    """A declared input, built from its annotation."""

    name: str
    wire_name: str
    hint: Any
    metadata: tuple[Any, ...]
    required: bool
    common: bool
    accepts: TypePredicate = field(eq=False, repr=False)
    """Returns whether a value matches the annotation."""
    media: AcceptedMedia | None
    as_string: bool
    allows_list: bool
    """Whether the input may be a list."""
    allows_single: bool
    """Whether a media input may be a single file."""
    allows_mapping: bool
    """Whether the input may be, or contain, a mapping."""
    free_text: bool
    """Whether the input may be any text, and the package knows no values of it."""
    max_chars: int
    """Maximum length of a text, in characters."""

    def find_metadata(self, cls: type[Any]) -> Any:
        """Return the annotation's metadata of class ``cls``, or None."""
        return next((n for n in self.metadata if isinstance(n, cls)), None)


@define(kw_only=True)
class TaskInput:
    """The inputs that all kinds have in common."""

    name: Annotated[
        str | None,
        MaxLength(200),
        FieldDoc(
            "A name for the task; its maximum length depends on the kind. By default the client "
            "sends a unique name, by which it can find the task of a lost start."
        ),
    ] = None
    key: Annotated[
        str | None,
        MaxLength(MAX_KEY_CHARS),
        FieldDoc(
            "Starts with the same key return the same task and are charged once: within one "
            "client or, with a journal, in all processes that share the journal."
        ),
    ] = None
    meta: Annotated[
        Mapping[str, Any] | None,
        FieldDoc("Your own JSON values; kept with the task, never sent to the service."),
    ] = None
    extra: Annotated[
        Mapping[str, Any] | None,
        FieldDoc("Inputs that this package does not know yet, by their names in the JSON body."),
    ] = None

    constant_fields: ClassVar[Mapping[str, Any]] = {}
    """Fields that every start of the kind sends, where the service's default is not safe."""

    common_wire_names: ClassVar[Mapping[str, str]] = {"name": "name"}
    """Maps JSON names that a start fills from a common input to the name of that input."""

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        # Inputs contain prompts and whole files, which must not appear in logs.
        cls.__repr__ = TaskInput.__repr__  # type: ignore[method-assign]  # attrs generated one with all fields

    def __rich_repr__(self) -> Iterator[str]:
        """Yield the names of the given inputs for rich, as in the repr."""
        yield from (f.name for f, value in self._inputs() if value is not None)

    def __repr__(self) -> str:
        given = [f.name for f, value in self._inputs() if value is not None]
        return f"<{type(self).__name__} of {', '.join(given)}>"

    def _inputs(self) -> "list[tuple[InputField, Any]]":
        """Return all inputs with their values; the value is None if an input is not given."""
        return [(f, getattr(self, f.name)) for f in input_fields(type(self))]

    def _set_value(self, f: InputField, value: Any) -> None:
        setattr(self, f.name, value)

    def __attrs_post_init__(self) -> None:
        for f, value in self._inputs():
            if value is not None:
                checked = _check(f, value)
                if checked is not value:
                    self._set_value(f, checked)
            elif f.required:
                raise InvalidInput(f"{f.name} is required.", field=f.name)
        if self.key is not None and not self.key.strip():
            raise InvalidInput("key must not be blank.", field="key")
        self._check_json()
        self.check()

    def check(self) -> None:
        """Check rules across several inputs; kinds override this. Raises `InvalidInput`."""

    def media(self) -> Iterator[tuple[InputField, int | None, MediaInput]]:
        """Yield each media input as (field, index in its list or None, value)."""
        for f, value in self._inputs():
            if value is None or f.media is None:
                continue
            if is_sequence(value):
                for index, item in enumerate(value):
                    yield f, index, item
            else:
                yield f, None, value

    def open_files(self) -> tuple[OpenFile, ...]:
        """Return the file objects and streams among the media inputs."""
        return tuple(value for _, _, value in self.media() if isinstance(value, OpenFile))

    def to_wire(self, urls: Mapping[tuple[str, int | None], str]) -> dict[str, Any]:
        """Return the JSON body; ``urls`` has the media URLs by field name and list index.

        Of the common inputs only ``extra`` is included; the caller adds the others.
        """
        body: dict[str, Any] = dict(self.constant_fields)
        for f, value in self._inputs():
            if value is None or f.common:
                continue
            if f.as_string:
                body[f.wire_name] = str(value)
            elif f.media is None:
                body[f.wire_name] = list(value) if is_sequence(value) else value
            elif is_sequence(value):
                body[f.wire_name] = [urls[f.name, index] for index in range(len(value))]
            else:
                body[f.wire_name] = urls[f.name, None]
        return body | dict(self.extra or {})

    def _check_json(self) -> None:
        inputs = self._inputs()
        for f, value in inputs:
            if f.allows_mapping and value is not None:
                # `meta` is never sent; all other mappings are sent to the service.
                self._set_value(f, guarded_json(f.name, value, sent=f.name != "meta"))
        if not self.extra:
            return
        declared = {f.wire_name: f.name for f, _ in inputs if not f.common} | dict(
            self.common_wire_names
        )
        for name in self.extra:
            if name in declared or name in self.constant_fields:
                given = declared.get(name, name)
                raise InvalidInput(f"extra: pass {name!r} as {given}=… instead.", field="extra")


COMMON_NAMES: Final = frozenset(a.name for a in fields(TaskInput))
"""The inputs that all kinds have."""


def input_fields(cls: type[TaskInput]) -> tuple[InputField, ...]:
    """Return the declared inputs of a kind in order, common inputs first."""
    key: Any = cls  # the class is hashable; mypy checks the hash of its instances
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
        wire = next((n.name for n in notes if isinstance(n, WireName)), attribute.name)
        required = attribute.default is NOTHING
        common = attribute.name in COMMON_NAMES
        length = next((n.max_chars for n in notes if isinstance(n, MaxLength)), MAX_TEXT_CHARS)
        made.append(
            InputField(
                name=attribute.name,
                wire_name=wire,
                hint=hint,
                metadata=notes,
                required=required,
                common=common,
                accepts=predicate_for(hint),
                media=next((n for n in notes if isinstance(n, AcceptedMedia)), None),
                as_string=any(isinstance(n, SerializeAsString) for n in notes),
                allows_list=accepts_sequence(hint),
                allows_single=predicate_for(hint)("text"),
                allows_mapping=accepts_mapping(hint),
                free_text=accepts_free_text(hint),
                max_chars=length,
            )
        )
    return tuple(made)


@cache
def _required_by_name(cls: Any) -> dict[str, bool]:
    """Return the names of a kind's inputs, each with whether it is required."""
    return {f.name: f.required for f in input_fields(cls)}


def build_input(cls: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TaskInput:
    """Return ``cls(**kwargs)``. Raises `InvalidInput`, also for an unknown or missing name."""
    if args:
        raise InvalidInput("Inputs must be passed by name, such as source_url=….")
    known = _required_by_name(cls)
    unknown = [name for name in kwargs if name not in known]
    missing = [name for name, required in known.items() if required and name not in kwargs]
    if unknown:
        raise _unknown_input(unknown[0], known)
    if missing:
        raise InvalidInput(f"{' and '.join(missing)} must be given.", field=missing[0])
    made: TaskInput = cls(**kwargs)
    return made


def _did_you_mean(unknown: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # rarely needed

    names = sorted(known)
    if (url := f"{unknown}_url") in names:
        return f" Did you mean {url}?"
    close = [name for name in names if len(unknown) > 2 and unknown.lower() in name.split("_")]
    close = close or get_close_matches(unknown.lower(), names, n=1)
    return f" Did you mean {' or '.join(close)}?" if close else ""


def input_errors(cls: Any, given: Mapping[str, Any]) -> list[InvalidInput]:
    """Return every error in the inputs of a start; none if `build_input` accepts them.

    Rules across several inputs are checked only if each input is right.
    """
    known = _required_by_name(cls)
    errors = [_unknown_input(name, known) for name in given if name not in known]
    for f in input_fields(cls):
        if given.get(f.name) is None:
            if f.required:
                errors.append(InvalidInput(f"{f.name} must be given.", field=f.name))
            continue
        try:
            _check(f, given[f.name])
        except InvalidInput as error:
            errors.append(error)
    if not errors:
        try:
            build_input(cls, (), given)
        except InvalidInput as error:
            errors.append(error)
    return errors


def _unknown_input(name: str, known: Iterable[str]) -> InvalidInput:
    hint = _did_you_mean(name, known)
    return InvalidInput(
        f"There is no input {short_repr(name)}.{hint} Known inputs: {', '.join(sorted(known))}.",
        field=name,
    )


def is_url(value: str) -> bool:
    """Return whether a text is treated as a URL rather than as a local path."""
    return value.lstrip()[:8].lower().startswith(("http://", "https://"))


def clean_url(value: str, field: str) -> str:
    """Return a media URL ready to be sent: spaces percent-encoded, the host in ASCII.

    Raises `InvalidInput` for control characters, credentials, a missing or invalid host, or a
    port out of range.
    """
    url = full_url(value).strip().replace(" ", "%20")
    # Printable text contains no white space but U+0020, and that was replaced above.
    if not url.isprintable() or len(url) > 8192:
        raise InvalidInput(f"{field}: the URL contains a line break or is too long.", field=field)
    if not _URL.match(url):
        raise InvalidInput(f"{field}: the URL has no host or contains credentials.", field=field)
    try:
        parts = split_url(url)
    except InvalidUrl as error:
        raise InvalidInput(f"{field}: the URL cannot be used: {error}.", field=field) from None
    scheme, _, rest = url.partition("://")
    host = _HOST_END.split(rest, maxsplit=1)[0]
    return url if host.isascii() else f"{scheme}://{parts.authority}{rest[len(host) :]}"


def format_number(value: float) -> str:
    """Format a bound for messages: integers without decimal point or exponent."""
    return str(int(value)) if value == int(value) else f"{value:g}"


# -- checks ------------------------------------------------------------------------------------


def _check(f: InputField, value: Any) -> Any:
    """Return the checked value; open files are wrapped, to be read once. Raises `InvalidInput`."""
    if f.media is not None:
        items: Sequence[Any] = value if is_sequence(value) else (value,)
        if items is value and not f.allows_list:
            raise InvalidInput(f"{f.name} takes one file, not a list.", field=f.name)
        if items is not value and not f.allows_single:
            raise InvalidInput(f"{f.name} takes a list.", field=f.name)
        checked = [check_media(f.name, item) for item in items]
        if any(isinstance(item, OpenFile) for item in checked):
            value = checked if items is value else checked[0]
    elif not f.accepts(value):
        if is_integer(value) and f.accepts(0):
            raise InvalidInput(f"{f.name}: the number is too large.", field=f.name)
        raise InvalidInput(
            f"{f.name} must be {describe_type(f.hint)}, got {short_repr(value)}.", field=f.name
        )
    _check_bounds(f, value)
    return value


def _check_bounds(f: InputField, value: Any) -> None:
    for note in f.metadata:
        if isinstance(note, ItemCount) and not (
            note.low <= len(value) and (note.high is None or len(value) <= note.high)
        ):
            raise InvalidInput(f"{f.name} takes {note}, got {len(value)}.", field=f.name)
        if isinstance(note, Range) and not note.low <= value <= note.high:
            raise InvalidInput(
                f"{f.name} must be between {format_number(note.low)} and "
                f"{format_number(note.high)}, got {short_repr(value)}.",
                field=f.name,
            )
    if isinstance(value, str) and f.media is None:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"{f.name} cannot be encoded as UTF-8.", field=f.name) from None
        if len(value) > f.max_chars:
            raise InvalidInput(
                f"{f.name} must have at most {f.max_chars} characters, got {len(value)}.",
                field=f.name,
            )
        if f.required and not value.strip():
            raise InvalidInput(f"{f.name} must not be blank.", field=f.name)
        if f.find_metadata(LanguageCode) and (code := code_of_language(value)):
            raise InvalidInput(
                f"{f.name} takes the code of a language, not its name: give {code!r} instead of "
                f"{short_repr(value)}.",
                field=f.name,
            )


def check_media(name: str, value: Any) -> Any:
    """Return a media input, an open file as an `OpenFile`; without reading any file.

    Raises `InvalidInput` if ``value`` cannot be a media input.
    """
    given = value  # not narrowed below
    if isinstance(value, Output):
        return given
    if isinstance(value, bytes):
        if not value:
            raise InvalidInput(f"{name} is empty.", field=name)
    elif isinstance(value, str):
        if not value.strip():
            raise InvalidInput(f"{name} is blank.", field=name)
        if is_url(value):
            clean_url(value, name)
        elif _SCHEME.match(value) or value[:5].lower() == "data:":
            raise InvalidInput(
                f"{name} takes {ACCEPTED}; the URL must begin with http:// or https://, not "
                f"{value.partition(':')[0][:20]}:….",
                field=name,
            )
        else:
            path_text(value, name)
    elif isinstance(value, os.PathLike):
        path_text(value, name)
    elif (opened := as_open_file(name, value)) is not None:
        return opened
    else:
        raise InvalidInput(f"{name} must be {ACCEPTED}, got {short_repr(value)}.", field=name)
    return given


MediaSource = tuple[MediaInput, tuple[MediaType, ...], str]
"""A media input, the media types allowed for it, and the name of the input."""
