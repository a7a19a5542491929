"""Motion transfer: animates an image with the motion of a video.

Applies the motion of a person in a video to the person in an image.

```python
record = await a2e.motion_transfer.run(
    image_url="portrait.png", video_url="clip.mp4", positive_prompt="natural light"
)
await record.output.save("moved.mp4")
```
"""

from typing import Annotated

from attrs import define

from a2e_async._core.schema.inputs import FieldDoc
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.kinds.person_inputs import MovingPersonInput, MovingPersonRecord


@define(kw_only=True)
class MotionTransferInput(MovingPersonInput):
    """Inputs of `a2e.motion_transfer.start` (``POST /api/v1/motionTransfer/start``)."""

    positive_prompt: Annotated[str | None, FieldDoc("Describes the result.")] = None


@define(kw_only=True)
class MotionTransferRecord(MovingPersonRecord):
    """A motion-transfer task. Its output is a video."""

    positive_prompt: str | None = None
    """The positive prompt given to the start."""


MOTION_TRANSFER = TaskKind(
    name="motion_transfer",
    summary="An image animated with the motion of a video",
    start_doc="Animate the person of an image with the motion of a video.",
    input=MotionTransferInput,
    record=MotionTransferRecord,
    start=Endpoint("POST", "/api/v1/motionTransfer/start"),
    detail=Endpoint("GET", "/api/v1/motionTransfer/{id}"),
    list=Endpoint("GET", "/api/v1/motionTransfer/allRecords"),
    batch_detail=Endpoint("POST", "/api/v1/motionTransfer/batchDetail"),
    delete=Endpoint("DELETE", "/api/v1/motionTransfer/{id}"),
    outputs=(
        OutputField("result_video_url", "video"),
        OutputField("result_url", "video"),
    ),
)
