"""Image edit: pictures of clothing or products joined into one."""

from collections.abc import Sequence
from typing import Annotated, Literal

from attrs import define

from a2e_async.inputs import Count, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record, Wire
from a2e_async.resources.uses import check_least
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

PREFIX = "/api/v1/userImageEdit"


@define(kw_only=True)
class ImageEditInput(TaskInput):
    """What `a2e.image_edit.start` takes (``POST /api/v1/userImageEdit/start``)."""

    edit_type: Annotated[Literal["clothing", "product"], Doc("What the pictures are about.")]
    image_urls: Annotated[
        Sequence[MediaInput], Media("image"), Count(2), Doc("The pictures, two or more.")
    ]
    processing_limit: Annotated[
        float | None,
        Wire("timeout"),
        Doc("Seconds that the service works on it at most; it takes 120."),
    ] = None

    def check(self) -> None:
        """Check that the service is given time."""
        check_least(self, 1, "processing_limit")


@define(kw_only=True)
class ImageEditRecord(Record):
    """An image-edit task. Its output is a picture."""

    edit_type: str | None = None
    image_urls: tuple[str, ...] = ()
    processing_limit: Annotated[float | None, Wire("timeout")] = None


IMAGE_EDIT = TaskKind(
    name="image_edit",
    summary="Pictures of clothing or products joined into one",
    input=ImageEditInput,
    record=ImageEditRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    results=(Result("result_url", "image"),),
)
