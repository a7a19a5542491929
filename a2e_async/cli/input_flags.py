"""The flags of a kind's inputs, generated from their declarations."""

import inspect
import os
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from attrs import frozen
from cyclopts import Group, Parameter

from a2e_async._core.paths import expand_home
from a2e_async._core.schema.inputs import (
    COMMON_NAMES,
    AcceptedMedia,
    FieldDoc,
    InputField,
    ItemCount,
    MaxLength,
    Range,
    format_number,
    is_url,
)
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.typeguards import is_list, is_mapping
from a2e_async.cli import strict_json
from a2e_async.cli.error_messages import in_cli_words
from a2e_async.cli.number_parsing import choice_of, number, parse_each, parse_one, whole_number
from a2e_async.errors import InvalidInput, KeyConflict

INPUTS = Group("Inputs", sort_key=0)

OMITTED_INPUTS: Final = frozenset({"key"})
"""The key: without a journal it would be forgotten when the command ends, so that start and run
have a flag of their own for it, beside ``--journal``."""


@frozen(kw_only=True)
class InputFlag:
    """One input as a flag.

    ``choices`` are the only values unless ``open_ended``. ``many`` marks a list: the flag is
    repeated, or takes one JSON text if ``is_json``.
    """

    name: str
    flag: str
    type: Any
    required: bool
    help: str
    value: str = "text"
    """The kind of value, in a word or two."""
    choices: tuple[Any, ...] = ()
    open_ended: bool = False
    media: tuple[str, ...] = ()
    many: bool = False
    is_json: bool = False

    def parameter(self) -> inspect.Parameter:
        """Return the flag as a parameter of a command's function."""
        annotation = self.type if self.required else self.type | None
        negative = f"--no-{self.flag[2:]}" if self.type is bool else ""
        settings = Parameter(
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
            annotation=Annotated[annotation, settings],
        )

    def _converter(self) -> Callable[[Any, Sequence[Any]], Any] | None:
        """Return the strict parser of a number flag; None for other flags."""
        single = get_args(self.type)[0] if get_origin(self.type) is list else self.type
        read: Callable[[str], Any] | None = {int: whole_number, float: number}.get(single)
        if get_origin(single) is Literal and any(isinstance(c, int) for c in self.choices):
            read = choice_of(self.choices)
        if read is None:
            return None
        return parse_each(read) if self.many else parse_one(read)

    def to_json(self) -> dict[str, Any]:
        """Return the flag as JSON values, for programs that read ``a2e kinds --json``."""
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


def flags_of(kind: TaskKind[..., Any]) -> tuple[InputFlag, ...]:
    """Return a kind's flags: required ones first, those that all kinds have last.

    A kind without an input class has one flag for all its inputs.
    """
    declared = [f for f in kind.inputs if f.name not in OMITTED_INPUTS]
    if kind.input is None:
        common = (_flag(f, kind) for f in declared if f.common)
        return (_any_input_flag(kind), *common)
    declared.sort(key=lambda f: (f.common, not f.required))
    return tuple(_flag(f, kind) for f in declared)


ANY_INPUT: Final = "input"
"""The flag of kinds without an input class: ``--input NAME=VALUE``, repeated."""


def _any_input_flag(kind: TaskKind[..., Any]) -> InputFlag:
    media = [f"{f.name} ({' or '.join(f.media.types)})" for f in kind.inputs if f.media is not None]
    files = f" Media: {', '.join(media)}, each a URL or a local path." if media else ""
    return InputFlag(
        name=ANY_INPUT,
        flag=f"--{ANY_INPUT}",
        type=list[str],
        required=False,
        help="An input as NAME=VALUE, by its name in the API. The value is text, or JSON such as "
        f'5, true or \'["a", "b"]\'; a number as text is \'"5"\'. @file.json reads JSON from a '
        f"file.{files} Repeat the flag for more than one.",
        value="NAME=VALUE, repeated",
        many=True,
    )


def text_or_json(text: str) -> Any:
    """Return the value of an untyped input: JSON if it is JSON, else the text itself.

    Raises ValueError for a text that begins as a JSON list or object and is none: it is most
    probably a mistake, and a start with it would be charged.
    """
    try:
        return strict_json.parse(text)
    except ValueError as error:
        if text.lstrip()[:1] in ("[", "{"):
            raise ValueError(
                f"it begins as JSON, and is not JSON: {error}. A text that begins so is given in "
                'JSON quotes, such as "[…]"'
            ) from None
        return text


def _untyped_value(name: str, given: str) -> Any:
    """Return the value in ``NAME=VALUE``, or in the file of ``NAME=@FILE.json``."""
    from_file = given.startswith("@") and given.lower().endswith(".json")
    text, source = _json_text(f"--{ANY_INPUT} {name}", name, given) if from_file else (given, "")
    try:
        return strict_json.parse(text) if from_file else text_or_json(text)
    except ValueError as error:
        raise InvalidInput(f"--{ANY_INPUT} {name}{source}: {error}.", field=name) from None


def _split_inputs(given: Sequence[str]) -> dict[str, Any]:
    """Return the inputs in the values of ``--input``. Raises `InvalidInput`."""
    inputs: dict[str, Any] = {}
    for one in given:
        name, equals, value = as_typed(one).partition("=")
        name = name.strip()
        if not equals or not name:
            raise InvalidInput(
                f"--input takes NAME=VALUE, such as --input prompt=dawn, not {one!r:.60}.",
                field=ANY_INPUT,
            )
        if name in inputs:
            raise InvalidInput(
                f"--input {name} is given twice; a list is JSON, such as "
                f'--input \'{name}=["a", "b"]\'.',
                field=ANY_INPUT,
            )
        if name in COMMON_NAMES:
            raise InvalidInput(
                f"--input {name}: this is --{name}; an input of the API with that name is given "
                f"with --extra '{{\"{name}\": …}}'.",
                field=ANY_INPUT,
            )
        inputs[name] = _untyped_value(name, value)
    return inputs


def has_audio_or_video_file(kind: TaskKind[..., Any], inputs: Mapping[str, Any]) -> bool:
    """Return whether any input is a local audio or video file."""
    names = [
        f.name for f in kind.inputs if f.media is not None and {"audio", "video"} & {*f.media.types}
    ]
    given = [inputs[name] for name in names if name in inputs]
    return any(not is_url(one) for value in given for one in (value if is_list(value) else [value]))


@contextmanager
def errors_as_flags(kind: TaskKind[..., Any]) -> Generator[None]:
    """Raise `InvalidInput` and `KeyConflict` with flags instead of input names in their texts."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(message_with_flags(kind, str(error)), field=error.field) from error
    except KeyConflict as error:
        message = message_with_flags(kind, str(error))
        raise KeyConflict(message, key=error.key, ref=error.ref) from error


def message_with_flags(kind: TaskKind[..., Any], text: str) -> str:
    """Return a message with the names of a kind's inputs replaced by their flags.

    A one-word name, such as text, may be an ordinary word: it is replaced only at the beginning.
    """
    names = [f.name for f in kind.inputs if f.common or kind.input is not None]
    joined = "|".join(sorted((n for n in names if "_" in n), key=len, reverse=True))
    text = re.sub(rf"(?<![\w.-])({'|'.join(names)})=(…|[^\s,;]*\w)'?", _with_value, text)
    if joined:
        text = re.sub(rf"(?<![\w./-])(?:{joined})(?![\w/=-]|\.\w)", _as_flag, text)
    return re.sub(rf"^(?:{'|'.join(names)})(?=(?:\[\d+\])?:? )", _as_flag, text)


def _as_flag(name: re.Match[str]) -> str:
    return f"--{name[0].replace('_', '-')}"


def _with_value(argument: re.Match[str]) -> str:
    """Return ``name=value`` as a flag with its value; booleans are switches."""
    flag, value = argument[1].replace("_", "-"), argument[2].strip("'\"")
    if value == "False":
        return f"--no-{flag}"
    return f"--{flag}" if value in ("True", "…") else f"--{flag} {value}"


def as_command(
    kind: TaskKind[..., Any],
    work: Callable[..., int],
    own: Sequence[str],
) -> Callable[..., int]:
    """Return the command of one kind: its input flags, then the parameters ``own`` of ``work``.

    ``work`` is called with the kind's name, the inputs, and its own parameters by name.
    """
    flags = flags_of(kind)
    signature = inspect.signature(work)

    def command(**given: Any) -> int:
        inputs = {f.name: _value(f, given[f.name]) for f in flags if given.get(f.name) is not None}
        if kind.input is None:
            inputs |= _split_inputs(inputs.pop(ANY_INPUT, ()))
        return work(kind.name, inputs, **{name: given[name] for name in own if name in given})

    parameters = [*(f.parameter() for f in flags), *(signature.parameters[n] for n in own)]
    # cyclopts reads the signature, so each kind's help shows exactly what the kind takes.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # for inspect
    return command


def _flag(f: InputField, kind: TaskKind[..., Any]) -> InputFlag:
    parts = [part for part in _parts(f.hint) if part is not type(None)]
    sequence = next((p for p in parts if get_origin(p) in (Sequence, list, tuple)), None)
    if sequence is not None:
        parts = _parts(get_args(sequence)[0])
    words = tuple(w for p in parts if get_origin(p) is Literal for w in get_args(p))
    plain = [p for p in parts if get_origin(p) is not Literal]
    media: AcceptedMedia | None = f.find_metadata(AcceptedMedia)
    is_json = any(p is Mapping or get_origin(p) is Mapping for p in plain)
    single: Any = str
    if words and not plain:
        single = Literal[words]
    elif media is None and not is_json and not words:
        single = next((p for p in (bool, int, float) if p in plain), str)
    many = sequence is not None
    return InputFlag(
        name=f.name,
        flag=f"--{f.name.replace('_', '-')}",
        type=list[single] if many and not is_json else single,
        required=f.required,
        help=_help(
            f,
            words if plain else (),
            many=many,
            is_json=is_json,
            max_length=kind.max_name_length if f.name == "name" else None,
            kind=kind,
        ),
        value=_value_label(
            single, media, closed=bool(words) and not plain, many=many, is_json=is_json
        ),
        choices=words,
        open_ended=bool(words and plain),
        media=media.types if media else (),
        many=many,
        is_json=is_json,
    )


def _value_label(
    single: Any, media: AcceptedMedia | None, *, closed: bool, many: bool, is_json: bool
) -> str:
    """Return the kind of value that a flag takes, in a word or two."""
    if is_json:
        return "JSON list" if many else "JSON"
    if media is not None:
        label = " or ".join(media.types)
    elif closed:
        label = "a choice"
    else:
        label = {bool: "yes or no", int: "whole number", float: "number"}.get(single, "text")
    return f"{label}, repeated" if many else label


def _parts(hint: Any) -> list[Any]:
    """Return the members of a union (a Literal counts as one), or the hint itself."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _parts(get_args(hint)[0])
    if origin in (None, Literal, Mapping, Sequence, list, tuple):
        return [hint]
    return [part for member in get_args(hint) for part in _parts(member)]


def _help(
    f: InputField,
    words: tuple[Any, ...],
    *,
    many: bool,
    is_json: bool,
    max_length: int | None,
    kind: TaskKind[..., Any],
) -> str:
    doc: FieldDoc | None = f.find_metadata(FieldDoc)
    # Input docs are written for Python: they name other inputs, values and methods.
    text = message_with_flags(kind, in_cli_words(doc.text)) if doc else ""
    flag = f.name.replace("_", "-")
    text = text.replace("this is False", f"--no-{flag} is given")
    sentences = [text.replace("this is True", f"--{flag} is given")]
    between: Range | None = f.find_metadata(Range)
    count: ItemCount | None = f.find_metadata(ItemCount)
    length: MaxLength | None = f.find_metadata(MaxLength)
    media: AcceptedMedia | None = f.find_metadata(AcceptedMedia)
    if words:
        sentences.append(
            f"One of {', '.join(map(str, words))}, or another value the service knows."
        )
    if between:
        sentences.append(f"From {format_number(between.low)} to {format_number(between.high)}.")
    if length:
        sentences.append(f"At most {max_length or length.max_chars} characters.")
    if media:
        article = "Each a" if many else "A"
        sentences.append(f"{article} URL or a local path ({' or '.join(media.types)}).")
    if count:
        sentences.append(f"{str(count).capitalize()}." if is_json else _times(count))
    elif many and not is_json:
        sentences.append("Repeat the flag for more than one.")
    if is_json:
        sentences.append(
            f"JSON such as '{_json_example(many)}', or @file.json to read it from a file."
        )
    return " ".join(part for part in sentences if part)


def _times(count: ItemCount) -> str:
    if count.low > 1:
        bounds, _, _ = str(count).rpartition(" ")
        return f"Give the flag {bounds} times."
    if count.high is None:
        return "Repeat the flag for more than one."
    return "Give the flag once." if count.high == 1 else f"Give the flag up to {count.high} times."


def _value(flag: InputFlag, given: Any) -> Any:
    if not flag.is_json:
        # Paths keep undecodable bytes escaped, as the file system functions expect them.
        return given if flag.media else as_typed(given)
    text, source = _json_text(flag.flag, flag.name, given)
    try:
        value = strict_json.parse(text)
    except ValueError as error:
        raise InvalidInput(
            f"{flag.flag} must be JSON such as '{_json_example(flag.many)}'{source}: {error}.",
            field=flag.name,
        ) from None
    if not (is_list(value) if flag.many else is_mapping(value)):
        wanted = "list" if flag.many else "object"
        raise InvalidInput(f"{flag.flag} must be a JSON {wanted}{source}.", field=flag.name)
    return value


def as_typed(given: Any) -> Any:
    """Return a text as it was typed; in a locale without UTF-8 Python leaves its bytes escaped."""
    if is_list(given):
        return [as_typed(one) for one in given]
    if not isinstance(given, str) or given.isascii():
        return given
    try:
        return os.fsencode(given).decode()
    except UnicodeError:
        return given


def _json_text(flag: str, field: str, given: str) -> tuple[str, str]:
    """Return the given JSON text, or that of the file, and where it is from for messages."""
    if not given.startswith("@"):
        return as_typed(given), ""
    path = Path(expand_home(given[1:]))
    try:
        return path.read_text(encoding="utf-8-sig"), f" (in {path})"
    except (OSError, ValueError) as error:  # ValueError: not UTF-8
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8 text"
        raise InvalidInput(
            f"{flag}: {str(path)!r:.200} cannot be read: {reason}.", field=field
        ) from None


def _json_example(many: bool) -> str:
    return '[{"name": 1}]' if many else '{"name": 1}'
