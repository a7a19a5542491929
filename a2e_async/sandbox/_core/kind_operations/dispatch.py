"""Routes a request of a task kind by its role: start, list, batch detail, one task."""

from __future__ import annotations

from ..api_messages import SandboxRequest, SandboxResponse
from ..clock import Moment
from ..kinds.kind import body_problems
from ..service import Service
from ..validation import schema_problems
from .actions import ACTIONS, retry_failed
from .lists import batch_detail, list_records, list_running
from .single_task import handle_single_task
from .starts import start_tasks


def handle_kind_request(service: Service, request: SandboxRequest, now: Moment) -> SandboxResponse:
    """Carry out one request to an operation of a kind: 400 when the body does not fit."""
    operation = request.operation
    kind = service.kinds[operation.kind]
    action = ACTIONS.get((operation.method, operation.path))
    if operation.role in {"start", "batch_detail"} or operation.body_schema:
        problems = list(schema_problems(operation.body_schema or {"type": "object"}, request.body))
        # The rules of a kind read inputs that only a body of the right types has.
        if not problems and operation.role == "start" and action is None:
            problems = list(body_problems(kind, request.body))
        if problems:
            return service.refuse(400, "Invalid parameters", problems)
    if action is not None:
        return action(service, kind, request, now)
    if operation.role == "start":
        return start_tasks(service, kind, request.body, operation.path, now)
    if operation.role == "batch_detail":
        return batch_detail(service, kind, request.body["ids"], now)
    if operation.role == "list":
        return list_records(service, kind, request, now)
    if operation.role == "list_processing":
        return list_running(service, kind, now)
    if operation.role == "retry":
        return retry_failed(service, kind, request, now)
    return handle_single_task(service, kind, request, now)
