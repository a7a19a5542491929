"""Starting a task's work once more: retry, further training. It may cost, so it is sent once."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from a2e_async.errors import InvalidRequest
from a2e_async.models import Record
from a2e_async.narrow import is_map
from a2e_async.redact import excerpt
from a2e_async.resources.calls import needed
from a2e_async.resources.room import Room
from a2e_async.tasks.kind import Endpoint, TaskKind, check_id
from a2e_async.tasks.status import Refusal, read_id, read_start
from a2e_async.tasks.task import Task
from a2e_async.transport.ratelimit import Priority
from a2e_async.transport.retry import Repeat

if TYPE_CHECKING:
    from a2e_async.transport.session import Answer

R = TypeVar("R", bound=Record)


async def again(
    room: Room, kind: TaskKind[..., R], endpoint: Endpoint | None, what: str, id: str
) -> Task[R]:
    """Send ``{_id}`` to an operation that works on a task once more; return what to wait for.

    That is the same task, or a new one where the answer names one. An answer that is lost is
    raised, not asked for again. Raises `InvalidRequest` when the service refused.
    """
    endpoint = needed(kind, endpoint, what)
    body: Mapping[str, Any] = {"_id": check_id(id)}
    answer: Answer = await room.session.request(
        endpoint.method,
        endpoint.path,
        json=body,
        repeat=Repeat.CHARGED,
        timeout=room.start_timeout,
        priority=Priority.START if room.priority is None else room.priority,
    )
    started = read_start(kind, answer.data)
    if isinstance(started, Refusal):
        # A record without its id still shows why it failed before: that is no refusal.
        if not (is_map(answer.data) and kind.words.field in answer.data):
            raise InvalidRequest(
                http_status=answer.http_status,
                code=answer.code,
                message=excerpt(started.reason),
                trace_id=answer.trace_id,
                method=endpoint.method,
                path=endpoint.path,
                advice="The service began nothing.",
            )
        started = None
    rows = started or ()
    ids = tuple(dict.fromkeys(found for raw in rows if (found := read_id(raw))))
    return Task(room.tasks, kind, ids or (id,), now=room.session.clock())
