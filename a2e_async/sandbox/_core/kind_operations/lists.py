"""Reads several tasks: lists with paging and filters, and batchDetail."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ..api_messages import SandboxRequest, SandboxResponse
from ..api_spec import OBJECT_ID
from ..clock import Moment
from ..kinds.kind import SimulatedKind
from ..service import Service
from ..simulated_task import SimulatedTask
from ..validation import FieldProblem, parse_query

MAX_BATCH_IDS: Final = 200
"""The largest number of ids in one batchDetail request."""


def list_records(
    service: Service, kind: SimulatedKind, request: SandboxRequest, now: Moment
) -> SandboxResponse:
    """Return the records that have not expired, newest first, in the kind's list envelope."""
    operation = request.operation
    values, problems = parse_query(operation, request.query)
    paging = operation.paging
    page, size = 1, 0
    if paging is not None:
        page, size = values.get(paging.page, 1), values.get(paging.size, paging.default_size)
        if not problems and size < 1:
            problems = [FieldProblem(paging.size, "must be at least 1")]
    if problems:
        return service.refuse(400, "Invalid parameters", problems)
    service.drop_expired(kind, now)
    listed = service.listed_tasks[kind.name]
    rows = visible_tasks(service, reversed(listed.values()), now)
    status = (
        kind.status_sequence.done
        if operation.last_segment == "completedRecord"
        else values.get("status")
    )
    if status is None:
        count = len(listed) - _count_hidden(service, kind, now)
    else:
        rows = [task for task in rows if task.status(now) == status]
        count = len(rows)
    if paging is not None:
        rows = _slice_page(rows, page, size)
    records = [service.render(task, now) for task in rows]
    is_bare = operation.path != kind.list_path or (kind.bare_list_without_paging and not values)
    if is_bare or kind.list_envelope is None:
        return service.accept(records)
    rows_name, count_name = kind.list_envelope
    return service.accept({rows_name: records, count_name: count})


def list_running(service: Service, kind: SimulatedKind, now: Moment) -> SandboxResponse:
    """Return the records of the tasks that have not ended, newest first, as a bare array."""
    rows = visible_tasks(service, reversed(service.running_tasks[kind.name].values()), now)
    return service.accept([service.render(task, now) for task in rows])


def batch_detail(
    service: Service, kind: SimulatedKind, ids: Sequence[str], now: Moment
) -> SandboxResponse:
    """Return the records with these ids in random order; unknown ids are left out."""
    if len(ids) > MAX_BATCH_IDS:
        problems = FieldProblem("ids", f"must have at most {MAX_BATCH_IDS} items")
        return service.refuse(400, "Invalid parameters", [problems])
    for index, item in enumerate(ids):
        if not OBJECT_ID.fullmatch(item):
            problem = FieldProblem(f"ids[{index}]", "must be an id of 24 hex digits")
            return service.refuse(400, "Invalid parameters", [problem])
    found = [
        task
        for item in dict.fromkeys(ids)
        if (task := service.find_known_task(kind, item, now)) is not None
    ]
    service.random.shuffle(found)
    return service.accept([service.render(task, now) for task in found])


def visible_tasks(
    service: Service, tasks: Iterable[SimulatedTask], now: Moment
) -> Iterable[SimulatedTask]:
    """Return the tasks that no ``list_lag`` fault hides."""
    if not service.unlisted_tasks:
        return tasks
    return (task for task in tasks if task.unlisted_until <= now.service_time)


def _count_hidden(service: Service, kind: SimulatedKind, now: Moment) -> int:
    service.unlisted_tasks = [
        task
        for task in service.unlisted_tasks
        if task.unlisted_until > now.service_time and not task.deleted
    ]
    return sum(task.kind is kind for task in service.unlisted_tasks)


def _slice_page(rows: Iterable[SimulatedTask], page: int, size: int) -> list[SimulatedTask]:
    first, last = (page - 1) * size, page * size
    return [task for index, task in zip(range(last), rows, strict=False) if index >= first]
