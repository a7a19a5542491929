"""Wan 2.6 reference to video: a video that shows the people or objects of references.

Generates videos that show what is in the references.

The package knows this kind from one public client, not from the service's own reference: its
start and detail, and its inputs. All else is inferred from similar kinds: list and batchDetail,
status and result fields, webhooks and the deletion. That client sends one image as reference.

```python
record = await a2e.wan26_r2v.run(
    reference_urls=["portrait.png"], prompt="she walks along a pier", duration=5
)
await record.output.save("pier.mp4")
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
from a2e_async.models import NumericString, Record

PREFIX: Final = "/api/v1/userWan26R2V"


@define(kw_only=True)
class Wan26R2vInput(TaskInput):
    """Inputs of `a2e.wan26_r2v.start` (``POST /api/v1/userWan26R2V/start``)."""

    reference_urls: Annotated[
        Sequence[MediaInput],
        AcceptedMedia("image", "video"),
        ItemCount(1),
        FieldDoc("The people or objects to show. Known to work: one image."),
    ]
    prompt: Annotated[str | None, FieldDoc("Describes what happens in the video.")] = None
    model: Annotated[
        Literal["wan2.6-r2v", "wan2.6-r2v-flash"] | str | None,
        FieldDoc("The model. The price depends on it."),
    ] = None
    duration: Annotated[
        Literal[5, 10] | None,
        SerializeAsString(),
        FieldDoc("Length of the video in seconds."),
    ] = None
    resolution: Annotated[Literal["720p", "1080p"] | None, FieldDoc("Resolution.")] = None
    aspect_ratio: Annotated[
        Literal["16:9", "9:16"] | str | None,
        FieldDoc("Aspect ratio; others are possible."),
    ] = None
    shot_type: Annotated[
        str | None, FieldDoc("Whether the video is one shot; the known value is: single.")
    ] = None
    audio: Annotated[bool | None, FieldDoc("Generate audio.")] = None


@define(kw_only=True)
class Wan26R2vRecord(Record):
    """A Wan 2.6 reference-to-video task. Its output is a video."""

    prompt: str | None = None
    """The prompt given to the start."""
    model: str | None = None
    """The model that was used."""
    reference_urls: tuple[str, ...] = ()
    """URLs of the references, in order."""
    duration: Annotated[float | None, NumericString()] = None
    """Length of the video in seconds."""
    resolution: str | None = None
    """Resolution, such as 720p."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    shot_type: str | None = None
    """The type of shot given to the start."""
    audio: bool | None = None
    """Whether audio was generated."""


WAN26_R2V = TaskKind(
    name="wan26_r2v",
    summary="Videos of people or objects in references (Wan 2.6)",
    start_doc="Make a video that shows the people or objects of references, with Wan 2.6.",
    input=Wan26R2vInput,
    record=Wan26R2vRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "video"),),
)
