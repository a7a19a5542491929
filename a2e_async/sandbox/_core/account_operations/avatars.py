"""Avatars of the service and of the account, saved faces, backgrounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..account_state import Record
from ..clock import Moment, format_iso
from ..service import Service
from ..validation import schema_problems
from . import system_catalogue
from .helpers import (
    OperationFunction,
    ValidatedCall,
    completed_tasks,
    delete_record,
    find_record,
    make_requested_page,
    new_record,
    refuse,
    refuse_invalid,
    require_object_id,
    require_urls,
)

_MEDIA_FIELDS: Final = (
    "people_img",
    "video_cover",
    "base_video",
    "img_url",
    "image_url",
    "video_url",
)
"""The media URL fields of a custom avatar; the service's reference lists none of them."""

_READ_ONLY_FIELDS: Final = frozenset({"_id", "user_id", "type", "createdAt", "updatedAt"})
"""Fields that a caller cannot set."""

_AVATAR_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("name", "gender", *_MEDIA_FIELDS)},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
}
"""The schema that custom avatars must fit; the service documents none."""


# Anchors: what an avatar video is made with


def own_anchors(service: Service, now: Moment) -> list[Record]:
    """Return the account's avatars, newest first: trained twins, then custom avatars."""
    twins = [
        _twin_as_anchor(service.render(task, now))
        for task in completed_tasks(service, "video_twin", now)
    ]
    return [*twins, *reversed(service.account.avatars.values())]


def _twin_as_anchor(record: Record) -> Record:
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


def _list_anchors(service: Service, call: ValidatedCall, now: Moment) -> Any:
    own = own_anchors(service, now)
    return [*own, *system_catalogue.system_avatars(service)] if "web_type" in call.body else own


def _list_characters(service: Service, call: ValidatedCall, now: Moment) -> Any:
    rows = [*own_anchors(service, now), *system_catalogue.system_avatars(service)]
    filters = {
        name: call.query[name] for name in ("type", "user_video_twin_id") if call.query.get(name)
    }
    return [row for row in rows if all(row.get(name) == value for name, value in filters.items())]


# Own avatars


def _avatar_fields(service: Service, call: ValidatedCall) -> Record:
    """Return the fields of a custom avatar from the request body."""
    if problems := list(schema_problems(_AVATAR_SCHEMA, call.body)):
        refuse_invalid(service, *problems)
    require_urls(service, call, *_MEDIA_FIELDS)
    return {name: value for name, value in call.body.items() if name not in _READ_ONLY_FIELDS}


def _store_avatar(service: Service, now: Moment, fields: Mapping[str, Any]) -> Record:
    defaults = {"name": None, "gender": "", "people_img": "", "video_cover": "", "base_video": ""}
    record = new_record(service, now, {**defaults, "tags": [], **fields, "type": "custom"})
    service.account.avatars[record["_id"]] = record
    return record


def _add_avatar(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return _store_avatar(service, now, _avatar_fields(service, call))


def _list_avatars(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return make_requested_page(service, call, reversed(service.account.avatars.values()))


def _delete_avatar(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return delete_record(service, service.account.avatars, call.body.get("_id"))


def _update_avatar(service: Service, call: ValidatedCall, now: Moment) -> Any:
    record = find_record(service, service.account.avatars, call.id)
    record.update(_avatar_fields(service, call), updatedAt=format_iso(now.calendar))
    return record


def _list_tags(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return sorted({tag for record in service.account.avatars.values() for tag in record["tags"]})


def _add_avatar_from_image(service: Service, call: ValidatedCall, now: Moment) -> Any:
    pictures = {task.id: task for task in completed_tasks(service, "text_to_image", now)}
    task_id = require_object_id(service, call.body["_id"])
    if task_id in service.tasks and task_id not in pictures:
        refuse(service, 400, "The image is not finished")
    task = find_record(service, pictures, task_id)
    record = service.render(task, now)
    picture = record["image_urls"][0]
    return _store_avatar(
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


def _add_face(service: Service, call: ValidatedCall, now: Moment) -> Any:
    require_urls(service, call, "face_url")
    record = new_record(service, now, {"face_url": call.body["face_url"]})
    service.account.faces[record["_id"]] = record
    return _list_faces(service, call, now)


def _list_faces(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return list(reversed(service.account.faces.values()))


def _delete_face(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return delete_record(service, service.account.faces, call.id)


# Backgrounds


def _add_background(service: Service, call: ValidatedCall, now: Moment) -> Any:
    require_urls(service, call, "img_url")
    name = call.body.get("name")
    if (
        problems := list(schema_problems({"type": "string"}, name, "name"))
        if name is not None
        else []
    ):
        refuse_invalid(service, *problems)
    record = new_record(service, now, {"img_url": call.body["img_url"], "name": name or ""})
    service.account.backgrounds[record["_id"]] = record
    return record


def _list_backgrounds(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return make_requested_page(service, call, reversed(service.account.backgrounds.values()))


def _delete_background(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return delete_record(service, service.account.backgrounds, call.body.get("_id"))


def _list_all_backgrounds(service: Service, call: ValidatedCall, now: Moment) -> Any:
    own = [{**record, "type": "custom"} for record in service.account.backgrounds.values()]
    return [*reversed(own), *system_catalogue.system_backgrounds(service)]


def _random_background(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return service.random.choice(system_catalogue.system_backgrounds(service))


OPERATIONS: Final[dict[str, OperationFunction]] = {
    "POST /api/v1/anchor/list": _list_anchors,
    "GET /api/v1/anchor/character_list": _list_characters,
    "POST /api/v1/custom_avatar/add": _add_avatar,
    "POST /api/v1/custom_avatar/list": _list_avatars,
    "POST /api/v1/custom_avatar/del": _delete_avatar,
    "GET /api/v1/custom_avatar/all_tags": _list_tags,
    "PUT /api/v1/custom_avatar/{_id}": _update_avatar,
    "POST /api/v1/userText2Image/quickAddAvatar": _add_avatar_from_image,
    "POST /api/v1/userFaceSwapImage/add": _add_face,
    "GET /api/v1/userFaceSwapImage/records": _list_faces,
    "DELETE /api/v1/userFaceSwapImage/{_id}": _delete_face,
    "POST /api/v1/custom_back/add": _add_background,
    "POST /api/v1/custom_back/list": _list_backgrounds,
    "POST /api/v1/custom_back/del": _delete_background,
    "POST /api/v1/custom_back/allBackground": _list_all_backgrounds,
    "POST /api/v1/custom_back/randomBackground": _random_background,
}
"""The operations of this module, by method and path."""
