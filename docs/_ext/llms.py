"""Write ``llms.txt`` and ``llms-full.txt``: the package on one page, for coding assistants.

All signatures come from the declarations; ``llms-guide.md`` next to this module explains their
use. Sphinx writes both files next to the pages; ``python docs/_ext/llms.py DIRECTORY`` writes them
without Sphinx.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from a2e_async import A2E, Output, Record, Task, errors, events
from a2e_async._namespaces import Namespaces
from a2e_async.kinds import (
    AcceptedMedia,
    FieldDoc,
    InputField,
    TaskNamespace,
    input_fields,
    kind_named,
    kind_names,
)

DOCS = Path(__file__).resolve().parents[1]
CLIENT = A2E("not-a-key")  # no I/O: used only to look up classes


def full() -> str:
    """Return the single page."""
    parts = [
        "# a2e_async",
        _guide(),
        "## The client",
        _signature("A2E", A2E),
        _methods("a2e", A2E),
        "## Kinds",
        "Each kind has these methods; `start`, `run`, `job` and `quote` take its inputs, by name.",
        _methods("a2e.KIND", TaskNamespace),
        "For each kind: a summary, `start`, its other methods, and its record's fields besides the "
        "common ones. Media is a URL, a path, bytes or an Output; its type is in brackets. "
        "**common is name: str, key: str (the same key is the same task, charged once), meta: your "
        "own dict, extra: inputs newer than the package; all optional.",
        *(_kind(name) for name in kind_names()),
        "## Other namespaces",
        *(_namespace(name) for name in _others()),
        "## Task",
        _methods("task", Task),
        "## Record",
        f"```text\n{_fields(Record)}\n```\n\nstatus is QUEUED, RUNNING, SUCCEEDED or FAILED; "
        "progress is 0 to 1; coins and created_at only if the service reports them.",
        "## Output",
        _methods("output", Output),
        "## Errors",
        "All in `a2e_async.errors`, below `A2EError`.",
        "\n".join(_lines(getattr(errors, name)) for name in errors.__all__),
        "## Events",
        "`A2E(on_event=f)` calls f with each, in `a2e_async.events`.",
        "\n".join(f"- {_signature(c.__name__, c, code=False)}" for c in _events()),
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
    given = ", ".join(["*", *map(_input, own), "**common"])
    lines = [f"a2e.{name}.start({given}) -> Task[{kind.record.__name__}]"]
    lines += [f"  {f.name}: {_meaning(f)}" for f in own if _meaning(f)]
    if namespace is not TaskNamespace:
        inherited = set(dir(TaskNamespace))
        more = [n for n in _public(namespace) if n not in inherited]
        lines += [_call(f"a2e.{name}.{n}", getattr(namespace, n)) for n in more]
    common = {line.partition(":")[0] for line in _fields(Record).splitlines()}
    extra = [x for x in _fields(kind.record).splitlines() if x.partition(":")[0] not in common]
    lines += [f"record: {', '.join(extra)}"] if extra else []
    return f"### {name}: {kind.summary}\n\n" + _block("\n".join(lines))


def _input(f: InputField) -> str:
    said = _type(f)
    if f.required:
        return f"{f.name}: {said}"
    return (
        f"{f.name}: {said} = None" if said.endswith("| None") else f"{f.name}: {said} | None = None"
    )


def _type(f: InputField) -> str:
    note = f.find_metadata(AcceptedMedia)
    if note is None:
        return _short(f.hint)
    several = "Sequence" in str(f.hint)
    media = f"Media[{' | '.join(map(repr, note.types))}]"
    return f"Sequence[{media}]" if several else media


def _meaning(f: InputField) -> str:
    doc = f.find_metadata(FieldDoc)
    return re.split(r"(?<=\w)\.\s", doc.text, maxsplit=1)[0].rstrip(".") if doc else ""


def _others() -> list[str]:
    names = [name for name in vars(Namespaces) if not name.startswith("_")]
    return [name for name in (*names, "files") if name not in kind_names()]


def _namespace(name: str) -> str:
    # The reference names the methods that are for users where not all are.
    page = (DOCS / "reference" / f"{name}.md").read_text()
    named = re.search(r"^```\{namespace\} \w+ (.+)$", page, re.MULTILINE)
    only = set(re.findall(r"\w+", named[1])) if named else None
    return f"### {name}\n\n" + _methods(f"a2e.{name}", type(getattr(CLIENT, name)), only)


def _methods(prefix: str, cls: type[Any], only: set[str] | None = None) -> str:
    lines: list[str] = []
    for name in _public(cls):
        if only is not None and name not in only:
            continue
        value = inspect.getattr_static(cls, name)
        if isinstance(value, property):
            lines.append(f"{prefix}.{name}  # {_first(value)}")
        else:
            lines.append(f"{_call(f'{prefix}.{name}', getattr(cls, name))}  # {_first(value)}")
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


def _call(name: str, method: Any) -> str:
    awaited = inspect.iscoroutinefunction(method)
    said = _signature(name, method, code=False)
    said = said.replace("*args: P.args, **kwargs: P.kwargs", "**inputs")
    said, promised = re.subn(r"-> Coroutine\[Any, Any, (.*)\]$", r"-> \1", said)
    return f"await {said}" if awaited or promised else said


def _signature(name: str, value: Any, *, code: bool = True) -> str:
    signature = inspect.signature(value)
    given = [
        p.replace(annotation=_named(p.annotation))
        for p in signature.parameters.values()
        if p.name != "self"
    ]
    back = inspect.Parameter.empty if isinstance(value, type) else signature.return_annotation
    made = inspect.Signature(given, return_annotation=_named(back))
    said = f"{name}{_clean(str(made))}"
    return _block(said) if code else said


class _Word:
    """A type that is shown by its name."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __repr__(self) -> str:
        return self.word


def _named(hint: Any) -> Any:
    return hint if hint is inspect.Parameter.empty else _Word(_short(hint))


def _short(hint: Any) -> str:
    said = hint if isinstance(hint, str) else inspect.formatannotation(hint)
    return _clean(said)


def _clean(said: str) -> str:
    said = re.sub(r"\b(?:a2e_async|collections|typing|datetime|pathlib)(?:\.[a-z_]+)*\.", "", said)
    said = re.sub(r"\*<class '(?:\w+\.)*(\w+)'>", r"Unpack[\1]", said)
    said = re.sub(r"(Async\w+)\['(.*?)'\]", r"\1[\2]", said)
    said = re.sub(r"\bOptional\[(Literal\[[^]]*\])\]", r"\1 | None", said)
    said = re.sub(r"\bUnion\[(Literal\[[^]]*\]), ([^]]*)\]", _joined, said)
    return said.replace("~", "").replace("NoneType", "None").replace("os.PathLike", "PathLike")


def _joined(found: "re.Match[str]") -> str:
    return " | ".join([found[1], *found[2].split(", ")])


def _fields(cls: type[Any]) -> str:
    made = [(a.name, a.type) for a in cls.__attrs_attrs__ if not a.name.startswith("_")]  # type: ignore[attr-defined]  # attrs makes it
    return "\n".join(f"{name}: {_short(hint)}" for name, hint in made)


def _lines(cls: type[Any]) -> str:
    above = cls.__mro__[1].__name__
    below = f" ({above})" if above not in ("A2EError", "Exception") else ""
    return f"- {cls.__name__}{below}: {_first(cls)}"


def _first(value: Any) -> str:
    paragraph = (inspect.getdoc(value) or "").partition("\n\n")[0]
    return re.split(r"(?<=[\w)`])\.\s", " ".join(paragraph.split()), maxsplit=1)[0].rstrip(".")


def _events() -> tuple[type[Any], ...]:
    made: tuple[type[Any], ...] = events.Event.__args__  # type: ignore[attr-defined]  # a union
    return made


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
