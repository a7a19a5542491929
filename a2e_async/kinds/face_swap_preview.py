"""Face swap preview: one image that shows the result of a face swap.

A quick preview of the result of [face_swap](face_swap.md), before you pay for the full video.

```python
record = await a2e.face_swap_preview.run(video_url="clip.mp4", face_url="portrait.png")
await record.output.save("preview/")
```
"""

from typing import Annotated

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.models import Record

PREFIX = "/api/v1/userFaceSwapPreview"


@define(kw_only=True)
class FaceSwapPreviewInput(TaskInput):
    """Inputs of `a2e.face_swap_preview.start` (``POST /api/v1/userFaceSwapPreview/add``)."""

    video_url: Annotated[
        MediaInput, AcceptedMedia("video"), FieldDoc("The video whose face is replaced.")
    ]
    face_url: Annotated[MediaInput, AcceptedMedia("image"), FieldDoc("An image of the new face.")]


@define(kw_only=True)
class FaceSwapPreviewRecord(Record):
    """A face-swap preview. Its output is one image of the swapped face."""

    video_url: str | None = None
    """URL of the input video."""
    face_url: str | None = None
    """URL of the image of the new face."""


FACE_SWAP_PREVIEW = TaskKind(
    name="face_swap_preview",
    summary="A preview of a face swap",
    start_doc=("Show the result of a face swap in one image, before the whole video is charged."),
    input=FaceSwapPreviewInput,
    record=FaceSwapPreviewRecord,
    accepts_webhook=False,
    start=Endpoint("POST", f"{PREFIX}/add"),
    detail=Endpoint("GET", f"{PREFIX}/status", id_parameter="_id"),
    outputs=(OutputField("result_url", "file"),),
    name_field=None,
)
