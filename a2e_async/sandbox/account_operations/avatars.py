"""Avatars, system and own; saved faces; backgrounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..clock import Moment, iso
from ..api_spec import problems
from . import catalogue
from .helpers import Call, Play, asked_page, find, finished, invalid, new_record, object_id, refuse, remove, urls
from ..account_state import Record

if TYPE_CHECKING:
    from ..service import Service

_PICTURES: Final = ("people_img", "video_cover", "base_video", "img_url", "image_url", "video_url")
"""The fields of an own avatar that hold media; the reference names none of them."""

_FIXED: Final = frozenset({"_id", "user_id", "type", "createdAt", "updatedAt"})
"""What a caller cannot set."""

_WORDS: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("name", "gender", *_PICTURES)},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
"""What is asked of an own avatar, whose schema is undocumented."""


# Anchors: what an avatar video is made with


def anchors(service: Service, now: Moment) -> list[Record]:
    """Returns the caller's own avatars, newest first: trained twins, then added ones."""
    twins = [_twin(service.render(task, now)) for task in finished(service, "video_twin", now)]
    return [*twins, *reversed(service.others.avatars.values())]


def _twin(record: Record) -> Record:
    picture = record.get("image_url") or record.get("video_url")
    return {
        "_id": record["anchor_id"],
        "type": "custom",
        "name": record.get("name") or None,
        "gender": record.get("gender"),
        "video_cover": picture,
        "base_video": record.get("video_url") or "",
        "people_img": picture,
        "user_video_twin_id": record["_id"],
        "createdAt": record.get("createdAt"),
    }


def _anchor_list(service: Service, call: Call, now: Moment) -> Any:
    own = anchors(service, now)
    return [*own, *catalogue.avatars(service)] if "web_type" in call.body else own


def _character_list(service: Service, call: Call, now: Moment) -> Any:
    rows = [*anchors(service, now), *catalogue.avatars(service)]
    wanted = {
        name: call.query[name] for name in ("type", "user_video_twin_id") if call.query.get(name)
    }
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]


# Own avatars


def _own(service: Service, call: Call) -> Record:
    """Returns what the caller tells about an own avatar."""
    if wrong := list(problems(_WORDS, call.body)):
        invalid(service, *wrong)
    urls(service, call, *_PICTURES)
    return {name: value for name, value in call.body.items() if name not in _FIXED}


def _add(service: Service, now: Moment, fields: Mapping[str, Any]) -> Record:
    usual = {"name": None, "gender": "", "people_img": "", "video_cover": "", "base_video": ""}
    record = new_record(service, now, {**usual, "tags": [], **fields, "type": "custom"})
    service.others.avatars[record["_id"]] = record
    return record


def _avatar_add(service: Service, call: Call, now: Moment) -> Any:
    return _add(service, now, _own(service, call))


def _avatar_list(service: Service, call: Call, now: Moment) -> Any:
    return asked_page(service, call, reversed(service.others.avatars.values()))


def _avatar_delete(service: Service, call: Call, now: Moment) -> Any:
    return remove(service, service.others.avatars, call.body.get("_id"))


def _avatar_update(service: Service, call: Call, now: Moment) -> Any:
    record = find(service, service.others.avatars, call.id)
    record.update(_own(service, call), updatedAt=iso(now.calendar))
    return record


def _tags(service: Service, call: Call, now: Moment) -> Any:
    return sorted({tag for record in service.others.avatars.values() for tag in record["tags"]})


def _quick_add(service: Service, call: Call, now: Moment) -> Any:
    pictures = {task.id: task for task in finished(service, "text_to_image", now)}
    task_id = object_id(service, call.body["_id"])
    if task_id in service.tasks and task_id not in pictures:
        refuse(service, 400, "The image is not finished")
    task = find(service, pictures, task_id)
    record = service.render(task, now)
    picture = record["image_urls"][0]
    return _add(
        service,
        now,
        {
            "name": record.get("name") or None,
            "gender": call.body.get("gender", "female"),
            "people_img": picture,
            "video_cover": picture,
        },
    )


# Faces


def _face_add(service: Service, call: Call, now: Moment) -> Any:
    urls(service, call, "face_url")
    record = new_record(service, now, {"face_url": call.body["face_url"]})
    service.others.faces[record["_id"]] = record
    return _faces(service, call, now)


def _faces(service: Service, call: Call, now: Moment) -> Any:
    return list(reversed(service.others.faces.values()))


def _face_delete(service: Service, call: Call, now: Moment) -> Any:
    return remove(service, service.others.faces, call.id)


# Backgrounds


def _back_add(service: Service, call: Call, now: Moment) -> Any:
    urls(service, call, "img_url")
    name = call.body.get("name")
    if wrong := list(problems({"type": "string"}, name, "name")) if name is not None else []:
        invalid(service, *wrong)
    record = new_record(service, now, {"img_url": call.body["img_url"], "name": name or ""})
    service.others.backgrounds[record["_id"]] = record
    return record


def _back_list(service: Service, call: Call, now: Moment) -> Any:
    return asked_page(service, call, reversed(service.others.backgrounds.values()))


def _back_delete(service: Service, call: Call, now: Moment) -> Any:
    return remove(service, service.others.backgrounds, call.body.get("_id"))


def _all_backs(service: Service, call: Call, now: Moment) -> Any:
    own = [{**record, "type": "custom"} for record in service.others.backgrounds.values()]
    return [*reversed(own), *catalogue.backgrounds(service)]


def _random_back(service: Service, call: Call, now: Moment) -> Any:
    return service.random.choice(catalogue.backgrounds(service))


PLAYS: Final[dict[str, Play]] = {
    "POST /api/v1/anchor/list": _anchor_list,
    "GET /api/v1/anchor/character_list": _character_list,
    "POST /api/v1/custom_avatar/add": _avatar_add,
    "POST /api/v1/custom_avatar/list": _avatar_list,
    "POST /api/v1/custom_avatar/del": _avatar_delete,
    "GET /api/v1/custom_avatar/all_tags": _tags,
    "PUT /api/v1/custom_avatar/{_id}": _avatar_update,
    "POST /api/v1/userText2Image/quickAddAvatar": _quick_add,
    "POST /api/v1/userFaceSwapImage/add": _face_add,
    "GET /api/v1/userFaceSwapImage/records": _faces,
    "DELETE /api/v1/userFaceSwapImage/{_id}": _face_delete,
    "POST /api/v1/custom_back/add": _back_add,
    "POST /api/v1/custom_back/list": _back_list,
    "POST /api/v1/custom_back/del": _back_delete,
    "POST /api/v1/custom_back/allBackground": _all_backs,
    "POST /api/v1/custom_back/randomBackground": _random_back,
}
"""What this module carries out, by method and path."""
