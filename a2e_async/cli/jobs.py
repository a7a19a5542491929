"""``start``, ``run`` and ``quote``: one command for each kind, made from its declaration."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter

from a2e_async.cli import exits
from a2e_async.cli.desk import Desk, conduct
from a2e_async.cli.flags import as_command
from a2e_async.cli.outages import outages
from a2e_async.cli.places import make_ready
from a2e_async.cli.progress import progress, transfers
from a2e_async.cli.settings import Online
from a2e_async.cli.show import coins_word, output_json, task_json
from a2e_async.errors import TaskFailed
from a2e_async.models import Record
from a2e_async.resources.registry import kind_named, kind_names
from a2e_async.tasks.task import Task

WAITING = Group("Waiting", sort_key=50)

Timeout = Annotated[
    float | None,
    Parameter(
        group=WAITING,
        help="How long to wait for the task; it goes on when the time is over.",
    ),
]
Out = Annotated[
    Path,
    Parameter(name=("--out", "-o"), group=WAITING, help="Where results are saved."),
]
_NOWHERE = Path()

_HELP = {
    "start": "Start a task and print its ref. Costs coins.",
    "run": "Start a task, wait for it and save its results. Costs coins.",
    "quote": "Say what a start would cost. Free; nothing is uploaded.",
}


def verbs(tokens: Sequence[str]) -> Iterator[App]:
    """Yield ``start``, ``run`` and ``quote``; kinds are read only for the one that is called."""
    works: dict[str, Callable[..., int]] = {"start": start, "run": run, "quote": quote}
    for place, (verb, work) in enumerate(works.items()):
        app = App(name=verb, help=_HELP[verb], sort_key=3 + place)
        own = ("out", "timeout", "settings") if verb == "run" else ("settings",)
        for name in kind_names() if verb in tokens else ():
            command = as_command(kind_named(name), work, own)
            app.command(command, name=name, help=describe(name))
        yield app


def describe(kind: str) -> str:
    """Return what a kind does, in a line."""
    import importlib

    said = importlib.import_module(kind_named(kind).input.__module__).__doc__ or ""
    return said.strip().splitlines()[0]


def start(kind: str, inputs: Mapping[str, Any], *, settings: Online = Online()) -> int:  # noqa: B008  # frozen
    """Start a task; its ref goes to stdout."""

    async def work(desk: Desk) -> int:
        async with desk.client() as a2e:
            task = await _start(desk, a2e.kind(kind), inputs)
        desk.printer.out(task.ref)
        desk.printer.json(task_json(task))
        return exits.OK

    return conduct(settings, work)


def run(
    kind: str,
    inputs: Mapping[str, Any],
    *,
    out: Out = _NOWHERE,
    timeout: Timeout = None,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """Start a task, wait, save; the paths go to stdout."""

    async def work(desk: Desk) -> int:
        make_ready(out)
        async with desk.client() as a2e:
            task = await _start(desk, a2e.kind(kind), inputs)
            return await finish(desk, task, out=out, timeout=timeout)

    return conduct(settings, work)


def quote(kind: str, inputs: Mapping[str, Any], *, settings: Online = Online()) -> int:  # noqa: B008  # frozen
    """Ask for the price of a start."""

    async def work(desk: Desk) -> int:
        async with desk.client() as a2e:
            coins = await a2e.kind(kind).quote(**inputs)
        if coins is None:
            desk.printer.note("The service does not say what this costs.")
        desk.printer.out("unknown" if coins is None else str(coins))
        desk.printer.json({"kind": kind, "coins": coins})
        return exits.OK

    return conduct(settings, work)


async def _start(desk: Desk, namespace: Any, inputs: Mapping[str, Any]) -> Task[Any]:
    printer = desk.printer
    with progress(printer, f"starting {namespace.kind.name}") as say:
        desk.listeners.append(transfers(say))
        try:
            task: Task[Any] = await namespace.start(**inputs)
        except asyncio.CancelledError:
            printer.note("A start may be under way; waiting for its answer, at most 30 s.")
            raise
        finally:
            desk.listeners.pop()
    desk.track(task)
    printer.note(f"started {task.ref} · {coins_word(task.coins)}")
    return task


async def wait(desk: Desk, task: Task[Any], timeout: float | None) -> Record:
    """Wait for a task and show how it goes. Raises as `Task.wait`."""
    desk.track(task)
    name = task.kind.name
    with progress(desk.printer, f"{name} waiting") as say, outages(desk):
        async for record in task.updates(timeout=timeout):
            far = "" if record.progress is None else f" {record.progress:.0%}"
            say(f"{name} {record.status}{far}")
        found: Record = await task.wait(timeout=timeout)
        return found


async def finish(desk: Desk, task: Task[Any], *, out: Path, timeout: float | None) -> int:
    """Wait for a task, save every output it has and print where; a failed one's good ones, too."""
    failed: TaskFailed | None = None
    try:
        record = await wait(desk, task, timeout)
    except TaskFailed as error:
        if not error.record.outputs:
            raise
        failed, record = error, error.record
    paths: list[Path] = []
    with progress(desk.printer, f"{task.kind.name} downloading") as say:
        desk.listeners.append(transfers(say))
        if failed is None:
            paths = await task.download(out)
        else:
            for output in record.outputs:
                paths.append(await output.save(f"{out}/"))
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
