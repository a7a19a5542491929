"""Starts: checks, charges and creates tasks with their first records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from ..api_messages import SandboxResponse
from ..api_spec import Operation, all_operations
from ..clock import Moment, format_iso
from ..faults import TASK_FAULTS
from ..kinds.kind import UNKNOWN_SOURCE_SECONDS, Body, SimulatedKind, media_urls
from ..kinds.registry import KINDS
from ..ledger import Charge
from ..object_store import result_task_id
from ..service import Service
from ..simulated_task import PlannedFailure, SimulatedTask, build_initial_record, draw_duration
from ..validation import FieldProblem

UNECHOED_INPUTS: Final = frozenset({"webhook_url", "webhook_token"})
"""Inputs that are not echoed in records."""

_SORTED_TASK_FAULTS: Final = tuple(sorted(TASK_FAULTS))


def start_tasks(
    service: Service, kind: SimulatedKind, body: Body, path: str, now: Moment
) -> SandboxResponse:
    """Carry out a start with a valid body; return its record or records, or a failure."""
    if (rejection := kind.reject(body)) is not None:
        if rejection.data is not None:
            return service.accept(dict(rejection.data))
        return service.refuse(rejection.status, rejection.message, code=rejection.code)
    if kind.one_at_a_time and service.running_tasks[kind.name]:
        return service.refuse(400, "Another training is still running: one at a time per account")
    length = service.measure_source(kind, body, now)
    if length is not None and length > kind.max_source_seconds:
        problems = FieldProblem(
            kind.media_inputs[0], f"must be at most {kind.max_source_seconds:g} seconds long"
        )
        return service.refuse(400, "Invalid parameters", [problems])
    count, coins = kind.output_count(body), kind.price(body, length)
    ids = tuple(service.new_id(now) for _ in range(count))
    charge = Charge(kind.name, ids, coins * count, now.calendar, path, dict(body))
    if (refusal := service.deduct(charge, now)) is not None:
        return refusal
    records: list[dict[str, Any]] = []
    for task_id in ids:
        task = new_task(service, kind, task_id, charge.body, length, coins, now)
        service.add_task(task)
        records.append(service.render(task, now))
    is_list = count > 1 or kind.start_data_is_list
    return service.accept(records if is_list else records[0])


def new_task(
    service: Service,
    kind: SimulatedKind,
    task_id: str,
    body: Body,
    length: float | None,
    coins: int,
    now: Moment,
) -> SimulatedTask:
    """Return a task that starts now, with the queued faults applied.

    ``length`` is the length of its first medium in seconds (None: unknown), ``coins`` its price.
    """
    created = format_iso(now.calendar)
    shown: Any = [] if kind.result_list else ""
    known: dict[str, Any] = {
        **dict.fromkeys(kind.result_fields, shown),
        **kind.fixed_echoes,
        "_id": task_id,
        "user_id": service.user_id,
        "coins": coins,
        "createdAt": created,
        "updatedAt": created,
        kind.status_field: kind.status_sequence.initial,
        kind.failure_field: kind.no_failure_values[0],
        kind.code_field: kind.no_failure_values[1],
        kind.progress_field: 0,
        kind.product_id_field: "",
    }
    if kind.length_field:
        known[kind.length_field] = max(
            1, round(UNKNOWN_SOURCE_SECONDS if length is None else length)
        )
    if kind.is_declared:
        echoed = frozenset(body) - UNECHOED_INPUTS
        fields = tuple(filter(None, (*known, kind.name_field)))
    else:
        fields, echoed = _record_fields(kind.name)
    if echoed:
        fields = tuple(dict.fromkeys((*fields, *(name for name in body if name in echoed))))
    task = SimulatedTask(
        task_id,
        kind,
        body,
        build_initial_record(kind, fields, body, known),
        now,
        draw_duration(kind, service.durations, service.random, length),
        service.speed,
        failure=_plan_failure(service, kind, body, now),
        source_seconds=length,
        recipe="image" if service.returns_image(kind, body, now) else kind.recipe,
    )
    apply_task_faults(service, task, now)
    return task


def apply_task_faults(service: Service, task: SimulatedTask, now: Moment) -> None:
    """Apply the queued faults and the kind's time limit to a task that starts now."""
    for name in () if service.faults.is_idle else _SORTED_TASK_FAULTS:
        fault = service.faults.take(frozenset({name}), "start", task.kind.name)
        if fault is None:
            continue
        values = fault.values
        if name == "stuck":
            task.duration = math.inf
        elif name == "done_at_once":
            task.duration = 0.0
        elif name == "fail":
            task.failure = PlannedFailure(values["message"], values["code"])
        elif name == "odd_status":
            task.unknown_status = values["word"]
        elif name == "no_result":
            task.has_result = False
        elif name == "early_webhook":
            service.due_webhooks += [task] if service.has_webhook(task) else []
        elif name == "not_found_after_start":
            task.unknown_until = now.service_time + values["seconds"]
        else:
            task.unlisted_until = now.service_time + values["seconds"]
            service.unlisted_tasks.append(task)
    if task.duration > task.kind.gives_up_after:
        task.duration = task.kind.gives_up_after
        task.failure = PlannedFailure("The task took too long and was given up", "504")


def restart_failed(service: Service, task: SimulatedTask, now: Moment) -> None:
    """Let a task run through its kind's status sequence again."""
    task.failure = _plan_failure(service, task.kind, task.body, now)
    duration = draw_duration(task.kind, service.durations, service.random, task.source_seconds)
    task.start_sequence(task.kind.status_sequence, duration, now, keeps_results=False)
    apply_task_faults(service, task, now)


def _plan_failure(
    service: Service, kind: SimulatedKind, body: Body, now: Moment
) -> PlannedFailure | None:
    for name, url in media_urls(kind, body):
        if not _input_exists(service, url, now):
            return PlannedFailure(f"{name} could not be downloaded", "404")
    if service.random.random() < service.failure_rate:
        return PlannedFailure("generation failed, please try again", "500")
    return None


def _input_exists(service: Service, url: str, now: Moment) -> bool:
    """Return whether an input exists; URLs outside the sandbox's storage count as existing."""
    if not service.store.is_storage_url(url):
        return True
    if service.store.find_by_url(url, now.calendar) is not None:
        return True
    return "/results/" in url and service.find_result_task(result_task_id(url), now) is not None


@cache
def _record_fields(name: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the fields of a kind's records, and the inputs that are echoed if they were sent.

    For kinds whose complete records are documented, these are exactly their fields. For the
    others, records have the usual fields and every input that was sent.
    """
    kind = KINDS[name]
    operation = _start_operations()[kind.start_path]
    seen = operation.record_fields
    if "createdAt" in seen:
        return seen, frozenset()
    field_names = (
        "_id",
        "user_id",
        kind.name_field,
        kind.status_field,
        kind.progress_field,
        "coins",
        *kind.result_fields,
        kind.failure_field,
        kind.code_field,
        "createdAt",
        "updatedAt",
        *kind.echo_defaults,
        *seen,
    )
    inputs = (operation.body_schema or {}).get("properties", {})
    return tuple(dict.fromkeys(filter(None, field_names))), frozenset(inputs) - UNECHOED_INPUTS


@cache
def _start_operations() -> Mapping[str, Operation]:
    return {item.path: item for item in all_operations() if item.role == "start"}
