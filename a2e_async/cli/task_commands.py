"""``task show|wait|download|rename|delete`` and ``list``: tasks that were started before."""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from a2e_async._core.tasks.kind import creation_time_of_id, split_ref
from a2e_async.cli import exit_codes
from a2e_async.cli.common_flags import Force, KindName, Ref, ServiceFlags, Yes
from a2e_async.cli.confirmation import confirm
from a2e_async.cli.context import CommandContext
from a2e_async.cli.formatting import (
    format_coins,
    format_count,
    format_time,
    record_json,
    record_lines,
    task_json,
    text_result,
)
from a2e_async.cli.known_kinds import kind_named, known_kinds
from a2e_async.cli.number_parsing import WHOLE
from a2e_async.cli.output_paths import Name, check_name, media_of, prepare_destination
from a2e_async.cli.printer import Printer, columns
from a2e_async.cli.runner import run_command
from a2e_async.cli.start_commands import Out, Timeout, check_pollable, finish
from a2e_async.cli.start_commands import wait as wait_for
from a2e_async.errors import A2EError, InvalidInput, InvalidRequest, NotFound, TaskGone
from a2e_async.models import Record, merge_records

if TYPE_CHECKING:
    from a2e_async._core.tasks.task import Task
    from a2e_async.client import A2E

TASK = App(
    name="task",
    help="Show a task, wait for it, download its results, rename it, delete it.",
    sort_key=8,
)


async def attach_known(a2e: "A2E", ref: str) -> "Task[Any]":
    """Return the task of a ref.

    Raises `InvalidInput` at once for an id of another form than the service gives out, if the
    service does not know it. A wait cannot tell that from a task that is not shown yet.
    """
    task: Task[Any] = a2e.attach(ref)
    for id in task.ids:
        # Other services that a user declared have ids of their own.
        if creation_time_of_id(id) is not None or task.kind.name in known_kinds().declared:
            continue
        try:
            await a2e.kind(task.kind.name).get(id)
        except (NotFound, InvalidRequest) as error:
            if _is_from_service(error):
                raise InvalidInput(
                    f"{id!r:.60} is not the id of a task: ids of {task.kind.name} tasks have 24 "
                    "characters, 0 to 9 and a to f.",
                    field="ref",
                ) from error
        except A2EError:
            pass  # it says nothing about the task; the command reports it
    return task


def _is_from_service(error: NotFound | InvalidRequest) -> bool:
    """Return whether the service itself does not know a task, and not something in between."""
    return error.from_api or error.http_status == 200


@TASK.command
def show(ref: Ref, /, *, flags: ServiceFlags = ServiceFlags()) -> int:  # noqa: B008  # frozen
    """Print a task's status and outputs, without waiting."""

    async def work(context: CommandContext) -> int:
        name, ids = split_ref(ref)
        check_pollable(kind_named(name))
        async with context.client() as a2e:
            task: Task[Any] = await attach_known(a2e, ref)
            try:
                records: list[Record] = [await a2e.kind(name).get(id) for id in ids]
            except NotFound as error:
                if not _is_from_service(error):
                    raise
                raise TaskGone(f"The service does not know {ref}.", task=task) from error
        for record in records:
            context.printer.out(columns(record_lines(record, name)))
        context.printer.json({**record_json(merge_records(tuple(records)), name), "ref": ref})
        return exit_codes.OK

    return run_command(flags, work)


@TASK.command
def wait(ref: Ref, /, *, timeout: Timeout = None, flags: ServiceFlags = ServiceFlags()) -> int:  # noqa: B008  # frozen
    """Wait until a task has ended."""

    async def work(context: CommandContext) -> int:
        async with context.client() as a2e:
            task = await attach_known(a2e, ref)
            record = await wait_for(context, task, timeout)
        text = text_result(record)
        result = " ".join(text) if text else format_count(len(record.outputs), "output")
        context.printer.out(
            f"{task.ref} · {record.status} · {format_coins(record.coins)} · {result}"
        )
        context.printer.json(task_json(task))
        return exit_codes.OK

    return run_command(flags, work)


@TASK.command
def download(
    ref: Ref,
    /,
    *,
    out: Out = ".",
    force: Force = False,
    name: Name = None,
    timeout: Timeout = None,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Wait for a task if needed, save its results and print their paths."""

    async def work(context: CommandContext) -> int:
        template = check_name(name, many_tasks=False)
        if template is not None and template.needs_key:
            raise InvalidInput(
                "--name has {key}, but only a journal knows a task's key: use {id} here, or "
                "a2e journal resume.",
                field="name",
            )
        destination = prepare_destination(out)
        if template is not None and destination.is_file:
            raise InvalidInput(
                f"--out {out} names the file already: --name goes with a directory.", field="name"
            )
        destination.check_media(split_ref(ref)[0], media_of(kind_named(split_ref(ref)[0])))
        destination.check_free(force=force)
        async with context.client() as a2e:
            task = await attach_known(a2e, ref)
            return await finish(
                context, task, destination=destination, timeout=timeout, name=template
            )

    return run_command(flags, work)


@TASK.command
def rename(
    ref: Ref,
    name: Annotated[str, Parameter(help="Its new name.")],
    /,
    *,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Rename a task, for kinds that support it."""

    async def work(context: CommandContext) -> int:
        kind, ids = split_ref(ref)
        if kind_named(kind).rename is None:
            raise InvalidInput(f"The service cannot rename {kind} tasks.", field="ref")
        async with context.client() as a2e:
            namespace: Any = a2e.kind(kind)
            for id in ids:
                await namespace.rename(id, name)
        context.printer.note(f"renamed {ref}")
        context.printer.json({"ref": ref, "name": name})
        return exit_codes.OK

    return run_command(flags, work)


@TASK.command
def delete(
    ref: Ref,
    /,
    *,
    yes: Yes = False,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """Delete a task and its results from the service."""

    async def work(context: CommandContext) -> int:
        async with context.client() as a2e:
            await a2e.attach(ref).delete()
        context.printer.note(f"deleted {ref}")
        context.printer.json({"ref": ref, "deleted": True})
        return exit_codes.OK

    printer, question = Printer(as_json=flags.json), f"Delete {ref} and its results?"
    if not yes and not confirm(printer, question, "delete", "deleted"):
        return exit_codes.USAGE
    return run_command(flags, work)


def list_tasks(
    kind: KindName,
    /,
    *,
    page: Annotated[int, Parameter(help="Page of the list, from 1.", converter=WHOLE)] = 1,
    page_size: Annotated[int, Parameter(help="Tasks per page.", converter=WHOLE)] = 20,
    status: Annotated[
        str | None,
        Parameter(
            help="Only tasks with this status, in the service's spelling; few kinds support it."
        ),
    ] = None,
    flags: ServiceFlags = ServiceFlags(),  # noqa: B008  # frozen
) -> int:
    """List the account's tasks of one kind, newest first."""

    async def work(context: CommandContext) -> int:
        kind_named(kind)
        async with context.client() as a2e:
            found = await a2e.kind(kind).list(page=page, page_size=page_size, status=status)
        context.printer.out(columns([COLUMNS, *(_row(kind, record) for record in found)]))
        shown = f"{len(found)} shown" + ("" if found.total is None else f" of {found.total}")
        context.printer.note(f"page {page} · {shown}")
        items = [record_json(record, kind) for record in found]
        context.printer.json({"kind": kind, "page": page, "total": found.total, "items": items})
        return exit_codes.OK

    return run_command(flags, work)


COLUMNS = ("REF", "STATUS", "COINS", "CREATED", "NAME")


def _row(kind: str, record: Record) -> tuple[str, ...]:
    coins: Any = "" if record.coins is None else record.coins
    created = format_time(record.created_at) if record.created_at else ""
    return f"{kind}:{record.id}", str(record.status), str(coins), created, record.name or ""
