"""The command line as a whole: its commands, its help and its usage errors."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from inspect import BoundArguments
from pathlib import Path
from typing import Any, Final, get_args

from attrs import frozen
from cyclopts import (
    App,
    ArgumentCollection,
    CycloptsError,
    MissingArgumentError,
    UnknownOptionError,
)

from a2e_async._core.paths import expand_home
from a2e_async._core.version import __version__
from a2e_async.cli import exit_codes
from a2e_async.cli.examples import add_examples
from a2e_async.cli.flag_order import move_common_flags_last, name_kind, name_stdin
from a2e_async.cli.printer import Printer, one_line
from a2e_async.cli.streams import (
    correct_terminal_width,
    redirect_to_devnull,
    replace_unencodable_characters,
)
from a2e_async.errors import ConfigurationError


def _expand_home_in_paths(_app: App, _names: Sequence[str], given: ArgumentCollection) -> None:
    """Expand "~" in the values of all flags that are paths: no shell expands ``--out=~/x``."""
    for argument in given:
        if Path in (argument.hint, *get_args(argument.hint)):
            tokens: list[Any] = argument.tokens
            tokens[:] = [token.evolve(value=expand_home(token.value)) for token in tokens]


@frozen
class _Command:
    """A command, and where it is: its module is imported only if the command is called.

    ``attribute`` is its function, or its `App` if it has commands of its own; ``help_attribute``
    the constant with its help, which is otherwise the function's docstring.
    """

    summary: str
    sort_key: int
    module: str
    attribute: str
    help_attribute: str | None = None

    def add_to(self, app: App, name: str) -> None:
        """Import the command and add it to the command line."""
        module = import_module(f"a2e_async.cli.{self.module}")
        found: Any = getattr(module, self.attribute)
        if isinstance(found, App):
            app.command(found)
        else:
            options = {"help": getattr(module, self.help_attribute)} if self.help_attribute else {}
            app.command(found, name=name, sort_key=self.sort_key, **options)
        add_examples(app[name], name)


# The summaries are the first paragraphs of the commands' own help; a test compares them.
COMMANDS: Final[Mapping[str, _Command]] = {
    "demo": _Command(
        "Run many jobs against a sandbox on this machine and check the charges. Free, offline.",
        1,
        "demo.command",
        "demo",
        "HELP",
    ),
    "sandbox": _Command(
        "Run a simulated A2E service on this machine until Ctrl-C. Free, offline.",
        2,
        "sandbox",
        "sandbox",
    ),
    "dub-video": _Command(
        "Dub a video into another language, lips included, and save it. Costs coins.",
        5,
        "recipes",
        "dub_video",
    ),
    "speak-video": _Command(
        "Make a video of an avatar that speaks a text, and save it. Costs coins.",
        5,
        "recipes",
        "speak_video",
    ),
    "batch": _Command(
        "Run the jobs of a file, each paid once, and save their results. Costs coins.",
        6,
        "batch.command",
        "batch",
        "HELP",
    ),
    "journal": _Command(
        "List a journal's starts, finish open ones, delete old entries, export all.",
        7,
        "journal.command",
        "JOURNAL",
    ),
    "webhook": _Command("Receive webhook events, to test their delivery.", 8, "webhook", "WEBHOOK"),
    "task": _Command(
        "Show a task, wait for it, download its results, rename it, delete it.",
        8,
        "task_commands",
        "TASK",
    ),
    "open": _Command(
        "Download a task's results and show them with the system's programs. Free.",
        8,
        "open_result",
        "open_result",
    ),
    "list": _Command(
        "List the account's tasks of one kind, newest first.", 9, "task_commands", "list_tasks"
    ),
    "kinds": _Command(
        "List the kinds of task; or print the inputs of one kind. No network.",
        10,
        "kinds",
        "kinds",
    ),
    "say": _Command(
        "Turn a text into speech and save it. Costs coins; give --voice or --own-voice.",
        11,
        "speech",
        "say",
    ),
    "voices": _Command(
        "List the service's voices of a language, for a2e say. Free.", 12, "speech", "voices"
    ),
    "avatars": _Command(
        "List the avatars that can speak in an avatar video, with their ids and types. Free.",
        12,
        "avatars",
        "avatars",
    ),
    "backgrounds": _Command(
        "List the background images for avatar videos. Free.", 12, "avatars", "backgrounds"
    ),
    "credits": _Command("Print how many coins are left. Free.", 13, "credits", "coins"),
    "mcp": _Command(
        "Serve A2E to an agent with the Model Context Protocol, over stdin and stdout. The agent's "
        "starts cost coins, up to the budget.",
        14,
        "mcp_server",
        "mcp",
        "HELP",
    ),
    "doctor": _Command(
        "Check the API key, the network and the account, and say how to fix each problem. Free.",
        14,
        "doctor.command",
        "doctor",
    ),
    "verify": _Command(
        "Compare the service with what this package expects of it, and write a report. Free, "
        "unless --spend is given.",
        14,
        "verify.command",
        "verify",
        "HELP",
    ),
    "completion": _Command(
        "Print the script that completes commands, kinds and flags in a shell.",
        15,
        "completion",
        "completion",
        "HELP",
    ),
    "version": _Command("Print the version.", 16, "version", "version"),
}

START_COMMANDS: Final = {
    "start": "Start a task and print its ref. Costs coins.",
    "run": "Start a task, wait for it and save its results. Costs coins.",
    "quote": "Print what a start would cost. Free; nothing is uploaded.",
}
"""The summaries of the commands that are generated from the kinds."""

_HELP = (
    "Generate media with A2E from the command line. Unofficial.\n\n"
    "`a2e kinds` lists what can be made; the flags of one kind: `a2e run KIND --help`.\n\n"
    "The API key is read from A2E_API_KEY, never from a flag. `a2e demo` needs neither a key nor "
    "the network. Results go to stdout, everything else to stderr."
)


def build(tokens: Sequence[str] = ()) -> App:
    """Return the command line, with the flags of the commands and kinds that ``tokens`` name."""
    app = App(
        name="a2e",
        help=_HELP,
        help_epilogue=exit_codes.LINE,
        help_format="plaintext",
        version=__version__,
        version_flags=["--version", "-V"],
        print_error=False,
        exit_on_error=False,
        config=_expand_home_in_paths,
    )
    if not START_COMMANDS.keys().isdisjoint(tokens):
        from a2e_async.cli.start_commands import start_command_apps

        for command in start_command_apps(tokens):
            app.command(command)
    else:
        for place, (name, summary) in enumerate(START_COMMANDS.items()):
            app.command(_not_called, name=name, help=summary, sort_key=3 + place)
    for name, called in COMMANDS.items():
        if name in tokens:
            called.add_to(app, name)
        else:
            app.command(_not_called, name=name, help=called.summary, sort_key=called.sort_key)
    return app


def _not_called() -> None:
    """Placeholder for a command that is not called."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    replace_unencodable_characters()
    correct_terminal_width()
    if arguments[:1] == ["_complete"]:
        from a2e_async.cli.completion import complete

        return complete(arguments[1:])
    tokens = name_kind(name_stdin(move_common_flags_last(list(arguments))))
    try:
        command, bound, _ = build(tokens).parse_args(tokens)
    except CycloptsError as error:
        return _report_usage_error(error, tokens)
    except ConfigurationError as error:  # the file of A2E_KINDS cannot be used
        return _report_early_error(error, tokens)
    called: Callable[..., int | None] = command
    try:
        if isinstance(getattr(called, "__self__", None), App):  # its help, or that of a command
            return _print_help(called, bound)
        code = called(*bound.args, **bound.kwargs)
    except Exception as error:
        return _report_early_error(error, tokens)
    return exit_codes.OK if code is None else code


def _print_help(called: Callable[..., int | None], bound: BoundArguments) -> int:
    """Print a help; a reader that has gone away is no error."""
    printer = Printer()
    try:
        called(*bound.args, **bound.kwargs)
    except SystemExit:  # what rich makes of a broken pipe
        return exit_codes.OK
    except OSError as error:
        redirect_to_devnull(sys.stdout)
        printer.report_lost(error)
    return printer.exit_code(exit_codes.OK)


def _report_early_error(error: Exception, tokens: Sequence[str]) -> int:
    """Report an error that was raised before the command had a context."""
    from a2e_async.cli.common_flags import OutputFlags
    from a2e_async.cli.context import CommandContext
    from a2e_async.cli.runner import report_error

    flags = OutputFlags(json="--json" in tokens, debug="--debug" in tokens)
    return report_error(error, CommandContext(flags=flags, printer=Printer(as_json=flags.json)))


def _report_usage_error(error: CycloptsError, tokens: Sequence[str]) -> int:
    message = one_line(str(error))
    if isinstance(error, UnknownOptionError):
        message = _misspelt_flag(tokens) or message
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        flag = error.argument.name
        if not any(token.partition("=")[0] == flag for token in tokens):
            message = _misspelt_flag(tokens) or f"{flag} is required."
    printer = Printer(as_json="--json" in tokens)
    printer.error(f"error: {message}\nSee: a2e {_command_words(tokens)}--help")
    document = {"type": "Usage", "message": message, "exit_code": exit_codes.USAGE}
    printer.json({"error": document})
    return exit_codes.USAGE


def _misspelt_flag(tokens: Sequence[str]) -> str | None:
    """Return the error for an unknown flag: where one is missing, it is probably meant."""
    from difflib import get_close_matches

    from a2e_async.cli.input_flags import ANY_INPUT

    app = build(tokens)
    for word in _command_words(tokens).split():
        app = app[word]
    known = [name for argument in app.assemble_argument_collection() for name in argument.names]
    flags = tokens[: tokens.index("--")] if "--" in tokens else tokens
    for name in (word.partition("=")[0] for word in flags):
        if name.startswith("--") and name not in known:
            takes_any_input = f"--{ANY_INPUT}" in known
            # An input's name may look like one of the few flags.
            close = get_close_matches(name, known, n=1, cutoff=0.7 if takes_any_input else 0.6)
            hint = f" Did you mean {close[0]}?" if close else ""
            inputs = (
                f" Inputs of this kind are --{ANY_INPUT} NAME=VALUE." if takes_any_input else ""
            )
            return f"Unknown option: {name}.{hint}{inputs}"
    return None


def _command_words(tokens: Sequence[str]) -> str:
    """Return the words that name a command, so that the error can point to its help."""
    app, words = build(tokens), ""
    for token in tokens:
        if token.startswith("-") or token not in list(app):
            break
        app, words = app[token], f"{words}{token} "
    return words
