"""``a2e.backgrounds``: background images of avatar videos."""

from collections.abc import Mapping
from typing import Any, Final

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
)
from a2e_async._core.redact import hide_signatures
from a2e_async._core.schema.inputs import MediaInput, check_media
from a2e_async._core.tasks.kind import check_task_id
from a2e_async._core.tasks.parsing import read_raw_records, read_total_count
from a2e_async.account.avatars import Ownership, read_ownership
from a2e_async.errors import DecodeError
from a2e_async.models import Page

PREFIX: Final = "/api/v1/custom_back"


@frozen(kw_only=True)
class Background:
    """A background image for avatar videos."""

    id: str
    """Id for `a2e.avatar_video`: ``custom_back_id`` (account) or ``back_id`` (service)."""
    url: str | None = field(default=None, repr=repr_without_query)
    """URL of the image."""
    name: str | None = None
    """Name of the background."""
    kind: Ownership | None = None
    """Whose background it is: ``system`` for the service, ``custom`` for the account."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""


class Backgrounds:
    """``a2e.backgrounds``: backgrounds of the service and of the account."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    def __repr__(self) -> str:
        return "<a2e.backgrounds>"

    @hide_frames
    async def add(self, image: MediaInput) -> Background:
        """Add an image (URL, path, bytes or Output) to the account and return it.

        Free of charge, except for the upload of a local file. The request is not repeated if no
        response arrives; check `custom`. ``POST /api/v1/custom_back/add``.
        """
        check_media("image", image)
        url = await self._context.files.url(image, ("image",), "image")
        path = f"{PREFIX}/add"
        response = await self._context.session.request(
            "POST",
            path,
            json={"img_url": url},
            retry_safety=RetrySafety.CHARGED,  # a repeated request would add it twice
            **self._context.request_options(),
        )
        return _read_background(response.data, path, "custom")

    @hide_frames
    async def custom(self, /, **filters: Any) -> Page[Background]:
        """Return the backgrounds of the account.

        The service documents neither paging nor filters of this list: ``filters`` are JSON values
        that are sent unchanged, under the given names. ``POST /api/v1/custom_back/list``.
        """
        response = await self._context.session.request(
            "POST",
            f"{PREFIX}/list",
            json=check_json_body("filters", filters),
            **self._context.request_options(Priority.LIST),
        )
        return Page(_read_backgrounds(response.data, "custom"), read_total_count(response.data))

    async def all(self) -> tuple[Background, ...]:
        """Return the backgrounds of the account and of the service.

        ``POST /api/v1/custom_back/allBackground``.
        """
        response = await self._context.session.request(
            "POST", f"{PREFIX}/allBackground", **self._context.request_options(Priority.LIST)
        )
        return _read_backgrounds(response.data)

    async def random(self) -> Background:
        """Return a random background of the service. Raises `DecodeError` if it gives none.

        ``POST /api/v1/custom_back/randomBackground``.
        """
        path = f"{PREFIX}/randomBackground"
        response = await self._context.session.request(
            "POST", path, **self._context.request_options()
        )
        return _read_background(response.data, path)

    async def delete(self, id: str) -> None:
        """Delete a background of the account. Raises `NotFound`.

        ``POST /api/v1/custom_back/del``.
        """
        await delete_resource(self._context, "POST", f"{PREFIX}/del", {"_id": check_task_id(id)})


def _read_backgrounds(data: Any, kind: Ownership | None = None) -> tuple[Background, ...]:
    return tuple(
        Background(
            id=id,
            url=raw.url("img_url", "url", "image_url"),
            name=hide_signatures(raw.text("name")),
            kind=read_ownership(raw) or kind,
            extra=raw.unread(),
        )
        for row in read_raw_records(data)
        if (id := (raw := ResponseFields(row)).id())
    )


def _read_background(data: Any, path: str, kind: Ownership | None = None) -> Background:
    found = _read_backgrounds(data, kind)
    if not found:
        raise DecodeError(
            f"The response of {path} has no background. a2e.backgrounds.all() lists them.",
            method="POST",
            path=path,
        )
    return found[0]
