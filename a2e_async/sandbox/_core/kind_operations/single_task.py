"""Operations on one task: detail, delete, rename, and marks such as ``markShared``."""

from __future__ import annotations

from ..api_messages import SandboxRequest, SandboxResponse
from ..api_spec import OBJECT_ID
from ..clock import Moment
from ..kinds.kind import SimulatedKind
from ..service import Service
from ..simulated_task import SimulatedTask
from ..validation import FieldProblem, parse_query


def handle_single_task(
    service: Service, kind: SimulatedKind, request: SandboxRequest, now: Moment
) -> SandboxResponse:
    """Carry out a request about one task of a kind."""
    role, task_id = request.operation.role, request.id
    is_detail = role == "detail"
    if is_detail and kind.detail_id_parameter and not task_id:
        _, problems = parse_query(request.operation, request.query)
        if problems:
            return service.refuse(400, "Invalid parameters", problems)
        task_id = request.query[kind.detail_id_parameter]
    elif not task_id and kind.is_declared and request.operation.query:
        task_id = request.query.get(request.operation.query[0]["name"], "")
    elif not task_id:
        task_id = str(request.body_id)
    if is_detail and not kind.has_first_detail and "/detail/" in request.operation.path:
        return service.refuse(404, "Not found")
    if not OBJECT_ID.fullmatch(task_id):
        problem = FieldProblem("_id", "must be an id of 24 hex digits")
        return service.refuse(400, "Invalid parameters", [problem])
    task = service.find_known_task(kind, task_id, now)
    if is_detail and kind.detail_is_list:
        return service.accept([service.render(task, now)] if task else [])
    if task is None:
        if is_detail and kind.unknown_is_null:
            return service.accept(None)
        return service.refuse(404, "Record not found")
    if is_detail:
        return service.accept(service.render(task, now))
    if role == "delete":
        return _delete(service, task, now)
    if role == "rename" or request.operation.method == "PUT":
        task.record = {**task.record, kind.name_field: request.body["name"]}
        return service.accept(service.render(task, now))
    task.marks.add(request.operation.last_segment)
    return service.accept({"_id": task.id})


def _delete(service: Service, task: SimulatedTask, now: Moment) -> SandboxResponse:
    if task.is_running(now):
        if not task.is_initialized(now):
            return service.refuse(400, "The task is being processed and cannot be deleted")
        if task.kind.refund_deleted:
            service.ledger.refund(task.id, now.calendar, service.new_id(now))
    service.remove_task(task)
    return service.accept({"_id": task.id})
