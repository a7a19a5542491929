"""``kinds``: what can be made, and what each kind takes."""

from textwrap import wrap
from typing import Any, Final

from a2e_async.cli import exits
from a2e_async.cli.desk import Desk, tell
from a2e_async.cli.flags import Flag, flags_of
from a2e_async.cli.printer import Printer, columns
from a2e_async.cli.settings import KindName, Settings
from a2e_async.cli.show import instead_name, usual_word
from a2e_async.errors import InvalidInput
from a2e_async.resources.registry import kind_named, kind_names
from a2e_async.tasks.kind import TaskKind

HEAD: Final = ("KIND", "MAKES", "OUTPUTS", "USUAL TIME", "TRIED LIVE")

LIVE: Final = (
    "Tried live: whether this kind was tried against the real service. The others follow its "
    "documentation\nand were tried against the sandbox only."
)
_WIDTH: Final = 92


def kinds(kind: KindName | None = None, /, *, settings: Settings = Settings()) -> int:  # noqa: B008  # frozen
    """Name the kinds of task and what they make; or say what one of them takes."""
    printer = Printer(as_json=settings.json, quiet=settings.quiet)
    if kind is not None:
        try:
            found = kind_named(kind)
        except InvalidInput as error:
            return tell(error, Desk(settings=settings, printer=printer), debug=settings.debug)
        printer.out(_sheet(found))
        printer.json(_document(found))
        return exits.OK
    all_kinds = [kind_named(name) for name in kind_names()]
    printer.out(columns([HEAD, *(_row(each) for each in all_kinds)]))
    printer.out(f"\n{LIVE}\nAll inputs of one: a2e kinds KIND")
    printer.json([_document(each) for each in all_kinds])
    return exits.OK


def _row(kind: TaskKind[..., Any]) -> tuple[str, ...]:
    return kind.name, kind.summary, _outputs(kind), usual_word(kind.usual), _yes(kind.live)


def _sheet(kind: TaskKind[..., Any]) -> str:
    facts = [
        ("outputs", _outputs(kind)),
        ("usual time", usual_word(kind.usual)),
        ("tried live", _yes(kind.live)),
        ("can", ", ".join(_abilities(kind))),
        ("stands on", f"{kind.start_at.method} {kind.start_at.path}"),
    ]
    inputs = [line for flag in flags_of(kind) for line in _input_lines(flag)]
    return "\n".join([f"{kind.name}: {kind.summary}", columns(facts), "", *inputs])


def _input_lines(flag: Flag) -> list[str]:
    needed = "required" if flag.required else "optional"
    doc = flag.help
    if flag.choices and not flag.open_ended:  # which a command's own help shows by itself
        doc += f" One of {', '.join(map(str, flag.choices))}."
    lines = wrap(doc, _WIDTH, break_on_hyphens=False, break_long_words=False)
    return [f"{flag.flag}  {needed}, {flag.value}", *(f"    {line}" for line in lines)]


def _document(kind: TaskKind[..., Any]) -> dict[str, Any]:
    return {
        "kind": kind.name,
        "help": kind.summary,
        "outputs": list(dict.fromkeys(result.media for result in kind.results)),
        "result": instead_name(kind.record),
        "usual_seconds": list(kind.usual) if kind.usual else None,
        "live": kind.live,
        "can": _abilities(kind),
        "operation": f"{kind.start_at.method} {kind.start_at.path}",
        "inputs": [flag.to_json() for flag in flags_of(kind)],
    }


def _outputs(kind: TaskKind[..., Any]) -> str:
    if name := instead_name(kind.record):
        return name
    media = dict.fromkeys(result.media for result in kind.results)
    return ", ".join(media) if kind.watchable else "on the site"


def _abilities(kind: TaskKind[..., Any]) -> list[str]:
    """Return what can be done with its tasks, as the commands are called."""
    able = {
        "start": True,
        "run": kind.watchable,
        "show": kind.watchable,
        "wait": kind.watchable,
        "list": kind.list_at is not None,
        "rename": kind.rename_at is not None,
        "delete": kind.delete_at is not None,
    }
    return [name for name, can in able.items() if can]


def _yes(value: bool) -> str:
    return "yes" if value else "no"
