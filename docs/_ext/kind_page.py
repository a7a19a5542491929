"""The reference page of a kind, in Markdown, generated from its declaration."""

import collections.abc
import inspect
import re
from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin, get_type_hints

from attrs import evolve, fields

from a2e_async import Record
from a2e_async._core.schema.inputs import format_number
from a2e_async._core.submission.recovery_search import list_endpoints
from a2e_async.kinds import (
    AcceptedMedia,
    Endpoint,
    FieldDoc,
    InputField,
    ItemCount,
    MaxLength,
    Range,
    SerializeAsString,
    TaskInput,
    TaskKind,
    input_fields,
)
from a2e_async.kinds.docstrings import field_docs
from a2e_async.models import WireName

NO: Final = "no"

HOURS_FROM: Final = 5400
MINUTES_FROM: Final = 100
"""Durations of at least this many seconds are shown in hours, or in minutes."""


def kind_page(kind: TaskKind[..., Any]) -> str:
    """Return the generated part of a kind's page: facts, inputs, operations, record."""
    parts = {
        "At a glance": _facts,
        "Inputs": _inputs,
        "Operations": _operations,
        "Record": _record,
    }
    return "\n\n".join(f"## {title}\n\n{write(kind)}" for title, write in parts.items())


def kinds_table(kinds: Sequence[TaskKind[..., Any]]) -> str:
    """Return a table of kinds, each with a link to its page."""
    rows = (
        (
            f"[{kind.name}]({kind.name}.md)",
            kind.summary[:1].upper() + kind.summary[1:],
            _made(kind),
            _usual(kind),
            "yes" if kind.tested_live else NO,
        )
        for kind in kinds
    )
    return table(("kind", "summary", "output", "typical duration", "tested live"), rows)


def common_inputs() -> str:
    """Return the table of the inputs that every kind takes."""
    # The maximum length of a name differs by kind, so it is on the page of each kind.
    return _inputs_table(
        [
            evolve(
                f, metadata=tuple(note for note in f.metadata if not isinstance(note, MaxLength))
            )
            if f.name == "name"
            else f
            for f in input_fields(TaskInput)
        ]
    )


def recovery_table(kinds: Sequence[TaskKind[..., Any]]) -> str:
    """Return the table of how each kind's lost starts are recovered."""
    rows = ((f"[{kind.name}]({kind.name}.md)", _searched(kind), _reach(kind)) for kind in kinds)
    return table(("kind", "lists searched, for up to 30 s", "result of `start()`"), rows)


def table(head: Sequence[str], rows: "collections.abc.Iterable[Sequence[str]]") -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(c.replace("|", r"\|") for c in line) + " |" for line in lines
    )


def _plain(text: str) -> str:
    """Escape the characters of a plain text that Markdown would interpret."""
    return re.sub(r"([\\*<\[])", r"\\\1", text)


# -- facts -------------------------------------------------------------------------------------


def _facts(kind: TaskKind[..., Any]) -> str:
    facts = {
        "Output": _outputs(kind),
        "Typical duration": _usual(kind),
        "Default timeout": _patience(kind),
        "Polling": _polling(kind),
        "Recovery": _lost(kind),
        "Tested live": "yes" if kind.tested_live else "no; only against the sandbox",
    }
    return "\n".join(f":{what}: {said}" for what, said in facts.items())


def _outputs(kind: TaskKind[..., Any]) -> str:
    if not kind.outputs:
        return f"no file; the result is {_made(kind)}"
    made = ", ".join(
        f"{media} (from {' or '.join(f'`{r.field}`' for r in kind.outputs if r.media == media)})"
        for media in dict.fromkeys(result.media for result in kind.outputs)
    )
    if not kind.pollable:
        return f"{made}, available only on the service's site"
    several = kind.expected_tasks is not fields(TaskKind).expected_tasks.default
    return (
        f"{made}; one start can create several tasks, which are awaited as one" if several else made
    )


def _made(kind: TaskKind[..., Any]) -> str:
    media = ", ".join(dict.fromkeys(result.media for result in kind.outputs))
    return media or f"`{kind.record.result_attribute}`"


def _usual(kind: TaskKind[..., Any]) -> str:
    if kind.typical_duration is None:
        return "unknown"
    low, high = kind.typical_duration
    size, unit = _unit(high)
    return (
        f"{low / size:.2g} to {high / size:.2g} {unit}"
        if low
        else f"up to {high / size:.2g} {unit}"
    )


def _unit(seconds: float) -> tuple[float, str]:
    if seconds > HOURS_FROM:
        return 3600, "h"
    return (60, "min") if seconds >= MINUTES_FROM else (1, "s")


def _patience(kind: TaskKind[..., Any]) -> str:
    if not kind.pollable:
        return "these tasks cannot be awaited: no operation returns their status"
    size, unit = _unit(kind.default_timeout)
    return (
        f"{kind.default_timeout / size:g} {unit} (`timeout=`); the task itself continues after it"
    )


def _polling(kind: TaskKind[..., Any]) -> str:
    if kind.batch_detail is not None:
        return f"up to {kind.max_batch_size} tasks per request"
    if kind.processing_list is not None:
        return "the list of running tasks: one request for all tasks"
    if kind.poll_endpoint is not None:
        return (
            "one request per task; the list if many are awaited"
            if kind.list
            else "one request per task"
        )
    return "the list: one request for all tasks" if kind.list else "not possible"


def _lost(kind: TaskKind[..., Any]) -> str:
    if not list_endpoints(kind):
        said = (
            "if the response to a start is lost, `StartOutcomeUnknown` is raised at once: there is "
            "no list to search, so check on the service's site"
        )
    elif kind.name_field is None:
        said = (
            "if the response to a start is lost, its list is searched for up to 30 s; because the "
            "start takes no name, `StartOutcomeUnknown` with `error.candidates` is raised"
        )
    else:
        said = (
            "if the response to a start is lost, its list is searched for its unique name for up "
            "to 30 s; `start()` returns the task, or `a2e.recover(error.recovery)` finds it later"
        )
    return f"{said} ([details](recovery.md))"


def _searched(kind: TaskKind[..., Any]) -> str:
    return ", ".join(map(_shown, list_endpoints(kind))) or "no list"


def _reach(kind: TaskKind[..., Any]) -> str:
    if not list_endpoints(kind):
        return "`StartOutcomeUnknown` at once"
    if kind.name_field is None:
        return "candidates only: the start takes no name"
    return f"the task, identified by its unique `{kind.name_field}`"


# -- inputs ------------------------------------------------------------------------------------


def _inputs(kind: TaskKind[..., Any]) -> str:
    cls = _input_class(kind)
    own = sorted((f for f in input_fields(cls) if not f.common), key=lambda f: not f.required)
    said = [
        "Inputs that you omit are not sent: the service's default applies. All kinds also accept "
        "[name, key, meta and extra](namespace.md#inputs-of-all-kinds).",
        _inputs_table(own),
    ]
    if kind.name_field is not None:
        said.append(f"A `name` has at most {kind.max_name_length} characters.")
    if cls.constant_fields:
        always = ", ".join(f"`{name}={value!r}`" for name, value in cls.constant_fields.items())
        said.append(f"Sent with every start, as the safe setting: {always}.")
    if cls.check is not TaskInput.check:
        said.append(
            "Inputs that require or exclude each other are validated before anything is sent: "
            "`InvalidInput` names the input to fix in `error.field`."
        )
    return "\n\n".join(said)


def _input_class(kind: TaskKind[..., Any]) -> type[TaskInput]:
    return cast("type[TaskInput]", kind.input)  # the namespace accepts no other class


def _inputs_table(inputs: Sequence[InputField]) -> str:
    wired = any(f.wire_name != f.name for f in inputs)
    head = ("input", "type", "required", "meaning")
    rows = (
        (
            f"`{f.name}`",
            _takes(f),
            "yes" if f.required else "",
            _plain(doc.text) if (doc := f.find_metadata(FieldDoc)) else "",
            *([f"`{f.wire_name}`" if f.wire_name != f.name else ""] if wired else []),
        )
        for f in inputs
    )
    return table((*head, "name in the API") if wired else head, rows)


def _takes(f: InputField) -> str:
    return "; ".join((_media(f) or readable(f.hint), *_bounds(f)))


def _media(f: InputField) -> str:
    note = f.find_metadata(AcceptedMedia)
    if note is None:
        return ""
    types = " or ".join(note.types)
    listed = any(get_origin(part) is collections.abc.Sequence for part in _parts(f.hint))
    return f"list of {types}" if listed else types


def _bounds(f: InputField) -> Iterator[str]:
    for note in f.metadata:
        if isinstance(note, Range):
            yield f"{format_number(note.low)} to {format_number(note.high)}"
        elif isinstance(note, ItemCount):
            yield str(note)
        elif isinstance(note, MaxLength):
            yield f"at most {note.max_chars} characters"
        elif isinstance(note, SerializeAsString):
            yield "sent as a string"


def readable(hint: Any) -> str:
    """Return a type as Markdown, in the notation of Python, without None."""
    said: list[str] = []
    closed = True
    for part in _parts(hint):
        if get_origin(part) is Literal:
            said += [f"`{word!r}`" for word in get_args(part)]
        else:
            closed = False
            said.append(f"`{_name(part)}`")
    if closed or len(said) == 1:
        return ", ".join(said)
    # An open set: the values known today; the service may add others.
    return f"{said[-1]}, such as {', '.join(said[:-1])}" if said[0][1] == "'" else " or ".join(said)


def _parts(hint: Any) -> list[Any]:
    if get_origin(hint) is Annotated:
        return _parts(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [p for part in get_args(hint) if part is not NoneType for p in _parts(part)]
    return [hint]


def _name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return " | ".join(map(repr, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " | ".join(map(_name, get_args(hint)))
    if get_origin(hint) is Annotated:
        return _name(get_args(hint)[0])
    origin, args = get_origin(hint), get_args(hint)
    plain = {collections.abc.Sequence: "list", collections.abc.Mapping: "dict"}
    cls = origin or hint
    name = str(plain.get(cls) or getattr(cls, "__name__", "..."))
    return f"{name}[{', '.join(map(_name, args))}]" if args else name


# -- operations and record ---------------------------------------------------------------------


def _operations(kind: TaskKind[..., Any]) -> str:
    detail = kind.detail
    rows: list[tuple[str, Endpoint | None, str]] = [
        ("`start`, `run`", kind.start, "charged; sent once"),
        ("`quote`", Endpoint("POST", "/api/v1/generation/quote"), ""),
        ("`get`", detail, "unreliable: the list is the fallback" if kind.unreliable_detail else ""),
        ("`get`", kind.detail_fallback, "tried if the other path refuses"),
        ("`get_many`", kind.batch_detail, f"up to {kind.max_batch_size} ids per request"),
        ("`list`, `iter`", kind.list, _pages(kind)),
        ("`processing`", kind.processing_list, ""),
        ("`delete`", kind.delete, ""),
        ("`rename`", kind.rename, ""),
        ("`retry`", kind.retry, ""),
    ]
    return table(
        ("method", "operation", "notes"),
        ((method, _shown(at), note) for method, at, note in rows if at is not None),
    )


def _shown(at: Endpoint) -> str:
    return f"`{at.method} {at.path}{f'?{at.id_parameter}={{id}}' if at.id_parameter else ''}`"


def _pages(kind: TaskKind[..., Any]) -> str:
    if kind.paging is None:
        return "not paged"
    words = ", ".join(f"`{word}`" for word in kind.paging.status_filters)
    return f"up to {kind.paging.max_size} per page" + (
        f"; `status` accepts {words}" if words else ""
    )


def _record(kind: TaskKind[..., Any]) -> str:
    cls = kind.record
    hints = get_type_hints(cls, include_extras=True)
    common = {a.name for a in fields(Record)}
    own = [a.name for a in fields(cls) if a.name not in common]
    said = [inspect.cleandoc(cls.__doc__ or "")]
    if own:
        wired = any(_wire(hints[name]) for name in own)
        head = ("field", "type", "meaning")
        rows = (
            (
                f"`{name}`",
                readable(hints[name]),
                _plain(meaning(kind, name)),
                *([_wire(hints[name])] if wired else []),
            )
            for name in own
        )
        said += [
            "In addition to the [fields of all records](tasks.md#records) it has the following. A "
            "field that the service does not report is None or empty.",
            table((*head, "name in the API") if wired else head, rows),
        ]
    return "\n\n".join(said)


def meaning(kind: TaskKind[..., Any], name: str) -> str:
    """Return what a record's field means: the docstring below it."""
    return " ".join(field_docs(kind.record).get(name, "").split())


def _wire(hint: Any) -> str:
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((f"`{note.name}`" for note in notes if isinstance(note, WireName)), "")
