"""The flags of a kind's inputs, made from their declaration."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, cast, get_args, get_origin

from attrs import frozen
from cyclopts import Group, Parameter

from a2e_async.errors import InvalidInput
from a2e_async.inputs import Between, Doc, InputField, Length, Media, input_fields
from a2e_async.tasks.kind import TaskKind

INPUTS = Group("Inputs", sort_key=0)

LEFT_OUT: Final = frozenset({"key"})
"""A key holds for the life of one client; a command's client lives for one start only."""


@frozen(kw_only=True)
class Flag:
    """One input as a flag. ``choices`` are closed unless ``open_ended``."""

    name: str
    flag: str
    type: Any
    required: bool
    help: str
    choices: tuple[Any, ...] = ()
    open_ended: bool = False
    media: tuple[str, ...] = ()
    many: bool = False
    is_json: bool = False

    def parameter(self) -> inspect.Parameter:
        """Return it as the parameter of a command's function."""
        kind = self.type if self.required else self.type | None
        negative = f"--no-{self.flag[2:]}" if self.type is bool else ""
        note = Parameter(name=self.flag, help=self.help, negative=negative, group=INPUTS)
        default = inspect.Parameter.empty if self.required else None
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, note],  # pyright: ignore[reportInvalidTypeForm]  # made at run time
        )

    def to_json(self) -> dict[str, Any]:
        """Return what a program may want to know of it."""
        return {
            "name": self.name,
            "flag": self.flag,
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
    return tuple(_flag(f) for f in declared)


def as_command(
    kind: TaskKind[..., Any], work: Callable[..., int], own: Sequence[str]
) -> Callable[..., int]:
    """Return ``work`` as the command of one kind: its inputs' flags, then ``work``'s ``own``.

    ``work`` is called with the kind's name, the inputs, and its own parameters by name.
    """
    flags = flags_of(kind)
    signature = inspect.signature(work)

    def command(**given: Any) -> int:
        inputs = {f.name: _value(f, given[f.name]) for f in flags if given.get(f.name) is not None}
        return work(kind.name, inputs, **{name: given[name] for name in own if name in given})

    parameters = [*(f.parameter() for f in flags), *(signature.parameters[n] for n in own)]
    # cyclopts reads the signature; a real one for every kind is what makes the help true.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # for inspect
    return command


def _flag(f: InputField) -> Flag:
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
    return Flag(
        name=f.name,
        flag=f"--{f.name.replace('_', '-')}",
        type=list[single] if sequence is not None else single,
        required=f.required,
        help=_help(f, words if plain else (), media, is_json),
        choices=words,
        open_ended=bool(words and plain),
        media=media.types if media else (),
        many=sequence is not None,
        is_json=is_json,
    )


def _parts(hint: Any) -> list[Any]:
    """Return the members of a union (a Literal is one member), or the hint alone."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _parts(get_args(hint)[0])
    if origin in (None, Literal, Mapping, Sequence, list, tuple):
        return [hint]
    return [part for member in get_args(hint) for part in _parts(member)]


def _help(f: InputField, words: tuple[Any, ...], media: Media | None, is_json: bool) -> str:
    doc: Doc | None = f.note(Doc)
    said = [doc.text if doc else ""]
    between: Between | None = f.note(Between)
    length: Length | None = f.note(Length)
    if words:
        said.append(f"One of {', '.join(map(str, words))}, or another the service knows.")
    if between:
        said.append(f"From {between.low:g} to {between.high:g}.")
    if length:
        said.append(f"At most {length.most} characters.")
    if media:
        said.append(f"A URL or a local path ({' or '.join(media.types)}).")
    if is_json:
        said.append("As JSON: '{\"name\": 1}'.")
    return " ".join(part for part in said if part)


def _value(flag: Flag, given: Any) -> Any:
    if not flag.is_json:
        return given
    try:
        value = json.loads(given)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{flag.flag} must be JSON such as '{{\"name\": 1}}': {error}.", field=flag.name
        ) from None
    if not isinstance(value, dict):
        raise InvalidInput(f"{flag.flag} must be a JSON object.", field=flag.name)
    return cast("dict[str, Any]", value)
