"""Talking video: the person in a video speaks given audio.

Makes the person in a video speak the given audio.

```python
record = await a2e.talking_video.run(
    video_url="clip.mp4",
    audio_url="speech.wav",
    prompt="speaks calmly to the camera",
    negative_prompt="blurry",
)
await record.output.save("speaking.mp4")
```
"""

from typing import Annotated

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.kinds.person_inputs import SpeakingPersonInput, SpeakingPersonRecord


@define(kw_only=True)
class TalkingVideoInput(SpeakingPersonInput):
    """Inputs of `a2e.talking_video.start` (``POST /api/v1/talkingVideo/start``)."""

    video_url: Annotated[MediaInput, AcceptedMedia("video"), FieldDoc("The video of the person.")]


@define(kw_only=True)
class TalkingVideoRecord(SpeakingPersonRecord):
    """A talking-video task. Its output is a video."""

    video_url: str | None = None
    """URL of the input video."""
    cover_url: str | None = None
    """URL of the cover image."""


TALKING_VIDEO = TaskKind(
    name="talking_video",
    summary="A person in a video speaks other words",
    start_doc="Make the person of a video speak given audio.",
    input=TalkingVideoInput,
    record=TalkingVideoRecord,
    start=Endpoint("POST", "/api/v1/talkingVideo/start"),
    detail=Endpoint("GET", "/api/v1/talkingVideo/{id}"),
    list=Endpoint("GET", "/api/v1/talkingVideo/allRecords"),
    batch_detail=Endpoint("POST", "/api/v1/talkingVideo/batchDetail"),
    delete=Endpoint("DELETE", "/api/v1/talkingVideo/{id}"),
    outputs=(OutputField("result_url", "video"),),
)
