"""``task show|wait|download|rename|delete`` and ``list``: what was started before."""

from typing import Annotated, Any

from cyclopts import App, Parameter

from a2e_async.cli import exits
from a2e_async.cli.ask import agreed
from a2e_async.cli.desk import Desk, conduct
from a2e_async.cli.jobs import Out, Timeout, check_told, finish
from a2e_async.cli.jobs import wait as wait_for
from a2e_async.cli.numbers import WHOLE
from a2e_async.cli.places import place_for
from a2e_async.cli.printer import Printer, columns
from a2e_async.cli.settings import KindName, Online
from a2e_async.cli.show import (
    coins_word,
    counted,
    instead,
    moment,
    record_json,
    record_lines,
    task_json,
)
from a2e_async.errors import InvalidInput
from a2e_async.models import Record, merge_records
from a2e_async.resources.registry import kind_named
from a2e_async.tasks.kind import split_ref

TASK = App(
    name="task",
    help="Look at a task, wait for it, fetch its results, rename it, delete it.",
    sort_key=8,
)

Ref = Annotated[str, Parameter(help="The task, as start printed it: dubbing:66ea4dd8….")]


@TASK.command
def show(ref: Ref, /, *, settings: Online = Online()) -> int:  # noqa: B008  # frozen
    """Say how a task stands, without waiting."""

    async def work(desk: Desk) -> int:
        name, ids = split_ref(ref)
        check_told(kind_named(name))
        async with desk.client() as a2e:
            found: list[Record] = [await a2e.kind(name).get(id) for id in ids]
        for record in found:
            desk.printer.out(columns(record_lines(record, name)))
        desk.printer.json({**record_json(merge_records(tuple(found)), name), "ref": ref})
        return exits.OK

    return conduct(settings, work)


@TASK.command
def wait(ref: Ref, /, *, timeout: Timeout = None, settings: Online = Online()) -> int:  # noqa: B008  # frozen
    """Wait until a task has ended."""

    async def work(desk: Desk) -> int:
        async with desk.client() as a2e:
            task = a2e.attach(ref)
            record = await wait_for(desk, task, timeout)
        made = instead(record)
        result = " ".join(made) if made else counted(len(record.outputs), "output")
        desk.printer.out(f"{task.ref} · {record.status} · {coins_word(record.coins)} · {result}")
        desk.printer.json(task_json(task))
        return exits.OK

    return conduct(settings, work)


@TASK.command
def download(
    ref: Ref,
    /,
    *,
    out: Out = ".",
    timeout: Timeout = None,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """Wait if need be, save a task's results and print where they are."""

    async def work(desk: Desk) -> int:
        place = place_for(out)
        async with desk.client() as a2e:
            return await finish(desk, a2e.attach(ref), place=place, timeout=timeout)

    return conduct(settings, work)


@TASK.command
def rename(
    ref: Ref,
    name: Annotated[str, Parameter(help="Its new name.")],
    /,
    *,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """Give a task another name, for the kinds that can be renamed."""

    async def work(desk: Desk) -> int:
        kind, ids = split_ref(ref)
        if kind_named(kind).rename_at is None:
            raise InvalidInput(f"{kind} has no rename operation at the service.", field="ref")
        async with desk.client() as a2e:
            namespace: Any = a2e.kind(kind)
            for id in ids:
                await namespace.rename(id, name)
        desk.printer.note(f"renamed {ref}")
        desk.printer.json({"ref": ref, "name": name})
        return exits.OK

    return conduct(settings, work)


@TASK.command
def delete(
    ref: Ref,
    /,
    *,
    yes: Annotated[
        bool, Parameter(name=("--yes", "-y"), negative="", show_default=False, help="Do not ask.")
    ] = False,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """Delete a task and its results at the service."""

    async def work(desk: Desk) -> int:
        async with desk.client() as a2e:
            await a2e.attach(ref).delete()
        desk.printer.note(f"deleted {ref}")
        desk.printer.json({"ref": ref, "deleted": True})
        return exits.OK

    printer, question = Printer(as_json=settings.json), f"Delete {ref} and its results?"
    if not yes and not agreed(printer, question, "delete", "deleted"):
        return exits.USAGE
    return conduct(settings, work)


def list_tasks(
    kind: KindName,
    /,
    *,
    page: Annotated[int, Parameter(help="Which page, from 1.", converter=WHOLE)] = 1,
    page_size: Annotated[int, Parameter(help="Tasks on a page.", converter=WHOLE)] = 20,
    status: Annotated[
        str | None,
        Parameter(help="Only those with this word of the service; few kinds' lists take one."),
    ] = None,
    settings: Online = Online(),  # noqa: B008  # frozen
) -> int:
    """List the account's tasks of one kind, newest first."""

    async def work(desk: Desk) -> int:
        kind_named(kind)
        async with desk.client() as a2e:
            found = await a2e.kind(kind).list(page=page, page_size=page_size, status=status)
        desk.printer.out(columns([HEAD, *(_row(kind, record) for record in found)]))
        shown = f"{len(found)} shown" + ("" if found.total is None else f" of {found.total}")
        desk.printer.note(f"page {page} · {shown}")
        items = [record_json(record, kind) for record in found]
        desk.printer.json({"kind": kind, "page": page, "total": found.total, "items": items})
        return exits.OK

    return conduct(settings, work)


HEAD = ("REF", "STATUS", "COINS", "CREATED", "NAME")


def _row(kind: str, record: Record) -> tuple[str, ...]:
    coins: Any = "" if record.coins is None else record.coins
    created = moment(record.created_at) if record.created_at else ""
    return f"{kind}:{record.id}", str(record.status), str(coins), created, record.name or ""
