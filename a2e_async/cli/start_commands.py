"""``start``, ``run`` and ``quote``: one command per kind, generated from its declaration."""

import asyncio
import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter

from a2e_async.cli import exit_codes
from a2e_async.cli.batch.validation import check_key
from a2e_async.cli.common_flags import Force, ServiceFlags
from a2e_async.cli.context import CommandContext
from a2e_async.cli.error_messages import error_message
from a2e_async.cli.examples import EXAMPLES, epilogue, kind_example
from a2e_async.cli.formatting import format_coins, output_json, task_json, text_result
from a2e_async.cli.input_flags import (
    as_command,
    as_typed,
    errors_as_flags,
    flags_of,
    has_audio_or_video_file,
)
from a2e_async.cli.known_kinds import kind_named, kind_names
from a2e_async.cli.number_parsing import SECONDS
from a2e_async.cli.outage_notices import report_outages, report_unknown
from a2e_async.cli.output_paths import (
    Destination,
    format_notice,
    media_of,
    prepare_destination,
)
from a2e_async.cli.preview import Preview, show_images
from a2e_async.cli.progress import progress_line, transfer_listener
from a2e_async.cli.runner import RESULT_ON_SITE, run_command
from a2e_async.errors import InvalidInput, TaskFailed
from a2e_async.events import Accepted, Event
from a2e_async.models import Record

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from a2e_async._core.files.name_template import NameTemplate
    from a2e_async._core.submission.budget import Budget
    from a2e_async._core.tasks.kind import TaskKind
    from a2e_async._core.tasks.task import Task
    from a2e_async.client import A2E

RESULT_GROUP = Group("Waiting", sort_key=50)
JOURNAL_GROUP = Group("Journal", sort_key=60)

Timeout = Annotated[
    float | None,
    Parameter(
        group=RESULT_GROUP,
        converter=SECONDS,
        help="Seconds to wait for the task; the default depends on the kind, 7200 for most. The "
        "task continues when the time is over.",
    ),
]
Out = Annotated[
    str,
    Parameter(
        name=("--out", "-o"),
        group=RESULT_GROUP,
        help="Directory for the results; or a file, such as out.mp4, for a single result.",
    ),
]
Journal = Annotated[
    Path | None,
    Parameter(
        group=JOURNAL_GROUP,
        help="File that records the start before it is paid; a2e journal reads it.",
    ),
]
Key = Annotated[
    str | None,
    Parameter(
        group=JOURNAL_GROUP,
        help="Your name for the start in the journal. The same key is the same task, paid once.",
    ),
]
FILE_LENGTH_UNKNOWN = "The file is not uploaded for a quote, and its length may change the price."

START_IN_PROGRESS = "A start may be in flight; waiting for its response, at most 30 s."

_OWN_PARAMETERS = {
    "start": ("journal", "key", "flags"),
    "run": ("out", "force", "preview", "timeout", "journal", "key", "flags"),
    "quote": ("flags",),
}

_HELP = {
    "start": "Start a task and print its ref. Costs coins.",
    "run": "Start a task, wait for it and save its results. Costs coins.",
    "quote": "Print what a start would cost. Free; nothing is uploaded.",
}


def start_command_apps(tokens: Sequence[str]) -> Iterator[App]:
    """Yield ``start``, ``run`` and ``quote`` as far as ``tokens`` need them.

    Importing all kinds is slow, so only the called kind's flags are generated; the others are
    commands by name only. Without a kind, as in ``a2e start --help``, all kinds are imported for
    their summaries. If all three are named, as for the docs, all of their flags are generated.
    """
    works: dict[str, Callable[..., int]] = {"start": start, "run": run, "quote": quote}
    kinds = kind_names()
    called_verb, called_kind = _find_verb_and_kind(tokens)
    for index, (verb, work) in enumerate(works.items()):
        app = App(
            name=verb,
            help=f"{_HELP[verb]}\n\nThe flags of a kind: a2e {verb} KIND --help",
            help_epilogue=epilogue(EXAMPLES[verb]),
            usage=f"Usage: a2e {verb} KIND [OPTIONS]",
            sort_key=3 + index,
        )
        own = _OWN_PARAMETERS[verb]
        for name in kinds if verb == called_verb or works.keys() <= {*tokens} else ():
            if called_kind in (None, name):
                kind = kind_named(name)
                command = as_command(kind, work, own)
                example = kind_example(verb, name, flags_of(kind))
                app.command(command, name=name, help=kind.summary, help_epilogue=epilogue(example))
            else:
                app.command(_not_called, name=name)
        yield app


def _find_verb_and_kind(tokens: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the called command, and the kind if it follows directly."""
    words = [index for index, token in enumerate(tokens) if not token.startswith("-")]
    if not words:
        return None, None
    after = tokens[words[0] + 1 : words[0] + 2]
    return tokens[words[0]], next((word for word in after if word in kind_names()), None)


def _not_called() -> None:
    """Placeholder for the command of a kind that is not called."""


def start(
    kind: str,
    inputs: Mapping[str, Any],
    *,
    journal: Journal = None,
    key: Key = None,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Start a task and print its ref."""
    key = as_typed(key)

    async def work(context: CommandContext) -> int:
        async with journaled(context, journal, key) as a2e:
            task = await _start(context, a2e.kind(kind), inputs, key)
        if not task.kind.pollable:
            context.printer.note(
                f"The service has no status operation for {kind} tasks; {RESULT_ON_SITE}"
            )
        context.printer.out(task.ref)
        context.printer.json(task_json(task))
        return exit_codes.OK

    return run_command(flags, work)


def run(
    kind: str,
    inputs: Mapping[str, Any],
    *,
    out: Out = ".",
    force: Force = False,
    preview: Preview = False,
    timeout: Timeout = None,
    journal: Journal = None,
    key: Key = None,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Start a task, wait for it, save its results and print their paths."""
    key = as_typed(key)

    async def work(context: CommandContext) -> int:
        declared = kind_named(kind)
        check_pollable(declared)
        with errors_as_flags(declared):
            count = declared.task_count(declared.build_input(inputs))
        destination = prepare_destination(out, count)
        destination.check_media(kind, media_of(declared))
        async with journaled(context, journal, key) as a2e:
            saved = await saved_paths(a2e, key)
            destination.check_free(force=force, own=saved)
            if saved and not destination.holds(saved):
                context.printer.note(f"An earlier run has saved the result: {', '.join(saved)}")
            task = await _start(context, a2e.kind(kind), inputs, key)
            return await finish(
                context, task, destination=destination, timeout=timeout, preview=preview
            )

    return run_command(flags, work)


def quote(kind: str, inputs: Mapping[str, Any], *, flags: ServiceFlags = ServiceFlags()) -> int:  # noqa: B008  # frozen
    """Print the price of a start."""

    async def work(context: CommandContext) -> int:
        async with context.client() as a2e:
            namespace = a2e.kind(kind)
            with errors_as_flags(namespace.kind):
                coins = await namespace.quote(**inputs)
        about = coins is not None and has_audio_or_video_file(namespace.kind, inputs)
        if coins is None:
            context.printer.note("The service quotes no price for this.")
            context.printer.out("unknown")
        else:
            context.printer.out(f"{'about ' if about else ''}{format_coins(coins)}")
        if about:
            context.printer.note(FILE_LENGTH_UNKNOWN)
        context.printer.json({"kind": kind, "coins": coins, "about": about})
        return exit_codes.OK

    return run_command(flags, work)


def journaled(
    context: CommandContext,
    path: Path | None,
    key: str | None,
    *,
    budget: "Budget | None" = None,
) -> "AbstractAsyncContextManager[A2E]":
    """Return the client, with a journal if ``path`` is given. Raises `InvalidInput`."""
    if path is None:
        if key is not None:
            raise InvalidInput(
                "--key needs --journal, such as --journal jobs.db: without a journal the key is "
                "forgotten when this command ends, and a second run would pay again.",
                field="journal",
            )
        return context.client(budget=budget)
    check_key(key)
    context.resume_command = shlex.join(["a2e", "journal", "resume", str(path)])
    from a2e_async._core.journal.sqlite import SqliteJournal

    return context.client(SqliteJournal(path), budget=budget)


async def saved_paths(a2e: "A2E", *keys: str | None) -> tuple[str, ...]:
    """Return where earlier runs have saved the results of these keys, if the files exist."""
    found: list[str] = []
    for key in keys:
        entry = await a2e.journal.get(key) if a2e.journal is not None and key else None
        found += entry.paths.values() if entry else ()
    return tuple(filter(os.path.isfile, found))  # a stat takes microseconds


async def _start(
    context: CommandContext, namespace: Any, inputs: Mapping[str, Any], key: str | None
) -> "Task[Any]":
    printer, accepted = context.printer, list[Event]()
    arguments = inputs if key is None else {**inputs, "key": key}

    def on_event(event: Event) -> None:
        if isinstance(event, Accepted):
            accepted.append(event)

    with progress_line(printer, f"starting {namespace.kind.name}") as show:
        context.event_listeners += [transfer_listener(show), on_event]
        try:
            with errors_as_flags(namespace.kind):
                task: Task[Any] = await namespace.start(**arguments)
        except asyncio.CancelledError:
            printer.note(START_IN_PROGRESS)
            raise
        finally:
            del context.event_listeners[-2:]
    context.track(task)
    if accepted:
        printer.note(f"started {task.ref} · {format_coins(task.coins)}")
    else:
        printer.note(f"the key {key!r:.60} is already {task.ref}; nothing was started")
    return task


def check_pollable(kind: "TaskKind[..., Any]") -> None:
    """Raise `InvalidInput` for a kind whose tasks cannot be polled."""
    if not kind.pollable:
        raise InvalidInput(
            f"The service has no status operation for {kind.name} tasks, so they cannot be shown "
            f"or waited for. Start one with: a2e start {kind.name}; {RESULT_ON_SITE}",
            field="kind",
        )


async def wait(context: CommandContext, task: "Task[Any]", timeout: float | None) -> Record:
    """Wait for a task and show its progress. Raises like `Task.wait`."""
    check_pollable(task.kind)
    context.track(task)
    name = task.kind.name
    with (
        progress_line(context.printer, f"{name} waiting") as show,
        report_outages(context),
        report_unknown(context, task, timeout),
    ):
        async for update in task.updates(timeout=timeout):
            percent = "" if update.progress is None else f" {update.progress:.0%}"
            show(f"{name} {update.status}{percent}")
        record: Record = await task.wait(timeout=timeout)
        return record


async def finish(
    context: CommandContext,
    task: "Task[Any]",
    *,
    destination: Destination,
    timeout: float | None,
    name: "NameTemplate | None" = None,
    preview: bool = False,
) -> int:
    """Wait for a task, save its outputs, even if it failed, and print their paths."""
    from a2e_async._core.tasks.task import ResultNaming, save_outputs

    naming = None if name is None else ResultNaming(name, task.key)
    failed: TaskFailed | None = None
    try:
        record = await wait(context, task, timeout)
    except TaskFailed as error:
        if not error.record.outputs:
            raise
        failed, record = error, error.record
    if result := text_result(record):
        context.printer.note(f"{result[0]} of {task.ref}:")
        context.printer.out(result[1])
    if result and not record.outputs:
        context.printer.json({**task_json(task), "files": []})
        return exit_codes.OK
    paths: list[Path] = []
    with progress_line(context.printer, f"{task.kind.name} downloading") as show:
        context.event_listeners.append(transfer_listener(show))
        target, notice = destination.target(len(record.outputs))
        if notice:
            context.printer.note(notice)
        if target.endswith("/"):
            paths = await save_outputs(record, target, naming)
        else:
            for output in record.outputs:
                paths.append(await output.save(target))
                if (notice := format_notice(target, paths[-1])) is not None:
                    context.printer.note(notice)
        context.event_listeners.pop()
    for path in paths:
        context.printer.out(str(path))
    if preview:
        show_images(context.printer, paths)
    if failed is not None:
        context.printer.error(f"error: {error_message(failed)}")
    files = [
        {"path": str(path), **output_json(output)}
        for path, output in zip(paths, record.outputs, strict=True)
    ]
    context.printer.json({**task_json(task), "files": files})
    return exit_codes.OK if failed is None else exit_codes.FAILED
