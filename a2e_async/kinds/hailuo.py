"""Hailuo: a video from one or several images.

Generates videos of 6 or 10 seconds from images. 10 seconds are made in 768P only.

The package knows this kind from public clients, not from the service's own reference: its start,
detail, list and batchDetail, and its inputs. Status and result fields, webhooks and the deletion
are inferred from similar kinds.

```python
record = await a2e.hailuo.run(
    image_urls=["portrait.png"], prompt="a breeze moves her hair", duration=6, resolution="768P"
)
await record.output.save("breeze.mp4")
```
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from attrs import define

from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    ItemCount,
    MediaInput,
    SerializeAsString,
    TaskInput,
)
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.errors import InvalidInput
from a2e_async.models import NumericString, Record

PREFIX: Final = "/api/v1/hailuoVideo"


@define(kw_only=True)
class HailuoInput(TaskInput):
    """Inputs of `a2e.hailuo.start` (``POST /api/v1/hailuoVideo/start``)."""

    image_urls: Annotated[
        Sequence[MediaInput],
        AcceptedMedia("image"),
        ItemCount(1),
        FieldDoc("The images, at least one, also with a prompt."),
    ]
    prompt: Annotated[str | None, FieldDoc("Describes what happens in the video.")] = None
    resolution: Annotated[Literal["768P", "1080P"] | None, FieldDoc("Resolution.")] = None
    duration: Annotated[
        Literal[6, 10] | None,
        SerializeAsString(),
        FieldDoc("Length of the video in seconds; 10 needs resolution 768P."),
    ] = None

    def check(self) -> None:
        """Check that the resolution supports the length."""
        if self.duration == 10 and self.resolution == "1080P":
            raise InvalidInput("duration 10 needs resolution='768P'.", field="resolution")


@define(kw_only=True)
class HailuoRecord(Record):
    """A Hailuo task. Its output is a video."""

    prompt: str | None = None
    """The prompt given to the start."""
    image_urls: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    resolution: str | None = None
    """Resolution, such as 768P."""
    duration: Annotated[float | None, NumericString()] = None
    """Length of the video in seconds."""


HAILUO = TaskKind(
    name="hailuo",
    summary="Videos from images (Hailuo)",
    start_doc="Make a video from one or several images, with Hailuo.",
    input=HailuoInput,
    record=HailuoRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "video"),),
)
