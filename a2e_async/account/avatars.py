"""``a2e.avatars``: the avatars that can speak in an avatar video."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from attrs import field, frozen

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.context import RequestContext
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.http.retry import RetrySafety
from a2e_async._core.namespace_helpers import (
    ResponseFields,
    check_json_body,
    delete_resource,
    repr_without_query,
    response_fields,
)
from a2e_async._core.redact import hide_signatures
from a2e_async._core.tasks.kind import check_task_id
from a2e_async._core.tasks.parsing import read_raw_records, read_total_count
from a2e_async._core.typeguards import is_list, is_mapping
from a2e_async.models import Page

PREFIX: Final = "/api/v1/custom_avatar"

Ownership = Literal["system", "custom"]
"""Who owns a resource: ``system`` for the service, ``custom`` for the account."""

_OWNERSHIP_BY_TYPE: Final[Mapping[str, Ownership]] = {
    "default": "system",
    "system": "system",
    "custom": "custom",
}


@frozen(kw_only=True)
class Avatar:
    """An avatar that can speak in an avatar video.

    `a2e.avatar_video` takes its ``id`` as ``anchor_id``, and its ``anchor_type``.
    """

    id: str
    """Id, which `a2e.avatar_video` takes as ``anchor_id``."""
    name: str | None = None
    """Name; often missing."""
    kind: Ownership | None = None
    """Whose avatar it is: ``system`` for the service, ``custom`` for the account."""
    anchor_type: Literal[0, 1] | None = None
    """0 for an avatar of the service, 1 for one of the account; `a2e.avatar_video` takes it."""
    cover: str | None = field(default=None, repr=repr_without_query)
    """URL of an image of the avatar."""
    video_twin_id: str | None = None
    """Id of the video twin that it was trained as."""
    gender: str | None = None
    """Gender of the avatar."""
    created_at: datetime | None = None
    """When it was created."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""


class Avatars:
    """``a2e.avatars``: avatars of the service and of the account. Free of charge.

    To train your own: ``record = await a2e.video_twin.run(...)``. Its avatar is
    ``record.anchor_id`` with ``anchor_type=1``; `list` returns it, too.
    """

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    def __repr__(self) -> str:
        return "<a2e.avatars>"

    async def list(self, *, system: bool = True) -> tuple[Avatar, ...]:
        """Return the avatars of the account and of the service.

        ``system=False`` leaves out the avatars of the service. ``POST /api/v1/anchor/list``.
        """
        response = await self._context.session.request(
            "POST",
            "/api/v1/anchor/list",
            json={"web_type": "a2e"} if system else {},
            **self._context.request_options(Priority.LIST),
        )
        return read_avatars(response.data)

    @hide_frames
    async def custom(self, /, **filters: Any) -> Page[Avatar]:
        """Return the avatars that were added with `add`.

        The service documents neither paging nor filters of this list: ``filters`` are JSON values
        that are sent unchanged, under the given names. ``POST /api/v1/custom_avatar/list``.
        """
        response = await self._context.session.request(
            "POST",
            f"{PREFIX}/list",
            json=check_json_body("filters", filters),
            **self._context.request_options(Priority.LIST),
        )
        return Page(read_avatars(response.data), read_total_count(response.data))

    @hide_frames
    async def add(self, /, **data: Any) -> Avatar | None:
        """Add an avatar to the account; return it, or None if the response does not contain it.

        The service does not document the body: ``data`` are JSON values that are sent unchanged,
        under the given names. The request is not repeated if no response arrives; check
        `custom`. ``POST /api/v1/custom_avatar/add``.
        """
        response = await self._context.session.request(
            "POST",
            f"{PREFIX}/add",
            json=check_json_body("data", data),
            retry_safety=RetrySafety.CHARGED,  # a repeated request would add it twice
            **self._context.request_options(),
        )
        return next(iter(read_avatars(response.data)), None)

    @hide_frames
    async def update(self, /, id: str, **data: Any) -> None:
        """Update an avatar of the account; fields that are not given keep their values.

        ``data`` is sent as in `add`. Raises `NotFound`. ``PUT /api/v1/custom_avatar/{id}``.
        """
        await self._context.session.request(
            "PUT",
            f"{PREFIX}/{check_task_id(id)}",
            json=check_json_body("data", data),
            **self._context.request_options(),
        )

    async def delete(self, id: str) -> None:
        """Delete an avatar of the account. Raises `NotFound`.

        ``POST /api/v1/custom_avatar/del``.
        """
        await delete_resource(self._context, "POST", f"{PREFIX}/del", {"_id": check_task_id(id)})

    async def tags(self) -> tuple[str, ...]:
        """Return the tags of the account's avatars. ``GET /api/v1/custom_avatar/all_tags``."""
        response = await self._context.session.request(
            "GET", f"{PREFIX}/all_tags", **self._context.request_options()
        )
        data = response.data
        if is_mapping(data):
            data = next((value for value in data.values() if is_list(value)), None)
        tags = (_tag(tag) for tag in data) if is_list(data) else ()
        return tuple(tag for tag in tags if tag)


def _tag(tag: Any) -> str | None:
    return (
        tag if isinstance(tag, str) else response_fields(tag).text("name", "tag", "label", "value")
    )


def read_avatars(data: Any) -> tuple[Avatar, ...]:
    """Return the avatars of a response; entries without an id are skipped."""
    return tuple(
        Avatar(
            id=id,
            name=hide_signatures(raw.text("name")),
            kind=(kind := read_ownership(raw)),
            anchor_type=_anchor_type(raw, kind),
            cover=raw.url("video_cover", "people_img", "img_url", "image_url"),
            video_twin_id=raw.text("user_video_twin_id"),
            gender=raw.text("gender"),
            created_at=raw.timestamp("createdAt"),
            extra=raw.unread(),
        )
        for row in read_raw_records(data)
        if (id := (raw := ResponseFields(row)).id())
    )


_ANCHOR_TYPES: Final[Mapping[int, Literal[0, 1]]] = {0: 0, 1: 1}


def _anchor_type(raw: ResponseFields, kind: Ownership | None) -> Literal[0, 1] | None:
    """Return the ``anchor_type``; most records show it only by their ``type``."""
    value = raw.integer("anchor_type")
    if value is None and kind is not None:
        return 1 if kind == "custom" else 0
    return _ANCHOR_TYPES.get(value) if value is not None else None


def read_ownership(raw: ResponseFields) -> Ownership | None:
    """Return the owner of a resource, from its ``type``."""
    return raw.mapped("type", _OWNERSHIP_BY_TYPE)
