"""The command line as a whole: its commands, its help, its usage errors."""

import json
import sys
from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError, MissingArgumentError

from a2e_async import __version__
from a2e_async.cli import exits
from a2e_async.cli.account import coins
from a2e_async.cli.agents import HELP as MCP
from a2e_async.cli.agents import mcp
from a2e_async.cli.batch.command import HELP as BATCH
from a2e_async.cli.batch.command import batch
from a2e_async.cli.catalogue import kinds
from a2e_async.cli.completion import HELP as COMPLETION
from a2e_async.cli.completion import completion
from a2e_async.cli.demo.command import HELP, demo
from a2e_async.cli.desk import Desk, tell
from a2e_async.cli.doctor.command import doctor
from a2e_async.cli.jobs import verbs
from a2e_async.cli.journal.command import JOURNAL
from a2e_async.cli.printer import Printer, one_line, prepare_streams
from a2e_async.cli.scenery import avatars, backgrounds
from a2e_async.cli.serve import sandbox
from a2e_async.cli.settings import Settings, common_last
from a2e_async.cli.tasks import TASK, list_tasks
from a2e_async.cli.voice import say, voices
from a2e_async.cli.webhook import WEBHOOK
from a2e_async.errors import InvalidInput

_HELP = (
    "Generate media with A2E from the command line. Unofficial.\n\n"
    "The API key is read from A2E_API_KEY, never from a flag. `a2e demo` needs neither key nor "
    "network. Results go to stdout, all else to stderr."
)


def build(tokens: Sequence[str] = (), *, offering: bool = False) -> App:
    """Return the command line that these words need; all of it for a shell's completion."""
    app = App(
        name="a2e",
        help=_HELP,
        help_epilogue=exits.epilogue(),
        help_format="plaintext",
        version=__version__,
        print_error=False,
        exit_on_error=False,
    )
    app.command(demo, help=HELP, sort_key=1)
    app.command(sandbox, sort_key=2)
    for verb in verbs(tokens, offering=offering):
        app.command(verb)
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
    prepare_streams()
    tokens = common_last(list(arguments))
    try:
        command, bound, _ = build(tokens).parse_args(tokens)
    except CycloptsError as error:
        return _refuse(error, tokens)
    called: Callable[..., int | None] = command
    try:
        code = called(*bound.args, **bound.kwargs)
    except InvalidInput as error:  # refused before there was anything to run
        settings = Settings(json="--json" in tokens, debug="--debug" in tokens)
        desk = Desk(settings=settings, printer=Printer(as_json=settings.json))
        return tell(error, desk, debug=settings.debug)
    return exits.OK if code is None else code


def _refuse(error: CycloptsError, tokens: Sequence[str]) -> int:
    said = one_line(str(error))
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        flag = error.argument.name
        if not any(token.partition("=")[0] == flag for token in tokens):
            said = f"{flag} is required."
    sys.stderr.write(f"error: {said}\nSee: a2e {_shown_command(tokens)}--help\n")
    if "--json" in tokens:
        document = {"type": "Usage", "message": said, "exit_code": exits.USAGE}
        sys.stdout.write(f"{json.dumps({'error': document})}\n")
    return exits.USAGE


def _shown_command(tokens: Sequence[str]) -> str:
    """Return the command's own words that were understood, so that its help can be named."""
    app, words = build(tokens), ""
    for token in tokens:
        if token.startswith("-") or token not in list(app):
            break
        app, words = app[token], f"{words}{token} "
    return words
