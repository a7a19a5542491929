"""Photobook: a set of photos of one face."""

from typing import Annotated, Literal

from attrs import define

from a2e_async.inputs import Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

PREFIX = "/api/v1/userPhotobook"


@define(kw_only=True)
class PhotobookInput(TaskInput):
    """What `a2e.photobook.start` takes (``POST /api/v1/userPhotobook/start``)."""

    face_image_url: Annotated[
        MediaInput, Media("image"), Doc("A picture with one face, the one of all photos.")
    ]
    location: Annotated[str | None, Doc("The place that the photos show.")] = None
    clothing: Annotated[str | None, Doc("What the person wears.")] = None
    total_count: Annotated[
        Literal[4, 8, 12, 16] | None,
        Doc("How many photos the one task makes; the service takes 4. The price grows with it."),
    ] = None


@define(kw_only=True)
class PhotobookRecord(Record):
    """A photobook task: one task, whose outputs are all its photos."""

    face_image_url: str | None = None
    location: str | None = None
    clothing: str | None = None
    total_count: int | None = None


PHOTOBOOK = TaskKind(
    name="photobook",
    summary="A set of photos of one face",
    input=PhotobookInput,
    record=PhotobookRecord,
    webhook=False,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    results=(Result("result_url", "image"),),
)
