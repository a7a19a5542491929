"""Write ``llms.txt`` and ``llms-full.txt``: the package on one page, for coding assistants.

All signatures, fields and texts come from the declarations; ``llms-guide.md`` next to this module
has the patterns. Sphinx writes both files next to the pages; ``python docs/_ext/llms.py DIRECTORY``
writes them without Sphinx.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, Unpack, cast, get_args, get_origin, get_type_hints

from attrs import NOTHING
from client_options import OPTIONS

import a2e_async
from a2e_async import (
    A2E,
    Budget,
    Job,
    Output,
    Record,
    Recovery,
    RetryPolicy,
    Task,
    account,
    errors,
    events,
    journal,
    kinds,
    models,
)
from a2e_async import sandbox as sandbox_package
from a2e_async._blocking.namespaces import BlockingFiles
from a2e_async._namespaces import Namespaces
from a2e_async.kinds import (
    AcceptedMedia,
    FieldDoc,
    InputField,
    Range,
    TaskNamespace,
    input_fields,
    kind_named,
    kind_names,
)
from a2e_async.models import ClientStats
from a2e_async.sandbox import media

DOCS = Path(__file__).resolve().parents[1]
CLIENT = A2E("not-a-key")  # no I/O: used only to look up classes

VALUES: Final = (
    (
        a2e_async,
        {
            "Outcome": "ok unwrap",
            "Plan": "",
            "Job": "key meta",
            "Budget": "spent reserved free left",
            "Status": "terminal",
            "Failure": "",
            "Page": "",
            "RetryPolicy": "",
            "ApiResponse": "",
            "Recovery": "kind name sent_at to_dict from_dict",
        },
    ),
    (
        journal,
        {
            "Entry": "key kind state ids coins succeeded failure paths meta closed_by created_at "
            "updated_at ref cost open missing",
            "State": "",
            "SpendSummary": "",
        },
    ),
    (
        account,
        {
            "Voice": "",
            "VoiceLanguage": "",
            "VoiceRegion": "",
            "Avatar": "",
            "Background": "",
            "Balance": "",
            "Transaction": "",
        },
    ),
    (models, {"ClientStats": ""}),
    (kinds, {"MadeAvatar": "", "SavedFace": ""}),
)
"""The value types by module, each with its members that are for users (and all fields if none of
them is named)."""

SUMMARISED: Final = {
    Job,
    Record,
    Recovery,
    RetryPolicy,
    a2e_async.ApiResponse,
    a2e_async.Failure,
    journal.Entry,
    journal.SpendSummary,
}
"""Classes whose whole text repeats those of the fields, or is about fields that are left out."""

MADE_BY_USERS: Final = {Budget, RetryPolicy}
"""Value types that programs construct: their defaults are shown."""

PAID_NAMESPACES: Final = {"speech", "files"}
"""Namespaces whose methods are shown with their whole texts."""

RARE: Final = {
    "legacy": "",
    "recipes": "",
    "image_to_video": "",
    "avatars": "list",
    "backgrounds": "add all delete",
    "voices": "public languages cloned presets",
}
"""Namespaces of which only these methods are shown; the others are named."""

WITHOUT_TEXTS: Final = {ClientStats}
"""Value types whose fields have telling names."""

SANDBOX_FIELDS: Final = "speed seed port api_key balance failure_rate rate_limit deliver_webhooks"

SAID_ELSEWHERE: Final = {
    *("request", "unknown", "unclaimed", "with_options", "upload", "stats", "kind", "unfinished"),
    "for_caller",
}
"""Methods whose first sentence is enough here."""

FREQUENT: Final = (
    *("prompt", "negative_prompt", "seed", "processing_limit", "input_images", "image_url"),
    *("aspect_ratio", "duration"),
)
"""Inputs of many kinds, whose usual meanings are written once."""

SHARED_BY: Final = 3
"""Kinds that give an input the same meaning, for it to be a usual one."""

PLAIN_FIELDS: Final = {"name", "label", "created_at", "gender", "total", "message", "text"}
"""Fields whose names say everything."""

JOURNAL: Final = "get find entries spent"
"""The methods of a journal that programs call; the others are for backends."""

FAULTS: Final = (
    "http_error",
    "rate_limit",
    "drop_after_accept",
    "drop_before_accept",
    "reset",
    "slow",
    "fail",
    "stuck",
    "cut_download",
    "expire_results",
    "clear",
)
"""The faults that tests of programs need most."""

INTERNAL_FAULTS: Final = {"take", "rate_limit_delay", "is_idle", "pending"}


def full() -> str:
    """Return the single page."""
    parts = [
        "# a2e_async",
        _guide(),
        "## The client",
        "`from a2e_async import A2E`. Media is `str | Path | bytes | Output` or an open file: a "
        "URL, a path, a file's bytes, another task's result, a file object, an async stream. "
        "Parameters with the default None accept None.",
        _options(),
        _methods("a2e", A2E, whole=True),
        "`a2e.journal` (a `Journal`, None without one):",
        _methods("a2e.journal", journal.Journal, set(JOURNAL.split())),
        "## Task",
        "Returned by `start`, `attach`, `recover` and `unfinished`; `record = await task` waits "
        "like `task.wait()`.",
        _block(
            "task.ids: tuple[str, ...]  # Ids at the service\n"
            "task.key: str | None  # The key of the start\n"
            "task.meta: dict | None  # Your own values, as given to the start"
        ),
        _methods("task", Task, whole=True),
        "## Record",
        "Each kind has a record class of its own, with further fields: `a2e_async.kinds` exports "
        "them for annotations, such as `DubbingRecord`.",
        _block(_class_lines(Record, "done output parts")),
        "## Output",
        _block(_class_lines(Output, "media expires_at ref index")),
        _methods("output", Output, whole=True),
        "## Value types",
        "Those that the service fills have `extra: dict`, too: fields that the package does not "
        "model, by their names in the JSON.",
        *(_values(module, names) for module, names in VALUES),
        "## The blocking client",
        _blocking(),
        "## The sandbox",
        *_sandbox(),
        "## Errors",
        "All in `a2e_async.errors`, below `A2EError`; the name in brackets is the base class.",
        "\n".join(_error(getattr(errors, name)) for name in errors.__all__),
        "## Events",
        "`A2E(on_event=f)` calls f with each, of a class in `a2e_async.events`.",
        "\n".join(_event(event) for event in _events()),
        "## Other namespaces",
        *(_namespace(name) for name in _others()),
        "## Kinds",
        "Each kind has these methods; `start`, `run`, `job` and `quote` take its inputs, by name.",
        _methods("a2e.KIND", TaskNamespace),
        "Below are the inputs of each kind and what it makes. "
        "`image`, `video`, `audio` and `file` are media (see above) of that type. `'a'|'b'` are "
        "the accepted values; `|str` lets others through. Every kind also takes, optionally, "
        "`name: str`, `key: str` (the same key is the same task, charged once), `meta: dict` (your "
        "own values) and `extra: dict` (inputs newer than the package). Its record repeats its "
        "inputs as the service reports them (else None; media as URLs), if nothing else is said.",
        "Where no meaning is given: "
        + "; ".join(f"{name}: {' / '.join(texts)}" for name, texts in _shared_texts().items())
        + ".",
        *(_kind(name) for name in kind_names()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def index() -> str:
    """Return the short index of the pages."""
    summary = _guide().partition("\n\n")[0]
    pages = {
        "Start": ["tutorial", "billing-safety", "polling"],
        "How to": sorted(f"how-to/{p.stem}" for p in DOCS.glob("how-to/*.md")),
        "Reference": sorted(f"reference/{p.stem}" for p in DOCS.glob("reference/*.md")),
    }
    parts = [
        "# a2e_async",
        summary,
        "- [llms-full.txt](llms-full.txt): everything on one page, signatures and patterns; read "
        "it before you write code",
    ]
    for title, names in pages.items():
        lines = [f"- [{_title(name)}]({name}.html)" for name in names if _title(name)]
        parts += [f"## {title}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def write(directory: Path) -> None:
    """Write both files into a directory."""
    (directory / "llms.txt").write_text(index(), encoding="utf-8")
    (directory / "llms-full.txt").write_text(full(), encoding="utf-8")


def _guide() -> str:
    text = (DOCS / "_ext" / "llms-guide.md").read_text(encoding="utf-8")
    return re.sub(r"<!-- .* -->\n", "", text).strip()


# -- parts ---------------------------------------------------------------------------------------


def _kind(name: str) -> str:
    kind = kind_named(name)
    namespace = type(CLIENT.kind(name))
    cls: Any = kind.input
    own = sorted((f for f in input_fields(cls) if not f.common), key=lambda f: not f.required)
    lines = [_input(f) for f in own if f.required]
    if len(lines) < len(own):
        lines += ["# optional:", *(_input(f) for f in own if not f.required)]
    if namespace is not TaskNamespace:
        inherited = set(dir(TaskNamespace))
        more = [n for n in _public(namespace) if n not in inherited]
        only = RARE.get(name, " ".join(more)).split()
        lines += [
            f"{_call(f'a2e.{name}.{n}', getattr(namespace, n), kind.record)}"
            f"  # {_first(getattr(namespace, n))}"
            for n in only
        ]
        if others := [n for n in more if n not in only]:
            lines.append(f"other methods: {', '.join(others)}")
    made = " or ".join(dict.fromkeys(result.media for result in kind.outputs))
    lines += _record(kind.record, {f.name: f for f in own})
    # A block for each kind would need as many characters as its record.
    head = f"### {name}: {kind.summary} -> {made or kind.record.result_attribute}"
    return "\n".join([f"{head}, {kind.record.__name__}", *lines])


def _input(f: InputField) -> str:
    text = _meaning(f)
    # "aspect_ratio: … # Aspect ratio; 1:1 by default" would say its name twice.
    shown = re.sub(rf"(?i)^{f.name.replace('_', ' ')}[,;] ", "", text)
    notes = [] if text in _shared_texts().get(f.name, ()) else [shown]
    bounds = f.find_metadata(Range)
    if bounds is not None and not re.search(r"\d", text):
        notes.append(f"({bounds.low:.15g} to {bounds.high:.15g})")
    comment = f" # {' '.join(notes)}" if notes else ""
    return f"{f.name}: {_type(f).replace(' | ', '|')}{comment}"


@cache
def _shared_texts() -> dict[str, list[str]]:
    """Return, for the most frequent inputs, what they mean in at least three kinds."""
    found = Counter(
        (f.name, _meaning(f))
        for name in kind_names()
        for f in input_fields(cast("Any", kind_named(name).input))
        if f.name in FREQUENT
    )
    return {
        name: [text for (one, text), times in found.items() if one == name and times >= SHARED_BY]
        for name in FREQUENT
    }


def _type(f: InputField) -> str:
    note = f.find_metadata(AcceptedMedia)
    if note is None:
        return _short(f.hint).removesuffix(" | None")
    several = "Sequence" in str(f.hint)
    media = " | ".join(note.types)
    return f"list[{media}]" if several else media


def _meaning(f: InputField) -> str:
    doc = f.find_metadata(FieldDoc)
    return re.split(r"(?<=\w)\.\s", doc.text, maxsplit=1)[0].rstrip(".") if doc else ""


def _record(cls: type[Record], inputs: dict[str, InputField]) -> list[str]:
    """Return how the fields of a kind's record differ from its inputs."""
    common = {a.name for a in Record.__attrs_attrs__}  # type: ignore[attr-defined]  # attrs makes it
    missing, own = dict.fromkeys(inputs), list[str]()
    for a in cls.__attrs_attrs__:  # type: ignore[attr-defined]  # attrs makes it
        if a.name in common or a.name.startswith("_"):
            continue
        hint = _short(a.type)
        missing.pop(a.name, None)
        if a.name not in inputs or hint.removesuffix(" | None") not in _repeated(inputs[a.name]):
            own.append(f"{a.name}: {hint}")
    own += [
        f"{name}: {_short(_result_of(value))} ({_first(value)})"
        for name, value in vars(cls).items()
        if isinstance(value, property)
    ]
    lacks = f"lacks {', '.join(missing)}" if missing else ""
    if len(missing) > len(inputs) - len(missing):
        lacks = f"has only {', '.join(name for name in inputs if name not in missing)}"
    said = "; ".join(part for part in (lacks, f"has {', '.join(own)}" if own else "") if part)
    return [f"record {said}"] if said else []


def _repeated(f: InputField) -> set[str]:
    """Return the types of a record's field that only repeats this input."""
    if f.find_metadata(AcceptedMedia) is not None:
        return {"str", "tuple[str, ...]"}
    said = _type(f)
    values = re.fullmatch(r"(?:(?:'[^']*'|\d+)(?: \| |$))+(?:str)?", said)
    return {said} if values is None else {"str" if "'" in said else "int"}


def _others() -> list[str]:
    return [*(name for name in vars(Namespaces) if not name.startswith("_")), "files"]


def _namespace(name: str) -> str:
    # The reference names the methods that are for users where not all are.
    page = (DOCS / "reference" / f"{name}.md").read_text()
    named = re.search(r"^```\{namespace\} \w+ (.+)$", page, re.MULTILINE)
    only = set(re.findall(r"\w+", named[1])) if named else None
    cls = type(getattr(CLIENT, name))
    more = ""
    if name in RARE:
        only = set(RARE[name].split())
        others = ", ".join(n for n in _public(cls) if n not in only)
        more = f"Other methods: {others}."
    shown = _methods(f"a2e.{name}", cls, only, whole=name in PAID_NAMESPACES)
    return "\n\n".join(part for part in (f"### {name}", shown or f"{_first(cls)}.", more) if part)


def _options() -> str:
    """Return the signature of `A2E`, with the meaning of each option."""
    lines = ["A2E("]
    for p in inspect.signature(A2E).parameters.values():
        if p.kind is p.KEYWORD_ONLY and "    *," not in lines:
            lines.append("    *,")
        unit, meaning = OPTIONS[p.name]
        said = meaning.rstrip(".")
        if unit in ("s", "coins", "requests/s"):
            said += f" ({unit})"
        lines.append(f"    {p.name}: {_short(p.annotation)} = {p.default!r},  # {said}")
    return _block("\n".join([*lines, ")"]))


def _methods(
    prefix: str, cls: type[Any], only: set[str] | None = None, *, whole: bool = False
) -> str:
    """Return the public methods and properties, with the first or with ``whole`` all sentences."""
    lines: list[str] = []
    for name in _public(cls):
        if only is not None and name not in only:
            continue
        value = inspect.getattr_static(cls, name)
        if isinstance(value, property):
            line, method = f"{prefix}.{name}: {_short(_result_of(value))}", value
        else:
            method = getattr(cls, name)
            line = _call(f"{prefix}.{name}", method)
        # A single sentence fits behind the signature, whichever form is wanted.
        text = _whole(method) if whole and name not in SAID_ELSEWHERE else ""
        lines.append(f"{line}\n{text}" if text.count(". ") else f"{line}  # {_first(method)}")
    return _block("\n".join(lines))


def _public(cls: type[Any]) -> Iterator[str]:
    """Yield names of documented methods and properties, those of Namespaces left out."""
    kept = set(vars(Namespaces)) | (
        {"_unclaimed_on_gc", "_observe", "_unfinished_ids"} if cls is Task else set()
    )
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            shown = callable(value) or isinstance(value, property)
            if base is object or name.startswith("_") or name in kept or not shown:
                continue
            kept.add(name)
            if inspect.getdoc(value):
                yield name


def _values(module: Any, names: dict[str, str]) -> str:
    shown = (_class_lines(getattr(module, name), members) for name, members in names.items())
    return f"From `{module.__name__}`:\n\n" + _block("\n\n".join(shown))


def _class_lines(cls: type[Any], members: str, *, defaults: bool = False) -> str:
    """Return a class with its text and fields, and those of its other members that are named.

    If fields are named, too, the others are left out.
    """
    wanted = members.split()
    attributes = [a for a in getattr(cls, "__attrs_attrs__", ()) if not a.name.startswith("_")]
    names = [a.name for a in attributes]
    docs = {} if cls in WITHOUT_TEXTS else _field_docs(cls)
    apart = "\n" if docs else ", "
    if issubclass(cls, Enum):
        lines = [", ".join(f"{one.name} = {one.value!r}" for one in cls)]
    elif cls is Job:
        lines = [_signature("Job", Job)]
    else:
        some = set(names) & set(wanted) or set(names)
        lines = [
            _field(a, docs.get(a.name), defaults=defaults or cls in MADE_BY_USERS)
            for a in attributes
            if a.name in some and a.init and a.name != "extra"
        ]
        # The text of a class without such sentences explains its fields.
        lines = [apart.join(lines)]
    for name in wanted:
        if name in names:
            continue
        value = inspect.getattr_static(cls, name)
        if isinstance(value, property):
            lines.append(f"{name}: {_short(_result_of(value))}  # {_first(value)}")
        else:
            lines.append(f"{_call(name, getattr(cls, name))}  # {_first(getattr(cls, name))}")
    parameters = ", ".join(_short(each) for each in getattr(cls, "__parameters__", ()))
    generic = f"[{parameters}]" if parameters else ""
    text = f"    {_first(cls)}." if cls in SUMMARISED else _whole(cls)
    head = f"class {cls.__name__}{generic}:\n{text}\n"
    return head + textwrap.indent("\n".join(lines), "    ")


def _field(attribute: Any, doc: str | None, *, defaults: bool) -> str:
    said = f"{attribute.name}: {_short(attribute.type)}"
    if attribute.name in PLAIN_FIELDS:
        return said
    if defaults and attribute.default is not NOTHING:
        said += f" = {attribute.default!r}"
    return f"{said}  # {doc}" if doc else said


def _field_docs(cls: type[Any]) -> dict[str, str]:
    """Return the first sentence of the text below each field, in the source of the class."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    docs: dict[str, str] = {}
    for before, after in pairwise(getattr(tree, "body", ())):
        match before, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = _sentence(text)
    return docs


def _blocking() -> str:
    return (
        "`a2e_async.blocking(…)` takes the options of `A2E` and returns a `BlockingA2E`, for a "
        "`with` block or until `close()`; do not call the class itself. Namespaces, parameters, "
        "results and errors are those of `A2E`, without `await`: `start`, `attach` and `recover` "
        "return a `BlockingTask` with the members of `Task` (`task.wait()` instead of "
        "`await task`), and `updates`, `iter`, `batch` and `unfinished` are plain iterators. "
        "`close()` replaces `aclose()`.\n\n"
        "`record.output.save(path)` blocks, too, but a type checker takes it for a coroutine; "
        "these have the blocking types. `outcome.task` and `error.task` are async handles: use "
        "`a2e.attach(ref)`. Webhooks and `legacy.streaming_avatar` are not available.\n\n"
    ) + _methods("a2e.files", BlockingFiles)


def _sandbox() -> Iterator[str]:
    yield (
        "`from a2e_async.sandbox import Sandbox`: the service on this machine, for tests and "
        "experiments. `with Sandbox(speed=600) as sandbox:` runs it in a thread, `async with` on "
        "the running loop; then `A2E(sandbox.api_key, base_url=sandbox.base_url)`. `a2e sandbox "
        "--port 8080 --speed 600` serves it to other processes."
    )
    members = "ledger faults tasks calls webhooks advance"
    yield _block(
        _class_lines(sandbox_package.Sandbox, f"{members} {SANDBOX_FIELDS}", defaults=True)
        + "\n    base_url: str  # The API's base URL, for A2E(base_url=…) or A2E_BASE_URL"
    )
    yield (
        "With the pytest fixture `a2e_sandbox`, `A2E()` reaches a new one and polls every 20 ms. "
        'Markers: `a2e_sandbox(balance=100)`, `a2e_fault("stuck", kind="dubbing")`.'
    )
    yield _block(
        "\n\n".join(
            _class_lines(cls, members)
            for cls, members in (
                (sandbox_package.LedgerView, "charges balance spent starts"),
                (sandbox_package.Charge, ""),
                (sandbox_package.TaskView, "id kind status body"),
            )
        )
    )
    yield (
        "`sandbox.faults` queues a fault for the next request or task that matches. The methods "
        "also take, by name: `times: int | None = 1` (None: until `clear()`), `kind: str | None`, "
        "and those for requests `role: str | None`, one of start, detail, list, list_processing, "
        "batch_detail, delete, action, query, quote, presign, coins, history, legacy; upload, "
        "result and cdn for storage; None for any role of the API. Seconds are service seconds "
        "unless they are called real."
    )
    faults = {n for n in _public(sandbox_package.Faults) if n not in INTERNAL_FAULTS}
    yield _block("\n".join(_fault(name) for name in FAULTS))
    yield f"For rare answers: {', '.join(sorted(faults - set(FAULTS)))}."
    yield "Sample files, `from a2e_async.sandbox import media`:"
    yield _block(
        "\n".join(
            f"media.{f.__name__}() -> Path  # {_first(f)}"
            for f in (media.speech, media.portrait, media.clip)
        )
    )


def _fault(name: str) -> str:
    method = getattr(sandbox_package.Faults, name)
    given = [
        p.replace(annotation=_Word(_short(p.annotation)))
        for p in inspect.signature(method).parameters.values()
        if p.name not in ("self", "role", "kind", "times")
    ]
    return f"faults.{name}{inspect.Signature(given)}  # {_first(method)}"


# -- declarations as text ------------------------------------------------------------------------


def _call(name: str, method: Any, record: type[Record] | None = None) -> str:
    awaited = inspect.iscoroutinefunction(method)
    said = _signature(name, method)
    if inspect.isasyncgenfunction(getattr(method, "__wrapped__", None)):
        said = said.replace("-> AsyncGenerator[", "-> AbstractAsyncContextManager[")
    if record is not None:
        said = re.sub(r"\bR\b", record.__name__, said)
    said, promised = re.subn(r"-> Coroutine\[Any, Any, (.*)\]$", r"-> \1", said)
    return f"await {said}" if awaited or promised else said


def _signature(name: str, value: Any) -> str:
    signature = inspect.signature(value)
    given: list[inspect.Parameter] = []
    for p in signature.parameters.values():
        if p.name in ("self", "wrapper"):
            continue
        if p.name == "inputs" and "Takes the inputs of" in str(value.__doc__):
            given.append(p.replace(annotation=p.empty))
        elif get_origin(p.annotation) is Unpack:
            (fields,) = get_args(p.annotation)
            given += [
                inspect.Parameter(
                    each,
                    p.KEYWORD_ONLY,
                    annotation=_Word(_short(hint)),
                    default=p.empty if each in fields.__required_keys__ else None,
                )
                for each, hint in get_type_hints(fields).items()
            ]
        elif p.annotation is not p.empty:
            given.append(p.replace(annotation=_Word(_short(p.annotation))))
        else:
            given.append(p)
    back = inspect.Parameter.empty if isinstance(value, type) else signature.return_annotation
    if back is not inspect.Parameter.empty:
        back = _Word(_short(back))
    said = f"{name}{inspect.Signature(given, return_annotation=back)}"
    # As in a type checker's implicit Optional, of which a signature here is the short form.
    said = said.replace(" | None = None", " = None").removesuffix(" -> None")
    return said.replace("*args: P.args, **kwargs: P.kwargs", "**inputs")


class _Word:
    """A type that is shown by its name."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __repr__(self) -> str:
        return self.word


def _short(hint: Any) -> str:
    """Return a type as a user writes it: no modules, no metadata, media and paths by a word."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    said = hint if isinstance(hint, str) else inspect.formatannotation(hint)
    modules = "a2e_async|collections|contextlib|typing|datetime|pathlib|files|base"
    said = re.sub(rf"\b(?:{modules})(?:\.[a-z_]+)*\.", "", said)
    said = re.sub(r"(Async\w+)\['(.*?)'\]", r"\1[\2]", said)
    said = re.sub(r"\bLiteral\[([^]]*)\]", lambda found: found[1].replace(", ", " | "), said)
    inner = r"((?:[^][]|\[[^][]*\])*)"
    said = re.sub(rf"\bOptional\[{inner}\]", r"\1 | None", said)
    said = re.sub(rf"\bUnion\[{inner}\]", lambda found: found[1].replace(", ", " | "), said)
    said = said.replace("~", "").replace("NoneType", "None")
    said = re.sub(r"\b(?:os\.)?PathLike\[str\]", "Path", said)
    said = re.sub(r"\bMapping\[str, Any\]", "dict", said)
    said = said.replace("Mapping[", "dict[").replace("Sequence[", "list[")
    media = (
        r"str \| Path \| bytes \| bytearray \| memoryview \| Output"
        r"(?: \| \w*(?:File|Part|Iterable\[bytes\]))+"
    )
    return re.sub(media, "Media", said)


def _result_of(value: property) -> Any:
    return inspect.signature(value.fget).return_annotation if value.fget else Any


def _error(cls: type[Any]) -> str:
    above = cls.__mro__[1].__name__
    below = f" ({above})" if above not in ("A2EError", "Exception") else ""
    return f"- {cls.__name__}{below}: {_plain(inspect.getdoc(cls) or '')}"


def _event(cls: type[Any]) -> str:
    names = ", ".join(inspect.signature(cls).parameters)
    return f"- {cls.__name__}({f'*, {names}' if names else ''})"


def _whole(value: Any, indent: str = "    ") -> str:
    """Return the text of a declaration as indented paragraphs."""
    said = (inspect.getdoc(value) or "").split("\n\n")
    # Who owns the state of an object is for those who change the package.
    paragraphs = (_plain(p) for p in said if not p.startswith("Created "))
    filled = (
        textwrap.fill(p, 118, initial_indent=indent, subsequent_indent=indent)
        for p in paragraphs
        if p
    )
    return "\n".join(filled)


def _first(value: Any) -> str:
    return _sentence((inspect.getdoc(value) or "").partition("\n\n")[0])


def _sentence(text: str) -> str:
    return re.split(r"(?<=[\w)`])\.\s", _plain(text), maxsplit=1)[0].rstrip(".")


def _plain(text: str) -> str:
    """Return a text on one line, without the path of the operation."""
    text = re.sub(r"\s*\(?``(?:GET|POST|PUT|DELETE) \S+``\)?(\.?)", r"\1", text)
    text = re.sub(r" \((?:the kind's )?``[A-Z]+``(?: \w+)* ?(?:of its kind|operation)\)", "", text)
    text = " ".join(text.replace("``", "`").split())
    return re.sub(r"\.(?: ?\.)+", ".", text)


def _events() -> tuple[type[Any], ...]:
    made: tuple[type[Any], ...] = events.Event.__args__  # type: ignore[attr-defined]  # a union
    # Those that only a tracer needs are left out.
    for_tracers = (
        events.FileRequest,
        events.PollStarted,
        events.RequestStarted,
        events.WaitStarted,
    )
    return tuple(event for event in made if event not in for_tracers)


def _title(name: str) -> str:
    path = DOCS / f"{name}.md"
    found = re.search(r"^# (.+)$", path.read_text(), re.MULTILINE) if path.is_file() else None
    return found[1].replace("`", "") if found else ""


def _block(text: str) -> str:
    return f"```text\n{text}\n```" if text else ""


# -- Sphinx --------------------------------------------------------------------------------------


def _written(app: Any, error: Exception | None) -> None:
    if error is None and app.builder.format == "html":
        write(Path(app.outdir))


def setup(app: Any) -> dict[str, Any]:
    """Write both files when the pages are done."""
    app.connect("build-finished", _written)
    return {"parallel_read_safe": True}


if __name__ == "__main__":
    write(Path(*sys.argv[1:2]))
