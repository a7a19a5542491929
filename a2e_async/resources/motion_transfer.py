"""Motion transfer: animates an image with the motion of a video."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Doc
from a2e_async.resources.people import MovingInput, MovingRecord
from a2e_async.tasks.kind import Endpoint, Result, TaskKind


@define(kw_only=True)
class MotionTransferInput(MovingInput):
    """Inputs of `a2e.motion_transfer.start` (``POST /api/v1/motionTransfer/start``)."""

    positive_prompt: Annotated[str | None, Doc("Describes the result.")] = None


@define(kw_only=True)
class MotionTransferRecord(MovingRecord):
    """A motion-transfer task. Its output is a video."""

    positive_prompt: str | None = None
    """The positive prompt given to the start."""


MOTION_TRANSFER = TaskKind(
    name="motion_transfer",
    summary="An image animated with the motion of a video",
    start_doc="Animate the person of an image with the motion of a video.",
    input=MotionTransferInput,
    record=MotionTransferRecord,
    start_at=Endpoint("POST", "/api/v1/motionTransfer/start"),
    detail_at=Endpoint("GET", "/api/v1/motionTransfer/{id}"),
    list_at=Endpoint("GET", "/api/v1/motionTransfer/allRecords"),
    batch_at=Endpoint("POST", "/api/v1/motionTransfer/batchDetail"),
    delete_at=Endpoint("DELETE", "/api/v1/motionTransfer/{id}"),
    results=(
        Result("result_video_url", "video"),
        Result("result_url", "video"),
    ),
)
