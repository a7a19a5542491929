"""The command line as a whole: its commands, its help and its usage errors."""

import json
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError, MissingArgumentError

from a2e_async._core.version import __version__
from a2e_async.cli import exit_codes
from a2e_async.cli.avatars import avatars, backgrounds
from a2e_async.cli.batch.command import HELP as BATCH
from a2e_async.cli.batch.command import batch
from a2e_async.cli.common_flags import OutputFlags, move_common_flags_last
from a2e_async.cli.completion import HELP as COMPLETION
from a2e_async.cli.completion import completion
from a2e_async.cli.context import CommandContext
from a2e_async.cli.credits import coins
from a2e_async.cli.demo.command import HELP, demo
from a2e_async.cli.doctor.command import doctor
from a2e_async.cli.journal.command import JOURNAL
from a2e_async.cli.kinds import kinds
from a2e_async.cli.mcp_server import HELP as MCP
from a2e_async.cli.mcp_server import mcp
from a2e_async.cli.printer import Printer, one_line, replace_unencodable_characters
from a2e_async.cli.runner import report_error
from a2e_async.cli.sandbox import sandbox
from a2e_async.cli.speech import say, voices
from a2e_async.cli.start_commands import start_command_apps
from a2e_async.cli.task_commands import TASK, list_tasks
from a2e_async.cli.webhook import WEBHOOK
from a2e_async.errors import A2EError, ConfigurationError, InvalidInput

_HELP = (
    "Generate media with A2E from the command line. Unofficial.\n\n"
    "The API key is read from A2E_API_KEY, never from a flag. `a2e demo` needs neither a key nor "
    "the network. Results go to stdout, everything else to stderr."
)


def build(tokens: Sequence[str] = (), *, for_completion: bool = False) -> App:
    """Return the command line, with the kinds' flags only where ``tokens`` need them.

    ``for_completion`` builds all of it, for a shell's completion script.
    """
    app = App(
        name="a2e",
        help=_HELP,
        help_epilogue=exit_codes.epilogue(),
        help_format="plaintext",
        version=__version__,
        print_error=False,
        exit_on_error=False,
    )
    app.command(demo, help=HELP, sort_key=1)
    app.command(sandbox, sort_key=2)
    for command in start_command_apps(tokens, for_completion=for_completion):
        app.command(command)
    app.command(batch, help=BATCH, sort_key=6)
    app.command(JOURNAL)
    app.command(WEBHOOK)
    app.command(TASK)
    app.command(list_tasks, name="list", sort_key=9)
    app.command(kinds, sort_key=10)
    app.command(say, sort_key=11)
    app.command(voices, sort_key=12)
    app.command(avatars, sort_key=12)
    app.command(backgrounds, sort_key=12)
    app.command(coins, name="credits", sort_key=13)
    app.command(mcp, help=MCP, sort_key=14)
    app.command(doctor, sort_key=14)
    app.command(completion, help=COMPLETION, sort_key=15)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    replace_unencodable_characters()
    tokens = move_common_flags_last(list(arguments))
    try:
        command, bound, _ = build(tokens).parse_args(tokens)
    except CycloptsError as error:
        return _report_usage_error(error, tokens)
    except ConfigurationError as error:  # the file of A2E_KINDS cannot be used
        return _report_early_error(error, tokens)
    called: Callable[..., int | None] = command
    try:
        code = called(*bound.args, **bound.kwargs)
    except (InvalidInput, ConfigurationError) as error:
        return _report_early_error(error, tokens)
    return exit_codes.OK if code is None else code


def _report_early_error(error: A2EError, tokens: Sequence[str]) -> int:
    """Report an error that was raised before the command had a context."""
    flags = OutputFlags(json="--json" in tokens, debug="--debug" in tokens)
    return report_error(error, CommandContext(flags=flags, printer=Printer(as_json=flags.json)))


def _report_usage_error(error: CycloptsError, tokens: Sequence[str]) -> int:
    message = one_line(str(error))
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        flag = error.argument.name
        if not any(token.partition("=")[0] == flag for token in tokens):
            message = f"{flag} is required."
    sys.stderr.write(f"error: {message}\nSee: a2e {_command_words(tokens)}--help\n")
    if "--json" in tokens:
        document = {"type": "Usage", "message": message, "exit_code": exit_codes.USAGE}
        sys.stdout.write(f"{json.dumps({'error': document})}\n")
    return exit_codes.USAGE


def _command_words(tokens: Sequence[str]) -> str:
    """Return the words that name a command, so that the error can point to its help."""
    app, words = build(tokens), ""
    for token in tokens:
        if token.startswith("-") or token not in list(app):
            break
        app, words = app[token], f"{words}{token} "
    return words
