"""The documentation of a kind's `start`, `run`, `job` and `quote`, written from its declaration.

`help()` and notebooks read it at run time. Editors and type checkers read the same text from
``_signatures.pyi``, which is generated from here.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    InputField,
    ItemCount,
    MaxLength,
    Range,
    format_number,
)
from a2e_async._core.tasks.kind import TaskKind

METHODS: Final = ("start", "run", "job", "quote")
"""The methods that take the inputs of a kind."""

_INPUTS: Final = "Inputs (keyword only; None is not sent):"

_OTHER_INPUTS: Final = "All others: JSON values, by their names in the request body."

_PRICE: Final = "Costs coins: `quote` returns the price for given inputs, without charging it."

_WIDTH: Final = 88
"""Characters of a line; the generated file indents them by 8."""

_MINUTE: Final = 60
_HOUR: Final = 3600


def ordered_inputs(kind: TaskKind[..., Any]) -> list[InputField]:
    """Return the inputs of a kind in the order of its signature.

    Required inputs come first, those that every kind has come last.
    """
    return sorted(kind.inputs, key=lambda f: (not f.required, f.common))


def signature(kind: TaskKind[..., Any], returns: Any) -> inspect.Signature:
    """Return the signature of a method that takes the inputs of a kind."""
    parameters = [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=f.hint,
            default=inspect.Parameter.empty if f.required else None,
        )
        for f in ordered_inputs(kind)
    ]
    if kind.input is None:
        others = inspect.Parameter("inputs", inspect.Parameter.VAR_KEYWORD, annotation=Any)
        parameters.append(others)
    return inspect.Signature(parameters, return_annotation=returns)


def docstring(kind: TaskKind[..., Any], method: str) -> str:
    """Return the documentation of ``start``, ``run``, ``job`` or ``quote`` of a kind."""
    text = kind.start_doc or f"Start a task: {kind.summary or kind.name}."
    write = {"start": _start, "run": _run, "job": _job, "quote": _quote}[method]
    paragraphs = [textwrap.fill(paragraph, _WIDTH) for paragraph in write(kind, text)]
    if method != "job":
        inputs = [_wrapped_input(input_line(kind, f)) for f in ordered_inputs(kind)]
        if kind.input is None:
            inputs.append(_wrapped_input(_OTHER_INPUTS))
        paragraphs.append("\n".join([_INPUTS, *inputs]))
    return "\n\n".join(paragraphs)


def _wrapped_input(line: str) -> str:
    return textwrap.fill(line, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8)


def input_line(kind: TaskKind[..., Any], f: InputField) -> str:
    """Return one line about an input: its name, meaning and bounds."""
    doc = f.find_metadata(FieldDoc)
    text = doc.text if doc else ""
    if f.common:
        # Every kind repeats these four; the page on namespaces has the whole text.
        text = re.split(r"; |\. |\.$", text, maxsplit=1)[0] + "."
    # The bound of the common input `name` is that of the longest kind.
    bounds = (f"At most {kind.max_name_length} characters.",) if f.name == "name" else _bounds(f)
    meaning = " ".join([text, *bounds]).strip()
    return f"{f.name}{'' if f.required else ' (optional)'}: {meaning}"


def result_text(kind: TaskKind[..., Any]) -> str:
    """Return where the record of a finished task holds its result, as a clause."""
    media = dict.fromkeys(result.media for result in kind.outputs)
    if not media and not kind.record.result_attribute:
        return "no files"
    if not media:
        return f"the result in `{kind.record.result_attribute}` and no files"
    return f"the result in `record.outputs` ({' or '.join(media)})"


def duration_text(kind: TaskKind[..., Any]) -> str:
    """Return how long a task typically takes, as a clause for a sentence."""
    if kind.typical_duration is None:
        return "unknown"
    low, high = kind.typical_duration
    return f"{_time(low)} to {_time(high)}" if low else f"up to {_time(high)}"


def _start(kind: TaskKind[..., Any], text: str) -> Sequence[str]:
    return (
        text,
        f"Checks the inputs, uploads local media and sends the start request once. {_PRICE}",
        _result(kind),
        "Raises `InvalidInput` (nothing was sent), `StartOutcomeUnknown` (no response arrived; "
        "the request is not repeated), or the `ApiError` with which the service refused.",
        f"Operation: ``{kind.start.method} {kind.start.path}``.",
    )


def _run(kind: TaskKind[..., Any], text: str) -> Sequence[str]:
    if not kind.pollable:
        return (text, _result(kind), "Raises `InvalidInput`, always. Use `start`.")
    return (
        text,
        f"Starts a task, waits until it has finished and returns its record. {_PRICE}",
        _result(kind),
        "Raises what `start` and `Task.wait` raise. If the call is cancelled while it waits, the "
        "task continues and is listed by `A2E.unclaimed`.",
    )


def _job(kind: TaskKind[..., Any], text: str) -> Sequence[str]:
    return (
        "Check the inputs and return a `Job` for `A2E.batch`. Nothing is sent.",
        f"The job: {text[:1].lower()}{text[1:]}",
        "Takes the inputs of `start`. Raises `InvalidInput`.",
    )


def _quote(kind: TaskKind[..., Any], text: str) -> Sequence[str]:
    return (
        "Return the price of a start in coins, or None if the service gives none.",
        f"The start: {text[:1].lower()}{text[1:]}",
        "Free of charge; nothing is uploaded or started.",
        "Operation: ``POST /api/v1/generation/quote``.",
    )


def _result(kind: TaskKind[..., Any]) -> str:
    if not kind.pollable:
        return (
            "The task cannot be waited for: the service reports no status for it and shows the "
            "result on its website only."
        )
    return (
        f"The finished record (`{kind.record.__name__}`) has {result_text(kind)}. Typical "
        f"duration: {duration_text(kind)}; a wait times out after {_time(kind.default_timeout)} "
        "unless `timeout` is given."
    )


def _time(seconds: float) -> str:
    for size, unit in ((_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _bounds(f: InputField) -> Iterator[str]:
    for note in f.metadata:
        if isinstance(note, AcceptedMedia):
            yield f"Media: {' or '.join(note.types)}."
        elif isinstance(note, Range):
            yield f"Range: {format_number(note.low)} to {format_number(note.high)}."
        elif isinstance(note, ItemCount):
            yield f"Takes {note}."
        elif isinstance(note, MaxLength):
            yield f"At most {note.max_chars} characters."
    # Editors show `Literal["a"] | str` as `str`, so that the words would be nowhere.
    known = open_values(f.hint)
    if known:
        yield f"Known values: {', '.join(map(str, known))}."


def open_values(hint: Any) -> tuple[Any, ...]:
    """Return the known values of an input that also takes others; () for all other inputs."""
    parts = flat_union(hint)
    literals = [value for part in parts if get_origin(part) is Literal for value in get_args(part)]
    closed = all(part is NoneType or get_origin(part) is Literal for part in parts)
    return () if closed else tuple(literals)


def flat_union(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type alone."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def field_docs(cls: type[Any]) -> dict[str, str]:
    """Return the meaning of each field of a class: the docstring below its annotation.

    Includes the fields of base classes. Python does not keep these docstrings, so they are read
    from the source.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("a2e_async."):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for statement, after in pairwise(body):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(after, ast.Expr):
                continue
            target, text = statement.target, after.value
            if isinstance(target, ast.Name) and isinstance(text, ast.Constant):
                found[target.id] = inspect.cleandoc(str(text.value))
    return found
