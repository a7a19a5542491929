"""Upscale: an image or video in a higher resolution."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Result, TaskKind


@define(kw_only=True)
class UpscaleInput(TaskInput):
    """Inputs of `a2e.upscale.start` (``POST /api/v1/userUpscale/start``)."""

    source_url: Annotated[
        MediaInput, Media("image", "video"), Doc("The image or video to enlarge.")
    ]


@define(kw_only=True)
class UpscaleRecord(Record):
    """An upscale task. Its output is an image or a video, like the source."""

    source_url: str | None = None
    """URL of the input file."""


UPSCALE = TaskKind(
    name="upscale",
    summary="A larger image or video",
    start_doc="Enlarge an image or a video to a higher resolution.",
    input=UpscaleInput,
    record=UpscaleRecord,
    start_at=Endpoint("POST", "/api/v1/userUpscale/start"),
    detail_at=Endpoint("GET", "/api/v1/userUpscale/{id}"),
    list_at=Endpoint("GET", "/api/v1/userUpscale/allRecords"),
    batch_at=Endpoint("POST", "/api/v1/userUpscale/batchDetail"),
    delete_at=Endpoint("DELETE", "/api/v1/userUpscale/{id}"),
    results=(Result("result_url", "file"),),
)
