"""Actions on an existing task: retry, further training. They may be charged, so they run once."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from a2e_async.models import Record
from a2e_async.narrow import is_map
from a2e_async.resources.calls import needed
from a2e_async.resources.room import Room
from a2e_async.tasks.charged import ChargedCall
from a2e_async.tasks.kind import Endpoint, TaskKind, check_id
from a2e_async.tasks.status import Refusal, read_id, read_start
from a2e_async.tasks.task import Task

if TYPE_CHECKING:
    from a2e_async.transport.session import Answer

R = TypeVar("R", bound=Record)


async def again(
    context: Room, kind: TaskKind[..., R], endpoint: Endpoint | None, what: str, id: str
) -> Task[R]:
    """Post ``{_id}`` to an operation that restarts work on a task; return the task to wait for.

    This is the same task, or a new one if the response names one. ``action`` is the name of the
    public method. Raises `StartOutcomeUnknown` if no response arrived, and the `ApiError` with
    which the service refused. If the caller is cancelled meanwhile, the task is unclaimed.
    """
    endpoint = needed(kind, endpoint, what)
    return await context.charged.call(
        ChargedCall(
            kind=f"{kind.name}.{what}",
            path=endpoint.path,
            body={"_id": check_id(id)},
            timeout=context.start_timeout,
            priority=context.priority,
            read=partial(_read_started_task, context, kind, id),
            left=context.starter.keep,
            advice=f"Check a2e.{kind.name}.get({id!r}) and a2e.{kind.name}.list()",
        )
    )


def _read_started_task(
    context: Room, kind: TaskKind[..., R], id: str, answer: "Answer"
) -> Task[R] | None:
    data = answer.data
    started = read_start(kind, data)
    if isinstance(started, Refusal):
        # The response may be the record without its id, with the failure of the earlier attempt.
        # That is no refusal.
        if not (is_map(data) and kind.words.field in data):
            return None
        started = None
    ids = tuple(dict.fromkeys(found for raw in started or () if (found := read_id(raw))))
    return Task(context.tasks, kind, ids or (id,), now=asyncio.get_running_loop().time())
