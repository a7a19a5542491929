"""Upscale: an image or video in a higher resolution.

Increases the resolution of an image or a video.

```python
record = await a2e.upscale.run(source_url="portrait.png")
await record.output.save("larger/")
```
"""

from typing import Annotated

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.models import Record


@define(kw_only=True)
class UpscaleInput(TaskInput):
    """Inputs of `a2e.upscale.start` (``POST /api/v1/userUpscale/start``)."""

    source_url: Annotated[
        MediaInput, AcceptedMedia("image", "video"), FieldDoc("The image or video to enlarge.")
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
    start=Endpoint("POST", "/api/v1/userUpscale/start"),
    detail=Endpoint("GET", "/api/v1/userUpscale/{id}"),
    list=Endpoint("GET", "/api/v1/userUpscale/allRecords"),
    batch_detail=Endpoint("POST", "/api/v1/userUpscale/batchDetail"),
    delete=Endpoint("DELETE", "/api/v1/userUpscale/{id}"),
    outputs=(OutputField("result_url", "file"),),
)
