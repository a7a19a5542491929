"""Face swap preview: one picture of what a face swap would give."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

PREFIX = "/api/v1/userFaceSwapPreview"


@define(kw_only=True)
class FaceSwapPreviewInput(TaskInput):
    """What `a2e.face_swap_preview.start` takes (``POST /api/v1/userFaceSwapPreview/add``)."""

    video_url: Annotated[MediaInput, Media("video"), Doc("The video in which a face changes.")]
    face_url: Annotated[MediaInput, Media("image"), Doc("The picture of the new face.")]


@define(kw_only=True)
class FaceSwapPreviewRecord(Record):
    """A face-swap preview. Its output shows the swap before the whole video is paid for."""

    video_url: str | None = None
    face_url: str | None = None


FACE_SWAP_PREVIEW = TaskKind(
    name="face_swap_preview",
    summary="A preview of a face swap",
    input=FaceSwapPreviewInput,
    record=FaceSwapPreviewRecord,
    webhook=False,
    start_at=Endpoint("POST", f"{PREFIX}/add"),
    detail_at=Endpoint("GET", f"{PREFIX}/status", query="_id"),
    results=(Result("result_url", "file"),),
    name_wire=None,
)
