"""Actions on an existing task: retry, further training. They may be charged, so they run once."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from a2e_async._core.context import RequestContext
from a2e_async._core.submission.calls import ChargedCall
from a2e_async._core.tasks.kind import Endpoint, TaskKind, check_task_id
from a2e_async._core.tasks.parsing import StartRefusal, read_id, read_start_response
from a2e_async._core.tasks.task import Task
from a2e_async._core.typeguards import is_mapping
from a2e_async.kinds.operations import require_endpoint
from a2e_async.models import Record

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiResponse

R = TypeVar("R", bound=Record)


async def start_task_action(
    context: RequestContext, kind: TaskKind[..., R], endpoint: Endpoint | None, action: str, id: str
) -> Task[R]:
    """Post ``{_id}`` to an operation that restarts work on a task; return the task to wait for.

    This is the same task, or a new one if the response names one. ``action`` is the name of the
    public method. Raises `StartOutcomeUnknown` if no response arrived, and the `ApiError` with
    which the service refused. If the caller is cancelled meanwhile, the task is unclaimed.
    """
    endpoint = require_endpoint(kind, endpoint, action)
    return await context.charged.call(
        ChargedCall(
            kind=f"{kind.name}.{action}",
            path=endpoint.path,
            body={"_id": check_task_id(id)},
            timeout=context.start_timeout,
            priority=context.priority,
            read_result=partial(read_started_task, context, kind, id),
            on_unclaimed=context.starter.add_unclaimed,
            advice=f"Check {kind.label}.get({id!r}) and {kind.label}.list()",
        )
    )


def read_started_task(
    context: RequestContext, kind: TaskKind[..., R], id: str | None, response: "ApiResponse"
) -> Task[R] | None:
    """Return the task that a response names, or else that of ``id``; None if there is neither."""
    data = response.data
    started = read_start_response(kind, data)
    if isinstance(started, StartRefusal):
        # The response may be the record without its id, with the failure of the earlier attempt.
        # That is no refusal.
        if id is None or not (is_mapping(data) and kind.statuses.field in data):
            return None
        started = None
    ids = tuple(dict.fromkeys(found for raw in started or () if (found := read_id(raw))))
    if not ids and (id is None or response.code is None):
        return None  # nothing in the response is the API's: it may be a gateway's
    now = asyncio.get_running_loop().time()
    return Task(context.tasks, kind, ids or (id or "",), now=now)
