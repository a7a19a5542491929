"""Looks at several tasks: lists with their paging and filters, and batchDetail."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from ..clock import Moment
from ..kinds.registry import Kind
from ..api_spec import OBJECT_ID, Problem, query_problems
from ..simulated_task import Task

if TYPE_CHECKING:
    from ..service import Answer, Request, Service

BATCH_LIMIT: Final = 200
"""Most ids one batchDetail call may ask for."""


def list_records(service: Service, kind: Kind, request: Request, now: Moment) -> Answer:
    """Returns the records that have not expired, newest first, in the shape of the kind."""
    operation = request.operation
    values, wrong = query_problems(operation, request.query)
    paging = operation.paging
    page, size = 1, 0
    if paging is not None:
        page, size = values.get(paging.page, 1), values.get(paging.size, paging.usual)
        if not wrong and size < 1:
            wrong = [Problem(paging.size, "must be at least 1")]
    if wrong:
        return service.refuse(400, "Invalid parameters", wrong)
    service.expire(kind, now)
    listed = service.listed[kind.name]
    rows = visible(service, reversed(listed.values()), now)
    word = kind.walk.done if operation.action == "completedRecord" else values.get("status")
    if word is None:
        count = len(listed) - _hidden(service, kind, now)
    else:
        rows = [task for task in rows if task.word(now) == word]
        count = len(rows)
    if paging is not None:
        rows = _page(rows, page, size)
    records = [service.render(task, now) for task in rows]
    is_bare = operation.path != kind.list_path or (kind.bare_list and not values)
    if is_bare or kind.list_shape is None:
        return service.accept(records)
    rows_name, count_name = kind.list_shape
    return service.accept({rows_name: records, count_name: count})


def running_records(service: Service, kind: Kind, now: Moment) -> Answer:
    """Returns the records of the tasks that have not ended, newest first, as a bare array."""
    rows = visible(service, reversed(service.running[kind.name].values()), now)
    return service.accept([service.render(task, now) for task in rows])


def batch_detail(service: Service, kind: Kind, ids: Sequence[str], now: Moment) -> Answer:
    """Returns the records with these ids in any order; unknown ids are missing."""
    if len(ids) > BATCH_LIMIT:
        wrong = Problem("ids", f"must have at most {BATCH_LIMIT} items")
        return service.refuse(400, "Invalid parameters", [wrong])
    for index, item in enumerate(ids):
        if not OBJECT_ID.fullmatch(item):
            problem = Problem(f"ids[{index}]", "must be an id of 24 hex digits")
            return service.refuse(400, "Invalid parameters", [problem])
    found = [
        task for item in dict.fromkeys(ids) if (task := service.known(kind, item, now)) is not None
    ]
    service.random.shuffle(found)
    return service.accept([service.render(task, now) for task in found])


def visible(service: Service, tasks: Iterable[Task], now: Moment) -> Iterable[Task]:
    """Returns those of the tasks that the lists show already."""
    if not service.lagging:
        return tasks
    return (task for task in tasks if task.unlisted_until <= now.work)


def _hidden(service: Service, kind: Kind, now: Moment) -> int:
    service.lagging = [
        task for task in service.lagging if task.unlisted_until > now.work and not task.deleted
    ]
    return sum(task.kind is kind for task in service.lagging)


def _page(rows: Iterable[Task], page: int, size: int) -> list[Task]:
    first, last = (page - 1) * size, page * size
    return [task for index, task in zip(range(last), rows, strict=False) if index >= first]
