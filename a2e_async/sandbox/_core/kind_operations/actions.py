"""Operations that only one kind has: retries, more training, larger files, prompt extension."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from ..api_messages import SandboxRequest, SandboxResponse
from ..api_spec import OBJECT_ID
from ..clock import Moment
from ..kinds.kind import SimulatedKind
from ..kinds.status_sequences import EYE_CONTACT_SEQUENCE, TWIN_RETRAINING_SEQUENCE, StatusSequence
from ..ledger import Charge
from ..service import Service
from ..simulated_task import SimulatedTask, draw_duration
from ..validation import FieldProblem
from .lists import list_running
from .prompt_extension import extend_prompt
from .starts import apply_task_faults, new_task, restart_failed

ActionHandler = Callable[[Service, SimulatedKind, SandboxRequest, Moment], SandboxResponse]

EYE_CONTACT_COINS: Final = 30
"""The price of one eye contact correction."""

LARGE_FILE_DELAY: Final = 30.0
"""Service seconds from the end of a veo task until its 1080p file is ready."""

LARGE_FILE_PART: Final = "1080p"
"""The file part in a result URL that selects the larger file."""


def _extend_prompt(
    service: Service, kind: SimulatedKind, request: SandboxRequest, now: Moment
) -> SandboxResponse:
    return service.accept(extend_prompt(request.body))


def _average_time(
    service: Service, kind: SimulatedKind, request: SandboxRequest, now: Moment
) -> SandboxResponse:
    return service.accept({"avgProcessingTime": round(kind.median_seconds)})


def _queue_level(
    service: Service, kind: SimulatedKind, request: SandboxRequest, now: Moment
) -> SandboxResponse:
    return service.accept({"level": 0})


def _list_running(
    service: Service, kind: SimulatedKind, request: SandboxRequest, now: Moment
) -> SandboxResponse:
    return list_running(service, kind, now)


def _get_1080p(
    service: Service, kind: SimulatedKind, request: SandboxRequest, now: Moment
) -> SandboxResponse:
    task = _require_task(service, kind, request.id, now)
    if not isinstance(task, SimulatedTask):
        return task
    if task.body.get("aspectRatio") != "16:9":
        return service.refuse(400, "1080p is available for 16:9 videos only")
    if task.failure and not task.is_running(now):
        return service.refuse(400, "The task has failed")
    if now.service_time < task.end_time + LARGE_FILE_DELAY:
        return service.accept(None, status=202)
    url = service.sign_result_url(task, now, LARGE_FILE_PART)
    return service.accept({"_id": task.id, "video_output": url})


def _continue_training(
    service: Service, kind: SimulatedKind, request: SandboxRequest, now: Moment
) -> SandboxResponse:
    return _restart_twin(service, kind, request, now, TWIN_RETRAINING_SEQUENCE, 0)


def _correct_eye_contact(
    service: Service, kind: SimulatedKind, request: SandboxRequest, now: Moment
) -> SandboxResponse:
    return _restart_twin(service, kind, request, now, EYE_CONTACT_SEQUENCE, EYE_CONTACT_COINS)


def _restart_twin(
    service: Service,
    kind: SimulatedKind,
    request: SandboxRequest,
    now: Moment,
    sequence: StatusSequence,
    coins: int,
) -> SandboxResponse:
    """Run a finished twin through another status sequence; its results stay visible."""
    task = _require_task(service, kind, request.body_id, now)
    if not isinstance(task, SimulatedTask):
        return task
    if task.is_running(now) or task.failure:
        return service.refuse(400, "The video twin is not finished")
    if coins and (refusal := _charge_task(service, kind, task.id, coins, request, now)) is not None:
        return refusal
    duration = draw_duration(kind, service.durations, service.random)
    task.start_sequence(sequence, duration, now, keeps_results=True)
    apply_task_faults(service, task, now)
    service.track_running(task)
    return service.accept(service.render(task, now))


def retry_failed(
    service: Service,
    kind: SimulatedKind,
    request: SandboxRequest,
    now: Moment,
    *,
    in_place: bool = True,
) -> SandboxResponse:
    """Start a failed task again, under the same id or as a new task; it is charged again."""
    task = _require_failed_task(service, kind, request, now)
    if not isinstance(task, SimulatedTask):
        return task
    task_id = task.id if in_place else service.new_id(now)
    coins = kind.price(task.body, task.source_seconds)
    if (refusal := _charge_task(service, kind, task_id, coins, request, now)) is not None:
        return refusal
    if in_place:
        restart_failed(service, task, now)
        service.track_running(task)
    else:
        task = new_task(service, kind, task_id, task.body, task.source_seconds, coins, now)
        service.add_task(task)
    return service.accept(service.render(task, now))


def _require_failed_task(
    service: Service, kind: SimulatedKind, request: SandboxRequest, now: Moment
) -> SimulatedTask | SandboxResponse:
    task = _require_task(service, kind, request.body_id, now)
    if isinstance(task, SimulatedTask) and (task.is_running(now) or not task.failure):
        return service.refuse(400, "Only failed tasks can be retried")
    return task


def _charge_task(
    service: Service,
    kind: SimulatedKind,
    task_id: str,
    coins: int,
    request: SandboxRequest,
    now: Moment,
) -> SandboxResponse | None:
    path, body = request.operation.path, dict(request.body)
    charge = Charge(kind.name, (task_id,), coins, now.calendar, path, body)
    return service.deduct(charge, now)


def _require_task(
    service: Service, kind: SimulatedKind, task_id: Any, now: Moment
) -> SimulatedTask | SandboxResponse:
    if not (isinstance(task_id, str) and OBJECT_ID.fullmatch(task_id)):
        problem = FieldProblem("_id", "must be an id of 24 hex digits")
        return service.refuse(400, "Invalid parameters", [problem])
    return service.find_known_task(kind, task_id, now) or service.refuse(404, "Record not found")


ACTIONS: Final[Mapping[tuple[str, str], ActionHandler]] = {
    ("POST", "/api/v1/userImage2Video/prompt_extension"): _extend_prompt,
    ("POST", "/api/v1/userImage2Video/flf2v_prompt_extension"): _extend_prompt,
    ("GET", "/api/v1/userImage2Video/avgProcessingTime"): _average_time,
    ("GET", "/api/v1/userImage2Video/unlimitedQueueLevel"): _queue_level,
    ("GET", "/api/v1/userFaceSwapTask/status"): _list_running,
    ("GET", "/api/v1/veoVideo/{_id}/1080p"): _get_1080p,
    ("POST", "/api/v1/userVideoTwin/continueTraining"): _continue_training,
    ("POST", "/api/v1/userVideoTwin/eyeContact"): _correct_eye_contact,
    ("POST", "/api/v1/userVideoTwin/retry"): retry_failed,
    ("POST", "/api/v1/userCaptionRemoval/retry"): partial(retry_failed, in_place=False),
}
"""Handlers by method and path; they take precedence over the handlers by role."""
