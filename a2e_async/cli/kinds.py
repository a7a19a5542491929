"""``kinds``: the kinds of task, and the inputs of each."""

from textwrap import wrap
from typing import Any, Final

from a2e_async._core.tasks.kind import TaskKind
from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import KindName, OutputFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.formatting import format_typical_duration, text_result_field
from a2e_async.cli.input_flags import InputFlag, flags_of
from a2e_async.cli.known_kinds import kind_named, kind_names
from a2e_async.cli.printer import Printer, columns
from a2e_async.cli.runner import report_error
from a2e_async.errors import InvalidInput

COLUMNS: Final = ("KIND", "MAKES", "OUTPUTS", "TYPICAL TIME", "TESTED LIVE")

TESTED_LIVE_NOTE: Final = (
    "Tested live: whether this kind was tested against the real service. The others follow its "
    "documentation\nand were tested against the sandbox only."
)
_WIDTH: Final = 92


def kinds(kind: KindName | None = None, /, *, flags: OutputFlags = OutputFlags()) -> int:  # noqa: B008  # frozen
    """List the kinds of task; or print the inputs of one kind. No network."""
    printer = Printer(as_json=flags.json, quiet=flags.quiet)
    if kind is not None:
        try:
            found = kind_named(kind)
        except InvalidInput as error:
            return report_error(error, CommandContext(flags=flags, printer=printer))
        printer.out(_details(found))
        printer.json(_kind_json(found))
        return printer.exit_code(exit_codes.OK)
    all_kinds = [kind_named(name) for name in kind_names()]
    printer.out(columns([COLUMNS, *(_row(each) for each in all_kinds)]))
    printer.out(f"\n{TESTED_LIVE_NOTE}\nThe inputs of one kind: a2e kinds KIND")
    printer.json([_kind_json(each) for each in all_kinds])
    return printer.exit_code(exit_codes.OK)


def _row(kind: TaskKind[..., Any]) -> tuple[str, ...]:
    return (
        kind.name,
        kind.summary,
        _outputs(kind),
        format_typical_duration(kind.typical_duration),
        _yes_or_no(kind.tested_live),
    )


def _details(kind: TaskKind[..., Any]) -> str:
    facts = [
        ("outputs", _outputs(kind)),
        ("typical time", format_typical_duration(kind.typical_duration)),
        ("tested live", _yes_or_no(kind.tested_live)),
        ("commands", ", ".join(_commands(kind))),
        ("operation", f"{kind.start.method} {kind.start.path}"),
    ]
    inputs = [line for flag in flags_of(kind) for line in _input_lines(flag)]
    return "\n".join([f"{kind.name}: {kind.summary}", columns(facts), "", *inputs])


def _input_lines(flag: InputFlag) -> list[str]:
    required = "required" if flag.required else "optional"
    text = flag.help
    if flag.choices and not flag.open_ended:  # cyclopts adds these to a command's own help
        text += f" One of {', '.join(map(str, flag.choices))}."
    lines = wrap(text, _WIDTH, break_on_hyphens=False, break_long_words=False)
    return [f"{flag.flag}  {required}, {flag.value}", *(f"    {line}" for line in lines)]


def _kind_json(kind: TaskKind[..., Any]) -> dict[str, Any]:
    return {
        "kind": kind.name,
        "help": kind.summary,
        "outputs": list(dict.fromkeys(result.media for result in kind.outputs)),
        "result": text_result_field(kind.record),
        "usual_seconds": list(kind.typical_duration) if kind.typical_duration else None,
        "live": kind.tested_live,
        "can": _commands(kind),
        "operation": f"{kind.start.method} {kind.start.path}",
        "inputs": [flag.to_json() for flag in flags_of(kind)],
    }


def _outputs(kind: TaskKind[..., Any]) -> str:
    if name := text_result_field(kind.record):
        return name
    media = dict.fromkeys(result.media for result in kind.outputs)
    return ", ".join(media) if kind.pollable else "on the site"


def _commands(kind: TaskKind[..., Any]) -> list[str]:
    """Return the commands that a kind's tasks support."""
    supported = {
        "start": True,
        "run": kind.pollable,
        "show": kind.pollable,
        "wait": kind.pollable,
        "list": kind.list is not None,
        "rename": kind.rename is not None,
        "delete": kind.delete is not None,
    }
    return [name for name, can in supported.items() if can]


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"
