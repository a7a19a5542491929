"""The reference page of a kind, in Markdown, generated from its declaration."""

import collections.abc
import inspect
import re
from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, cast, get_args, get_origin, get_type_hints

from attrs import evolve, fields

from a2e_async.inputs import (
    AsText,
    Between,
    Count,
    Doc,
    InputField,
    Length,
    Media,
    TaskInput,
    input_fields,
    plain_number,
)
from a2e_async.models import Record, Wire
from a2e_async.resources.docstrings import field_docs
from a2e_async.tasks.kind import Endpoint, TaskKind
from a2e_async.tasks.recoverer import listings

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
            "yes" if kind.live else NO,
        )
        for kind in kinds
    )
    return table(("kind", "summary", "output", "typical duration", "tested live"), rows)


def common_inputs() -> str:
    """Return the table of the inputs that every kind takes."""
    # The maximum length of a name differs by kind, so it is on the page of each kind.
    return _inputs_table(
        [
            evolve(f, notes=tuple(note for note in f.notes if not isinstance(note, Length)))
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
        "Tested live": "yes" if kind.live else "no; only against the sandbox",
    }
    return "\n".join(f":{what}: {said}" for what, said in facts.items())


def _outputs(kind: TaskKind[..., Any]) -> str:
    if not kind.results:
        return f"no file; the result is {_made(kind)}"
    made = ", ".join(
        f"{media} (from {' or '.join(f'`{r.field}`' for r in kind.results if r.media == media)})"
        for media in dict.fromkeys(result.media for result in kind.results)
    )
    if not kind.watchable:
        return f"{made}, available only on the service's site"
    several = kind.expected is not fields(TaskKind).expected.default
    return (
        f"{made}; one start can create several tasks, which are awaited as one" if several else made
    )


def _made(kind: TaskKind[..., Any]) -> str:
    media = ", ".join(dict.fromkeys(result.media for result in kind.results))
    return media or f"`{kind.record.instead_of_outputs}`"


def _usual(kind: TaskKind[..., Any]) -> str:
    if kind.usual is None:
        return "unknown"
    low, high = kind.usual
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
    if not kind.watchable:
        return "these tasks cannot be awaited: no operation returns their status"
    size, unit = _unit(kind.patience)
    return f"{kind.patience / size:g} {unit} (`timeout=`); the task itself continues after it"


def _polling(kind: TaskKind[..., Any]) -> str:
    if kind.batch_at is not None:
        return f"up to {kind.batch_most} tasks per request"
    if kind.processing_at is not None:
        return "the list of running tasks: one request for all tasks"
    if kind.look_at is not None:
        return (
            "one request per task; the list if many are awaited"
            if kind.list_at
            else "one request per task"
        )
    return "the list: one request for all tasks" if kind.list_at else "not possible"


def _lost(kind: TaskKind[..., Any]) -> str:
    if not listings(kind):
        said = (
            "if the response to a start is lost, `StartOutcomeUnknown` is raised at once: there is "
            "no list to search, so check on the service's site"
        )
    elif kind.name_wire is None:
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
    return ", ".join(map(_shown, listings(kind))) or "no list"


def _reach(kind: TaskKind[..., Any]) -> str:
    if not listings(kind):
        return "`StartOutcomeUnknown` at once"
    if kind.name_wire is None:
        return "candidates only: the start takes no name"
    return f"the task, identified by its unique `{kind.name_wire}`"


# -- inputs ------------------------------------------------------------------------------------


def _inputs(kind: TaskKind[..., Any]) -> str:
    cls = _input_class(kind)
    own = sorted((f for f in input_fields(cls) if not f.common), key=lambda f: not f.required)
    said = [
        "Inputs that you omit are not sent: the service's default applies. All kinds also accept "
        "[name, key, meta and extra](namespace.md#inputs-of-all-kinds).",
        _inputs_table(own),
    ]
    if kind.name_wire is not None:
        said.append(f"A `name` has at most {kind.name_most} characters.")
    if cls.always:
        always = ", ".join(f"`{name}={value!r}`" for name, value in cls.always.items())
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
    wired = any(f.wire != f.name for f in inputs)
    head = ("input", "type", "required", "meaning")
    rows = (
        (
            f"`{f.name}`",
            _takes(f),
            "yes" if f.required else "",
            _plain(doc.text) if (doc := f.note(Doc)) else "",
            *([f"`{f.wire}`" if f.wire != f.name else ""] if wired else []),
        )
        for f in inputs
    )
    return table((*head, "name in the API") if wired else head, rows)


def _takes(f: InputField) -> str:
    return "; ".join((_media(f) or readable(f.hint), *_bounds(f)))


def _media(f: InputField) -> str:
    note = f.note(Media)
    if note is None:
        return ""
    types = " or ".join(note.types)
    listed = any(get_origin(part) is collections.abc.Sequence for part in _parts(f.hint))
    return f"list of {types}" if listed else types


def _bounds(f: InputField) -> Iterator[str]:
    for note in f.notes:
        if isinstance(note, Between):
            yield f"{plain_number(note.low)} to {plain_number(note.high)}"
        elif isinstance(note, Count):
            yield f"{note} items"
        elif isinstance(note, Length):
            yield f"at most {note.most} characters"
        elif isinstance(note, AsText):
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
    detail = kind.detail_at
    rows: list[tuple[str, Endpoint | None, str]] = [
        ("`start`, `run`", kind.start_at, "charged; sent once"),
        ("`quote`", Endpoint("POST", "/api/v1/generation/quote"), ""),
        ("`get`", detail, "unreliable: the list is the fallback" if kind.flaky_detail else ""),
        ("`get_many`", kind.batch_at, f"up to {kind.batch_most} ids per request"),
        ("`list`, `iter`", kind.list_at, _pages(kind)),
        ("`processing`", kind.processing_at, ""),
        ("`delete`", kind.delete_at, ""),
        ("`rename`", kind.rename_at, ""),
        ("`retry`", kind.retry_at, ""),
    ]
    return table(
        ("method", "operation", "notes"),
        ((method, _shown(at), note) for method, at, note in rows if at is not None),
    )


def _shown(at: Endpoint) -> str:
    return f"`{at.method} {at.path}{f'?{at.query}={{id}}' if at.query else ''}`"


def _pages(kind: TaskKind[..., Any]) -> str:
    if kind.paging is None:
        return "not paged"
    words = ", ".join(f"`{word}`" for word in kind.paging.statuses)
    return f"up to {kind.paging.most} per page" + (f"; `status` accepts {words}" if words else "")


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
    return next((f"`{note.name}`" for note in notes if isinstance(note, Wire)), "")
