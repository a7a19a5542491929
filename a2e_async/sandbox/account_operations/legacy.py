"""Older operations that the present reference no longer lists."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..clock import Moment
from ..api_spec import Problem
from .helpers import Call, Play, Refused, copy, find, given, invalid, new_record, object_id, page, pay, refuse, urls
from ..account_state import Record

if TYPE_CHECKING:
    from ..service import Service
    from ..simulated_task import Task

WATERMARK_COINS: Final = 1
"""Price of one watermark."""

WATERMARK_LIFE: Final = 86400.0
"""How long a watermarked file can be had, in service seconds."""

_SCRIPTS: Final = (
    ("ja", re.compile("[\u3040-\u30ff]")),
    ("ko", re.compile("[\u1100-\u11ff\uac00-\ud7af]")),
    ("zh", re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
    ("ru", re.compile("[\u0400-\u04ff]")),
)
"""Languages by a letter that gives them away: kana before the signs that Chinese shares."""

_OLD_WORDS: Final = {
    "initialized": "init",
    "sent": "start",
    "pending": "pending",
    "processing": "process",
    "completed": "success",
    "failed": "fail",
}
"""The status words of the older list."""


# Results of avatar videos


def _result(service: Service, call: Call, now: Moment) -> Any:
    task = service.tasks.get(object_id(service, call.body["_id"]))
    if task is None or task.kind.name != "avatar_video" or task.unknown_until > now.work:
        return []
    return [service.render(task, now)]


def _results(service: Service, call: Call, now: Moment) -> Any:
    numbers = [
        (name, call.query.get(name, usual))
        for name, usual in (("current", "1"), ("pageSize", "10"))
    ]
    wrong = [
        Problem(name, "must be a whole number above 0")
        for name, text in numbers
        if not re.fullmatch("0*[1-9][0-9]{0,8}", text)
    ]
    if wrong:
        invalid(service, *wrong)
    kinds = {"avatar_video", "image_to_video"}
    rows = [
        _old_record(service, task, now)
        for task in reversed(service.tasks.values())
        if task.kind.name in kinds and task.unlisted_until <= now.work
    ]
    current, size = (int(text) for _, text in numbers)
    found = page(rows, current, size)
    return {"current": current, "total": found["count"], "success": True, "data": found["rows"]}


def _old_record(service: Service, task: Task, now: Moment) -> Record:
    record = service.render(task, now)
    if task.kind.name == "avatar_video":
        return record
    word = task.word(now)
    return {
        "_id": task.id,
        "name": record["name"],
        "status": _OLD_WORDS.get(word, word),
        "process": 0 if task.is_running(now) else 100,
        "result": record["result_url"],
        "msg": record["failed_message"],
        "createdAt": record["createdAt"],
    }


# Twins


def _continue(service: Service, call: Call, now: Moment) -> Any:
    return _pass_on(service, call, now, "/api/v1/userVideoTwin/continueTraining", call.body)


def _clone_voice(service: Service, call: Call, now: Moment) -> Any:
    """Trains a voice with the sound of a twin's video."""
    twins = {key: item for key, item in service.tasks.items() if item.kind.name == "video_twin"}
    twin = find(service, twins, call.body.get("_id")).body
    if not twin.get("video_url"):
        refuse(service, 400, "The video twin has no video")
    body = {"name": twin.get("name") or "twin", "voice_urls": [twin["video_url"]]}
    return _pass_on(service, call, now, "/api/v1/userVoice/training", body)


def _pass_on(service: Service, call: Call, now: Moment, path: str, body: Any) -> Any:
    """Returns what the operation at another path answers to the body."""
    found = service.router.find("POST", path)
    if found is None:
        refuse(service, 404, "Not found")
    request = attrs.evolve(call.request, operation=found[0], body=body)
    answer = service.handle(request, now)
    if answer.status != 200:
        raise Refused(answer)
    return answer.data


def _upload(service: Service, call: Call, now: Moment) -> Any:
    record = new_record(service, now, {"current_status": "completed"})
    service.others.uploads[record["_id"]] = record
    return record


def _uploads(service: Service, call: Call, now: Moment) -> Any:
    return list(reversed(service.others.uploads.values()))


# Text, files, account


def _language(service: Service, call: Call, now: Moment) -> Any:
    given(service, call, "msg")
    return next((name for name, script in _SCRIPTS if script.search(call.body["msg"])), "en")


def _public_pool(service: Service, call: Call, now: Moment) -> Any:
    others = service.others
    others.uses_public_pool = call.body.get("isAutoToPublicPool", others.uses_public_pool)
    return {"isAutoToPublicPool": others.uses_public_pool}


def _transfer(service: Service, call: Call, now: Moment) -> Any:
    given(service, call, "url")
    urls(service, call, "url")
    return {"url": copy(service, call.body["url"], now, service.result_life)}


def _watermark(service: Service, call: Call, now: Moment) -> Any:
    body = {"watermark_type": "text", **call.body}
    if body["watermark_type"] not in {"text", "image"}:
        invalid(service, Problem("watermark_type", "must be one of text, image"))
    given(service, call, "media_url")
    given(service, call, "text" if body["watermark_type"] == "text" else "watermark_image_url")
    urls(service, call, "media_url", "watermark_image_url")
    pay(service, call, "watermark", WATERMARK_COINS, now)
    fields = {
        **body,
        "request_id": f"watermark_{service.trace_id()}",
        "result_url": copy(service, body["media_url"], now, WATERMARK_LIFE),
        "current_status": "completed",
        "coins": WATERMARK_COINS,
        "failed_message": "",
        "failed_code": "",
    }
    return new_record(service, now, fields)


def _user(service: Service, call: Call, now: Moment) -> Any:
    given(service, call, "username")
    return new_record(service, now, {"username": call.body["username"]})


def _token(service: Service, call: Call, now: Moment) -> Any:
    token = f"sk_{service.random.getrandbits(128):032x}"
    return {"_id": service.new_id(now), "token": token}


PLAYS: Final[dict[str, Play]] = {
    "POST /api/v1/video/awsResult": _result,
    "GET /api/v1/video/awsList": _results,
    "POST /api/v1/userVideoTwin/continueTranining": _continue,
    "POST /api/v1/userVideoTwin/addVoiceClone": _clone_voice,
    "POST /api/v1/userVideoTwin/upload": _upload,
    "GET /api/v1/userVideoTwin/uploadStatus": _uploads,
    "POST /api/v1/video/lang_classify": _language,
    "POST /api/v1/video/auto-public-pool": _public_pool,
    "POST /api/v1/tos/transferToStorage": _transfer,
    "POST /api/v1/watermark/start": _watermark,
    "POST /api/v1/user/add": _user,
    "POST /api/v1/token/generate": _token,
}
"""What this module carries out, by method and path."""
