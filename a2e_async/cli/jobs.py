"""``start``, ``run`` and ``quote``: one command for each kind, made from its declaration."""

import asyncio
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Group, Parameter

from a2e_async.cli import exits
from a2e_async.cli.batch.check import check_key
from a2e_async.cli.desk import ON_SITE, Desk, conduct
from a2e_async.cli.flags import as_command, as_typed, has_timed_file, in_flags
from a2e_async.cli.numbers import SECONDS
from a2e_async.cli.outages import outages
from a2e_async.cli.places import Place, place_for
from a2e_async.cli.progress import progress, transfers
from a2e_async.cli.settings import Online
from a2e_async.cli.show import coins_word, instead, output_json, task_json
from a2e_async.errors import InvalidInput, TaskFailed
from a2e_async.events import Accepted, Event
from a2e_async.inputs import build_input
from a2e_async.models import Record
from a2e_async.resources.registry import kind_named, kind_names

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from a2e_async.client import A2E
    from a2e_async.tasks.kind import TaskKind
    from a2e_async.tasks.task import Task

WAITING = Group("Waiting", sort_key=50)
KEEPING = Group("Journal", sort_key=60)

Timeout = Annotated[
    float | None,
    Parameter(
        group=WAITING,
        converter=SECONDS,
        help="Seconds to wait for the task, by default as long as its kind may take: 7200 for "
        "most. It goes on when the time is over.",
    ),
]
Out = Annotated[
    str,
    Parameter(
        name=("--out", "-o"),
        group=WAITING,
        help="A directory for the results; or a file, such as out.mp4, for a task that has one.",
    ),
]
Journal = Annotated[
    Path | None,
    Parameter(
        group=KEEPING,
        help="A file in which the start is written down before it is paid; a2e journal reads it.",
    ),
]
Key = Annotated[
    str | None,
    Parameter(
        group=KEEPING,
        help="Your name for the start in the journal; the same key gives the same task, paid once.",
    ),
]
NOT_SEEN = "The file is not uploaded for a quote, and its length may decide the price."

UNDER_WAY = "A start may be under way; waiting for its answer, at most 30 s."

_OWN = {
    "start": ("journal", "key", "settings"),
    "run": ("out", "timeout", "journal", "key", "settings"),
    "quote": ("settings",),
}

_HELP = {
    "start": "Start a task and print its ref. Costs coins.",
    "run": "Start a task, wait for it and save its results. Costs coins.",
    "quote": "Say what a start would cost. Free; nothing is uploaded.",
}


def verbs(tokens: Sequence[str], *, offering: bool = False) -> Iterator[App]:
    """Yield ``start``, ``run`` and ``quote`` as far as these words need them.

    Only the kind that is called is read; the others are there by name. Where a verb calls
    none, as for its help, all are read for what they do. ``offering``: for the completion of a
    shell, with all flags of all kinds.
    """
    works: dict[str, Callable[..., int]] = {"start": start, "run": run, "quote": quote}
    kinds = kind_names()
    asked, called = _called(tokens)
    for place, (verb, work) in enumerate(works.items()):
        app = App(name=verb, help=_HELP[verb], sort_key=3 + place)
        own = _OWN[verb]
        for name in kinds if offering or verb == asked else ():
            if called in (None, name):
                kind = kind_named(name)
                command = as_command(kind, work, own, offering=offering)
                app.command(command, name=name, help=kind.summary)
            else:
                app.command(_unread, name=name)
        yield app


def _called(tokens: Sequence[str]) -> tuple[str | None, str | None]:
    """Return the command that these words call, and the kind if it comes right after."""
    words = [place for place, token in enumerate(tokens) if not token.startswith("-")]
    if not words:
        return None, None
    after = tokens[words[0] + 1 : words[0] + 2]
    return tokens[words[0]], next((word for word in after if word in kind_names()), None)


def _unread() -> None:
    """Stand for a kind that these words do not call."""


def start(
    kind: str,
    inputs: Mapping[str, Any],
    *,
    journal: Journal = None,
    key: Key = None,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """Start a task; its ref goes to stdout."""
    key = as_typed(key)

    async def work(desk: Desk) -> int:
        async with _journaled(desk, journal, key) as a2e:
            task = await _start(desk, a2e.kind(kind), inputs, key)
        if not task.kind.watchable:
            desk.printer.note(f"The service tells nothing of {kind} tasks; {ON_SITE}")
        desk.printer.out(task.ref)
        desk.printer.json(task_json(task))
        return exits.OK

    return conduct(settings, work)


def run(
    kind: str,
    inputs: Mapping[str, Any],
    *,
    out: Out = ".",
    timeout: Timeout = None,
    journal: Journal = None,
    key: Key = None,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """Start a task, wait, save; the paths go to stdout."""
    key = as_typed(key)

    async def work(desk: Desk) -> int:
        named = kind_named(kind)
        check_told(named)
        with in_flags(named):
            count = named.expected(build_input(named.input, (), inputs))
        place = place_for(out, count)
        async with _journaled(desk, journal, key) as a2e:
            task = await _start(desk, a2e.kind(kind), inputs, key)
            return await finish(desk, task, place=place, timeout=timeout)

    return conduct(settings, work)


def quote(kind: str, inputs: Mapping[str, Any], *, settings: Online = Online()) -> int:  # noqa: B008  # frozen
    """Ask for the price of a start."""

    async def work(desk: Desk) -> int:
        async with desk.client() as a2e:
            namespace = a2e.kind(kind)
            with in_flags(namespace.kind):
                coins = await namespace.quote(**inputs)
        about = coins is not None and has_timed_file(namespace.kind, inputs)
        if coins is None:
            desk.printer.note("The service does not say what this costs.")
            desk.printer.out("unknown")
        else:
            desk.printer.out(f"{'about ' if about else ''}{coins_word(coins)}")
        if about:
            desk.printer.note(NOT_SEEN)
        desk.printer.json({"kind": kind, "coins": coins, "about": about})
        return exits.OK

    return conduct(settings, work)


def _journaled(
    desk: Desk, path: Path | None, key: str | None
) -> "AbstractAsyncContextManager[A2E]":
    """Return the client with its journal, if there is to be one. Raises `InvalidInput`."""
    if path is None:
        if key is not None:
            raise InvalidInput(
                "--key needs --journal, such as --journal jobs.db: without one it would be "
                "forgotten when this command ends, and a second run would pay again.",
                field="journal",
            )
        return desk.client()
    check_key(key)
    desk.again = shlex.join(["a2e", "journal", "resume", str(path)])
    from a2e_async.tasks.journal_sqlite import SqliteJournal

    return desk.client(SqliteJournal(path))


async def _start(
    desk: Desk, namespace: Any, inputs: Mapping[str, Any], key: str | None
) -> "Task[Any]":
    printer, accepted = desk.printer, list[Event]()
    given = inputs if key is None else {**inputs, "key": key}

    def hear(event: Event) -> None:
        if isinstance(event, Accepted):
            accepted.append(event)

    with progress(printer, f"starting {namespace.kind.name}") as say:
        desk.listeners += [transfers(say), hear]
        try:
            with in_flags(namespace.kind):
                task: Task[Any] = await namespace.start(**given)
        except asyncio.CancelledError:
            printer.note(UNDER_WAY)
            raise
        finally:
            del desk.listeners[-2:]
    desk.track(task)
    if accepted:
        printer.note(f"started {task.ref} · {coins_word(task.coins)}")
    else:
        printer.note(f"{task.ref} is what the key {key!r:.60} stands for; nothing was started")
    return task


def check_told(kind: "TaskKind[..., Any]") -> None:
    """Raise `InvalidInput` for a kind that the service tells nothing of after its start."""
    if not kind.watchable:
        raise InvalidInput(
            f"The service tells nothing of {kind.name} tasks after their start, so that none can "
            f"be shown or waited for. Start one with: a2e start {kind.name}; {ON_SITE}",
            field="kind",
        )


async def wait(desk: Desk, task: "Task[Any]", timeout: float | None) -> Record:
    """Wait for a task and show how it goes. Raises as `Task.wait`."""
    check_told(task.kind)
    desk.track(task)
    name = task.kind.name
    with progress(desk.printer, f"{name} waiting") as say, outages(desk):
        async for record in task.updates(timeout=timeout):
            far = "" if record.progress is None else f" {record.progress:.0%}"
            say(f"{name} {record.status}{far}")
        found: Record = await task.wait(timeout=timeout)
        return found


async def finish(desk: Desk, task: "Task[Any]", *, place: Place, timeout: float | None) -> int:
    """Wait for a task, save every output it has and print where; a failed one's good ones, too."""
    failed: TaskFailed | None = None
    try:
        record = await wait(desk, task, timeout)
    except TaskFailed as error:
        if not error.record.outputs:
            raise
        failed, record = error, error.record
    if found := instead(record):
        desk.printer.note(f"{found[0]} of {task.ref}:")
        desk.printer.out(found[1])
    if found and not record.outputs:
        desk.printer.json({**task_json(task), "files": []})
        return exits.OK
    paths: list[Path] = []
    with progress(desk.printer, f"{task.kind.name} downloading") as say:
        desk.listeners.append(transfers(say))
        target, surprise = place.target(len(record.outputs))
        if surprise:
            desk.printer.note(surprise)
        if failed is None and target.endswith("/"):
            paths = await task.download(target)
        else:
            for output in record.outputs:
                paths.append(await output.save(target))
        desk.listeners.pop()
    for path in paths:
        desk.printer.out(str(path))
    if failed is not None:
        desk.printer.error(f"error: {failed}")
    files = [
        {"path": str(path), **output_json(output)}
        for path, output in zip(paths, record.outputs, strict=True)
    ]
    desk.printer.json({**task_json(task), "files": files})
    return exits.OK if failed is None else exits.FAILED
