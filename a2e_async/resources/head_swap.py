"""Head swap: the head of one picture on the person of a picture or video."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Result, TaskKind


@define(kw_only=True)
class HeadSwapInput(TaskInput):
    """What `a2e.head_swap.start` takes (``POST /api/v1/headSwap/start``). It takes no name."""

    image_url: Annotated[MediaInput, Media("image"), Doc("The picture with the head to take.")]
    target_image_url: Annotated[
        MediaInput,
        Media("image", "video"),
        Doc("Who gets it: a picture gives a picture, a video (at most 15 s) gives a video."),
    ]


@define(kw_only=True)
class HeadSwapRecord(Record):
    """A head-swap task. Its output is a picture or a video, as the target is."""

    image_url: str | None = None
    target_image_url: str | None = None


HEAD_SWAP = TaskKind(
    name="head_swap",
    summary="Another head in a picture or video",
    input=HeadSwapInput,
    record=HeadSwapRecord,
    start_at=Endpoint("POST", "/api/v1/headSwap/start"),
    detail_at=Endpoint("GET", "/api/v1/headSwap/{id}"),
    list_at=Endpoint("GET", "/api/v1/headSwap/allRecords"),
    batch_at=Endpoint("POST", "/api/v1/headSwap/batchDetail"),
    delete_at=Endpoint("DELETE", "/api/v1/headSwap/{id}"),
    results=(Result("result_url", "file"),),
    name_wire=None,
)
