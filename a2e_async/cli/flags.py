"""The flags of a kind's inputs, made from their declaration."""

import inspect
import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from attrs import frozen
from cyclopts import Group, Parameter

from a2e_async.cli import strict_json
from a2e_async.cli.numbers import choice_of, each, number, one, whole
from a2e_async.errors import InvalidInput
from a2e_async.inputs import (
    Between,
    Count,
    Doc,
    InputField,
    Length,
    Media,
    input_fields,
    is_url,
    plain_number,
)
from a2e_async.narrow import is_list, is_map
from a2e_async.tasks.kind import TaskKind

INPUTS = Group("Inputs", sort_key=0)

LEFT_OUT: Final = frozenset({"key"})
"""A key holds for the life of one client, or in a journal: start and run have a flag beside
``--journal`` for it."""


@frozen(kw_only=True)
class Flag:
    """One input as a flag. ``choices`` are closed unless ``open_ended``.

    ``many``: a list. It is given by repeating the flag, or as one JSON text with ``is_json``.
    """

    name: str
    flag: str
    type: Any
    required: bool
    help: str
    value: str = "text"
    """What it takes, in a word or two."""
    choices: tuple[Any, ...] = ()
    open_ended: bool = False
    media: tuple[str, ...] = ()
    many: bool = False
    is_json: bool = False

    @property
    def offered(self) -> Any:
        """The type that makes a shell offer the right values: files, or the known words."""
        single: Any = Path if self.media else Literal[self.choices] if self.choices else self.type
        return list[single] if self.many and single is not self.type else single

    def parameter(self, *, offering: bool = False) -> inspect.Parameter:
        """Return it as the parameter of a command's function, or of one that is only completed."""
        taken = self.offered if offering else self.type
        kind = taken if self.required else taken | None
        negative = f"--no-{self.flag[2:]}" if self.type is bool else ""
        note = Parameter(
            name=self.flag,
            help=self.help,
            negative=negative,
            group=INPUTS,
            converter=self._converter(),
        )
        default = inspect.Parameter.empty if self.required else None
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, note],  # pyright: ignore[reportInvalidTypeForm]  # made at run time
        )

    def _converter(self) -> Callable[[Any, Sequence[Any]], Any] | None:
        """Return what reads its numbers; None where they are none."""
        single = get_args(self.type)[0] if get_origin(self.type) is list else self.type
        read: Callable[[str], Any] | None = {int: whole, float: number}.get(single)
        if get_origin(single) is Literal and any(isinstance(c, int) for c in self.choices):
            read = choice_of(self.choices)
        if read is None:
            return None
        return each(read) if self.many else one(read)

    def to_json(self) -> dict[str, Any]:
        """Return what a program may want to know of it."""
        return {
            "name": self.name,
            "flag": self.flag,
            "type": self.value,
            "required": self.required,
            "help": self.help,
            "choices": list(self.choices),
            "other_values": self.open_ended or not self.choices,
            "media": list(self.media),
            "many": self.many,
        }


def flags_of(kind: TaskKind[..., Any]) -> tuple[Flag, ...]:
    """Return a kind's flags: what is required first, what all kinds have last."""
    cls: Any = kind.input
    declared = [f for f in input_fields(cls) if f.name not in LEFT_OUT]
    declared.sort(key=lambda f: (f.common, not f.required))
    return tuple(_flag(f, kind.name_most) for f in declared)


def has_timed_file(kind: TaskKind[..., Any], inputs: Mapping[str, Any]) -> bool:
    """Return whether any input is a local file of sound or video."""
    timed = [flag.name for flag in flags_of(kind) if {"audio", "video"} & {*flag.media}]
    given = [inputs[name] for name in timed if name in inputs]
    return any(not is_url(one) for value in given for one in (value if is_list(value) else [value]))


@contextmanager
def in_flags(kind: TaskKind[..., Any]) -> Generator[None]:
    """Word refusals of a kind's inputs by their flags. ``field`` stays the input's name."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(said_in_flags(kind, str(error)), field=error.field) from error


def said_in_flags(kind: TaskKind[..., Any], said: str) -> str:
    """Return a message with the names of inputs as flags.

    A name of one word, such as text, may stand for itself: it is a flag only at the beginning.
    """
    cls: Any = kind.input
    names = [f.name for f in input_fields(cls)]
    joined = "|".join(sorted((n for n in names if "_" in n), key=len, reverse=True))
    if joined:
        said = re.sub(rf"(?<![\w./-])(?:{joined})(?![\w./=-])", _as_flag, said)
    return re.sub(rf"^(?:{'|'.join(names)})(?=(?:\[\d+\])?:? )", _as_flag, said)


def _as_flag(name: re.Match[str]) -> str:
    return f"--{name[0].replace('_', '-')}"


def as_command(
    kind: TaskKind[..., Any],
    work: Callable[..., int],
    own: Sequence[str],
    *,
    offering: bool = False,
) -> Callable[..., int]:
    """Return ``work`` as the command of one kind: its inputs' flags, then ``work``'s ``own``.

    ``work`` is called with the kind's name, the inputs, and its own parameters by name.
    ``offering``: the command is not to be called but to be completed by a shell.
    """
    flags = flags_of(kind)
    signature = inspect.signature(work)

    def command(**given: Any) -> int:
        inputs = {f.name: _value(f, given[f.name]) for f in flags if given.get(f.name) is not None}
        return work(kind.name, inputs, **{name: given[name] for name in own if name in given})

    shown = [f.parameter(offering=offering) for f in flags]
    parameters = [*shown, *(signature.parameters[n] for n in own)]
    # cyclopts reads the signature; a real one for every kind is what makes the help true.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # for inspect
    return command


def _flag(f: InputField, name_most: int) -> Flag:
    parts = [part for part in _parts(f.hint) if part is not type(None)]
    sequence = next((p for p in parts if get_origin(p) in (Sequence, list, tuple)), None)
    if sequence is not None:
        parts = _parts(get_args(sequence)[0])
    words = tuple(w for p in parts if get_origin(p) is Literal for w in get_args(p))
    plain = [p for p in parts if get_origin(p) is not Literal]
    media: Media | None = f.note(Media)
    is_json = any(p is Mapping or get_origin(p) is Mapping for p in plain)
    single: Any = str
    if words and not plain:
        single = Literal[words]
    elif media is None and not is_json and not words:
        single = next((p for p in (bool, int, float) if p in plain), str)
    many = sequence is not None
    return Flag(
        name=f.name,
        flag=f"--{f.name.replace('_', '-')}",
        type=list[single] if many and not is_json else single,
        required=f.required,
        help=_help(
            f,
            words if plain else (),
            many=many,
            is_json=is_json,
            most=name_most if f.name == "name" else None,
        ),
        value=_said(single, media, closed=bool(words) and not plain, many=many, is_json=is_json),
        choices=words,
        open_ended=bool(words and plain),
        media=media.types if media else (),
        many=many,
        is_json=is_json,
    )


def _said(single: Any, media: Media | None, *, closed: bool, many: bool, is_json: bool) -> str:
    """Return what a flag takes, in a word or two."""
    if is_json:
        return "JSON list" if many else "JSON"
    if media is not None:
        said = " or ".join(media.types)
    elif closed:
        said = "a choice"
    else:
        said = {bool: "yes or no", int: "whole number", float: "number"}.get(single, "text")
    return f"{said}, repeated" if many else said


def _parts(hint: Any) -> list[Any]:
    """Return the members of a union (a Literal is one member), or the hint alone."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _parts(get_args(hint)[0])
    if origin in (None, Literal, Mapping, Sequence, list, tuple):
        return [hint]
    return [part for member in get_args(hint) for part in _parts(member)]


def _help(
    f: InputField, words: tuple[Any, ...], *, many: bool, is_json: bool, most: int | None
) -> str:
    doc: Doc | None = f.note(Doc)
    said = [doc.text if doc else ""]
    between: Between | None = f.note(Between)
    count: Count | None = f.note(Count)
    length: Length | None = f.note(Length)
    media: Media | None = f.note(Media)
    if words:
        said.append(f"One of {', '.join(map(str, words))}, or another the service knows.")
    if between:
        said.append(f"From {plain_number(between.low)} to {plain_number(between.high)}.")
    if length:
        said.append(f"At most {most or length.most} characters.")
    if media:
        each = "Each a" if many else "A"
        said.append(f"{each} URL or a local path ({' or '.join(media.types)}).")
    if count:
        bounds = f"{count}".capitalize()
        said.append(f"{bounds} items." if is_json else _times(count))
    elif many and not is_json:
        said.append("Repeat the flag for more.")
    if is_json:
        said.append(f"As JSON, '{_sample(many)}', or @file.json.")
    return " ".join(part for part in said if part)


def _times(count: Count) -> str:
    if count.low > 1:
        return f"Give the flag {count} times."
    if count.high is None:
        return "Repeat the flag for more."
    return "Give the flag once." if count.high == 1 else f"Give the flag up to {count.high} times."


def _value(flag: Flag, given: Any) -> Any:
    if not flag.is_json:
        # Files keep the bytes that the file system knows them by.
        return given if flag.media else as_typed(given)
    text, source = _json_text(flag, given)
    try:
        value = strict_json.parse(text)
    except ValueError as error:
        raise InvalidInput(
            f"{flag.flag} must be JSON such as '{_sample(flag.many)}'{source}: {error}.",
            field=flag.name,
        ) from None
    if not (is_list(value) if flag.many else is_map(value)):
        wanted = "list" if flag.many else "object"
        raise InvalidInput(f"{flag.flag} must be a JSON {wanted}{source}.", field=flag.name)
    return value


def as_typed(given: Any) -> Any:
    """Return a text as it was typed: in a locale without UTF-8 Python leaves its bytes escaped."""
    if is_list(given):
        return [as_typed(one) for one in given]
    if not isinstance(given, str) or given.isascii():
        return given
    try:
        return os.fsencode(given).decode()
    except UnicodeError:
        return given


def _json_text(flag: Flag, given: str) -> tuple[str, str]:
    """Return the JSON text that was given, or that is in the file, and words for where it is."""
    if not given.startswith("@"):
        return as_typed(given), ""
    path = Path(given[1:])
    try:
        return path.read_text(encoding="utf-8-sig"), f" (in {path})"
    except (OSError, ValueError) as error:  # ValueError: not UTF-8
        why = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8 text"
        raise InvalidInput(
            f"{flag.flag}: {str(path)!r:.200} cannot be read: {why}.", field=flag.name
        ) from None


def _sample(many: bool) -> str:
    return '[{"name": 1}]' if many else '{"name": 1}'
