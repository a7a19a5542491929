"""Think sound: adds matching audio to a video.

Generates sound that matches a silent video.

```python
record = await a2e.think_sound.run(video_url="clip.mp4", caption="steps on gravel")
await record.output.save("with-sound/")
```
"""

from typing import Annotated

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.models import Record


@define(kw_only=True)
class ThinkSoundInput(TaskInput):
    """Inputs of `a2e.think_sound.start` (``POST /api/v1/thinkSound/start``)."""

    video_url: Annotated[
        MediaInput, AcceptedMedia("video"), FieldDoc("The video, as .mp4, .avi, .mov or .mkv.")
    ]
    caption: Annotated[str | None, FieldDoc("What the video shows.")] = None
    cot_description: Annotated[
        str | None, FieldDoc("Guidance for the model: how the sound arises, step by step.")
    ] = None
    seed: Annotated[int | None, FieldDoc("Random seed; the same seed gives similar audio.")] = None


@define(kw_only=True)
class ThinkSoundRecord(Record):
    """A think-sound task. Its output is the video with audio."""

    video_url: str | None = None
    """URL of the input video."""
    caption: str | None = None
    """What the video shows, as given to the start."""
    cot_description: str | None = None
    """The guidance given to the start."""
    seed: int | None = None
    """The random seed."""


THINK_SOUND = TaskKind(
    name="think_sound",
    summary="Audio for a video",
    start_doc="Add audio to a video that matches what it shows.",
    input=ThinkSoundInput,
    record=ThinkSoundRecord,
    start=Endpoint("POST", "/api/v1/thinkSound/start"),
    detail=Endpoint("GET", "/api/v1/thinkSound/{id}"),
    list=Endpoint("GET", "/api/v1/thinkSound/allRecords"),
    batch_detail=Endpoint("POST", "/api/v1/thinkSound/batchDetail"),
    delete=Endpoint("DELETE", "/api/v1/thinkSound/{id}"),
    outputs=(OutputField("result_url", "video"),),
)
