"""Older operations that the service's current reference no longer lists."""

from __future__ import annotations

import re
from typing import Any, Final

import attrs

from ..account_state import Record
from ..api_spec import find_operation
from ..clock import Moment
from ..kind_operations.dispatch import handle_kind_request
from ..service import Service
from ..simulated_task import SimulatedTask
from ..validation import FieldProblem
from .helpers import (
    OperationFunction,
    RequestRefused,
    ValidatedCall,
    charge_call,
    find_record,
    make_file_copy,
    make_page,
    new_record,
    refuse,
    refuse_invalid,
    require_fields,
    require_object_id,
    require_urls,
)

WATERMARK_COINS: Final = 1
"""The price of one watermark."""

WATERMARK_LIFE: Final = 86400.0
"""How long a watermarked file can be downloaded, in service seconds."""

_TEXT_TO_IMAGE: Final = "/api/v1/userText2Image"
"""The path of the current operations; the older ones have a lower-case i."""

_LANGUAGE_PATTERNS: Final = (
    ("ja", re.compile("[\u3040-\u30ff]")),
    ("ko", re.compile("[\u1100-\u11ff\uac00-\ud7af]")),
    ("zh", re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
    ("ru", re.compile("[\u0400-\u04ff]")),
)
"""Languages by the characters that only they use; Japanese kana are tried before Han characters."""

_LEGACY_STATUSES: Final = {
    "initialized": "init",
    "sent": "start",
    "pending": "pending",
    "processing": "process",
    "completed": "success",
    "failed": "fail",
}
"""The status words of the legacy list, by the current ones."""


# Results of avatar videos


def _avatar_video_result(service: Service, call: ValidatedCall, now: Moment) -> Any:
    task = service.tasks.get(require_object_id(service, call.body["_id"]))
    if task is None or task.kind.name != "avatar_video" or task.unknown_until > now.service_time:
        return []
    return [service.render(task, now)]


def _list_videos(service: Service, call: ValidatedCall, now: Moment) -> Any:
    numbers = [
        (name, call.query.get(name, default))
        for name, default in (("current", "1"), ("pageSize", "10"))
    ]
    problems = [
        FieldProblem(name, "must be a whole number above 0")
        for name, text in numbers
        if not re.fullmatch("0*[1-9][0-9]{0,8}", text)
    ]
    if problems:
        refuse_invalid(service, *problems)
    kinds = {"avatar_video", "image_to_video"}
    rows = [
        _legacy_record(service, task, now)
        for task in reversed(service.tasks.values())
        if task.kind.name in kinds and task.unlisted_until <= now.service_time
    ]
    current, size = (int(text) for _, text in numbers)
    found = make_page(rows, current, size)
    return {"current": current, "total": found["count"], "success": True, "data": found["rows"]}


def _legacy_record(service: Service, task: SimulatedTask, now: Moment) -> Record:
    record = service.render(task, now)
    if task.kind.name == "avatar_video":
        return record
    status = task.status(now)
    return {
        "_id": task.id,
        "name": record["name"],
        "status": _LEGACY_STATUSES.get(status, status),
        "process": 0 if task.is_running(now) else 100,
        "result": record["result_url"],
        "msg": record["failed_message"],
        "createdAt": record["createdAt"],
    }


# Twins


def _continue_training(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return _forward(service, call, now, "/api/v1/userVideoTwin/continueTraining", call.body)


def _clone_twin_voice(service: Service, call: ValidatedCall, now: Moment) -> Any:
    """Train a voice on the sound of a twin's video."""
    twins = {key: item for key, item in service.tasks.items() if item.kind.name == "video_twin"}
    twin = find_record(service, twins, call.body.get("_id")).body
    if not twin.get("video_url"):
        refuse(service, 400, "The video twin has no video")
    body = {"name": twin.get("name") or "twin", "voice_urls": [twin["video_url"]]}
    return _forward(service, call, now, "/api/v1/userVoice/training", body)


def _forward(service: Service, call: ValidatedCall, now: Moment, path: str, body: Any) -> Any:
    """Return the data that the operation at another path returns for this body."""
    operation = find_operation(call.request.operation.method, path)
    request = attrs.evolve(call.request, operation=operation, body=body)
    response = handle_kind_request(service, request, now)
    if response.status != 200:
        raise RequestRefused(response)
    return response.data


def _upload_twin_file(service: Service, call: ValidatedCall, now: Moment) -> Any:
    record = new_record(service, now, {"current_status": "completed"})
    service.account.uploads[record["_id"]] = record
    return record


def _list_twin_uploads(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return list(reversed(service.account.uploads.values()))


# Images from text


def _start_text_to_image(service: Service, call: ValidatedCall, now: Moment) -> Any:
    body = {name: value for name, value in call.body.items() if name != "req_key"}
    return _forward(service, call, now, f"{_TEXT_TO_IMAGE}/start", body)


def _list_text_to_images(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return _forward(service, call, now, f"{_TEXT_TO_IMAGE}/allRecords", None)


def _get_text_to_image(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return _forward(service, call, now, f"{_TEXT_TO_IMAGE}/{{_id}}", None)


# Text, files, account


def _detect_language(service: Service, call: ValidatedCall, now: Moment) -> Any:
    require_fields(service, call, "msg")
    return next(
        (name for name, script in _LANGUAGE_PATTERNS if script.search(call.body["msg"])), "en"
    )


def _set_public_pool(service: Service, call: ValidatedCall, now: Moment) -> Any:
    others = service.account
    others.uses_public_pool = call.body.get("isAutoToPublicPool", others.uses_public_pool)
    return {"isAutoToPublicPool": others.uses_public_pool}


def _copy_to_storage(service: Service, call: ValidatedCall, now: Moment) -> Any:
    require_fields(service, call, "url")
    require_urls(service, call, "url")
    return {"url": make_file_copy(service, call.body["url"], now, service.result_life)}


def _add_watermark(service: Service, call: ValidatedCall, now: Moment) -> Any:
    body = {"watermark_type": "text", **call.body}
    if body["watermark_type"] not in {"text", "image"}:
        refuse_invalid(service, FieldProblem("watermark_type", "must be one of text, image"))
    require_fields(service, call, "media_url")
    require_fields(
        service, call, "text" if body["watermark_type"] == "text" else "watermark_image_url"
    )
    require_urls(service, call, "media_url", "watermark_image_url")
    charge_call(service, call, "watermark", WATERMARK_COINS, now)
    fields = {
        **body,
        "request_id": f"watermark_{service.trace_id()}",
        "result_url": make_file_copy(service, body["media_url"], now, WATERMARK_LIFE),
        "current_status": "completed",
        "coins": WATERMARK_COINS,
        "failed_message": "",
        "failed_code": "",
    }
    return new_record(service, now, fields)


def _add_user(service: Service, call: ValidatedCall, now: Moment) -> Any:
    require_fields(service, call, "username")
    return new_record(service, now, {"username": call.body["username"]})


def _generate_token(service: Service, call: ValidatedCall, now: Moment) -> Any:
    token = f"sk_{service.random.getrandbits(128):032x}"
    return {"_id": service.new_id(now), "token": token}


OPERATIONS: Final[dict[str, OperationFunction]] = {
    "POST /api/v1/video/awsResult": _avatar_video_result,
    "GET /api/v1/video/awsList": _list_videos,
    "POST /api/v1/userVideoTwin/continueTranining": _continue_training,
    "POST /api/v1/userVideoTwin/addVoiceClone": _clone_twin_voice,
    "POST /api/v1/userVideoTwin/upload": _upload_twin_file,
    "GET /api/v1/userVideoTwin/uploadStatus": _list_twin_uploads,
    "POST /api/v1/userText2image/start": _start_text_to_image,
    "GET /api/v1/userText2image/allRecords": _list_text_to_images,
    "GET /api/v1/userText2image/{_id}": _get_text_to_image,
    "POST /api/v1/video/lang_classify": _detect_language,
    "POST /api/v1/video/auto-public-pool": _set_public_pool,
    "POST /api/v1/tos/transferToStorage": _copy_to_storage,
    "POST /api/v1/watermark/start": _add_watermark,
    "POST /api/v1/user/add": _add_user,
    "POST /api/v1/token/generate": _generate_token,
}
"""The operations of this module, by method and path."""
