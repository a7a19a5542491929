"""The operations of one kind alone: retries, more training, larger files, prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..clock import Moment
from .lists import running_records
from .starts import apply_faults, begin_again, new_task
from ..kinds.registry import Kind
from ..ledger import Charge
from .prompt_extension import extend_prompt
from ..api_spec import OBJECT_ID, Problem
from ..simulated_task import Task, draw_duration
from ..kinds.status_sequences import EYE_CONTACT, TWIN_AGAIN, Walk

if TYPE_CHECKING:
    from ..service import Answer, Request, Service

Action = Callable[["Service", Kind, "Request", Moment], "Answer"]

EYE_COINS: Final = 30
"""Price of one eye contact correction."""

LARGER_AFTER: Final = 30.0
"""Service seconds from the end of a veo task until its 1080p file is ready."""

LARGER: Final = "1080p"
"""The part of a result's name that asks for the larger file."""


def _prompt(service: Service, kind: Kind, request: Request, now: Moment) -> Answer:
    return service.accept(extend_prompt(request.body))


def _average(service: Service, kind: Kind, request: Request, now: Moment) -> Answer:
    return service.accept({"avgProcessingTime": round(kind.median)})


def _level(service: Service, kind: Kind, request: Request, now: Moment) -> Answer:
    return service.accept({"level": 0})


def _running(service: Service, kind: Kind, request: Request, now: Moment) -> Answer:
    return running_records(service, kind, now)


def _larger(service: Service, kind: Kind, request: Request, now: Moment) -> Answer:
    task = _named(service, kind, request.id, now)
    if not isinstance(task, Task):
        return task
    if task.body.get("aspectRatio") != "16:9":
        return service.refuse(400, "1080p is available for 16:9 videos only")
    if task.failure and not task.is_running(now):
        return service.refuse(400, "The task has failed")
    if now.work < task.ends + LARGER_AFTER:
        return service.accept(None, status=202)
    url = service.sign(task, now, LARGER)
    return service.accept({"_id": task.id, "video_output": url})


def _more_training(service: Service, kind: Kind, request: Request, now: Moment) -> Answer:
    return _again(service, kind, request, now, TWIN_AGAIN, 0)


def _eye_contact(service: Service, kind: Kind, request: Request, now: Moment) -> Answer:
    return _again(service, kind, request, now, EYE_CONTACT, EYE_COINS)


def _again(
    service: Service, kind: Kind, request: Request, now: Moment, walk: Walk, coins: int
) -> Answer:
    """Lets a finished twin go another way; what it has made stays."""
    task = _named(service, kind, request.body_id, now)
    if not isinstance(task, Task):
        return task
    if task.is_running(now) or task.failure:
        return service.refuse(400, "The video twin is not finished")
    if coins and (refusal := _pay(service, kind, task.id, coins, request, now)) is not None:
        return refusal
    duration = draw_duration(kind, service.durations, service.random)
    task.begin(walk, duration, now, keeps=True)
    apply_faults(service, task, now)
    service.resume(task)
    return service.accept(service.render(task, now))


def _retry_same(service: Service, kind: Kind, request: Request, now: Moment) -> Answer:
    """Starts a failed task again under its id."""
    task = _failed(service, kind, request, now)
    if not isinstance(task, Task):
        return task
    coins = kind.price(task.body, task.length)
    if (refusal := _pay(service, kind, task.id, coins, request, now)) is not None:
        return refusal
    begin_again(service, task, now)
    service.resume(task)
    return service.accept(service.render(task, now))


def _retry_anew(service: Service, kind: Kind, request: Request, now: Moment) -> Answer:
    """Starts a task with the inputs of a failed one."""
    failed = _failed(service, kind, request, now)
    if not isinstance(failed, Task):
        return failed
    task_id, coins = service.new_id(now), kind.price(failed.body, failed.length)
    if (refusal := _pay(service, kind, task_id, coins, request, now)) is not None:
        return refusal
    task = new_task(service, kind, task_id, failed.body, failed.length, coins, now)
    service.add(task)
    return service.accept(service.render(task, now))


def _failed(service: Service, kind: Kind, request: Request, now: Moment) -> Task | Answer:
    task = _named(service, kind, request.body_id, now)
    if isinstance(task, Task) and (task.is_running(now) or not task.failure):
        return service.refuse(400, "Only failed tasks can be retried")
    return task


def _pay(
    service: Service, kind: Kind, task_id: str, coins: int, request: Request, now: Moment
) -> Answer | None:
    path, body = request.operation.path, dict(request.body)
    charge = Charge(kind.name, (task_id,), coins, now.calendar, path, body)
    return service.pay(charge, now)


def _named(service: Service, kind: Kind, task_id: Any, now: Moment) -> Task | Answer:
    if not (isinstance(task_id, str) and OBJECT_ID.fullmatch(task_id)):
        problem = Problem("_id", "must be an id of 24 hex digits")
        return service.refuse(400, "Invalid parameters", [problem])
    return service.known(kind, task_id, now) or service.refuse(404, "Record not found")


ACTIONS: Final[Mapping[tuple[str, str], Action]] = {
    ("POST", "/api/v1/userImage2Video/prompt_extension"): _prompt,
    ("POST", "/api/v1/userImage2Video/flf2v_prompt_extension"): _prompt,
    ("GET", "/api/v1/userImage2Video/avgProcessingTime"): _average,
    ("GET", "/api/v1/userImage2Video/unlimitedQueueLevel"): _level,
    ("GET", "/api/v1/userFaceSwapTask/status"): _running,
    ("GET", "/api/v1/veoVideo/{_id}/1080p"): _larger,
    ("POST", "/api/v1/userVideoTwin/continueTraining"): _more_training,
    ("POST", "/api/v1/userVideoTwin/eyeContact"): _eye_contact,
    ("POST", "/api/v1/userVideoTwin/retry"): _retry_same,
    ("POST", "/api/v1/userCaptionRemoval/retry"): _retry_anew,
}
"""What is carried out at these methods and paths, before the roles are looked at."""
