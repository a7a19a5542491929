"""Talking photo: the person in an image speaks given audio.

Makes the person in a photo speak.

```python
record = await a2e.talking_photo.run(
    image_url="portrait.png",
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
class TalkingPhotoInput(SpeakingPersonInput):
    """Inputs of `a2e.talking_photo.start` (``POST /api/v1/talkingPhoto/start``)."""

    image_url: Annotated[MediaInput, AcceptedMedia("image"), FieldDoc("The image of the person.")]


@define(kw_only=True)
class TalkingPhotoRecord(SpeakingPersonRecord):
    """A talking-photo task. Its output is a video."""

    image_url: str | None = None
    """URL of the input image."""


TALKING_PHOTO = TaskKind(
    name="talking_photo",
    summary="A speaking person from an image",
    start_doc="Make a video in which the person of an image speaks given audio.",
    input=TalkingPhotoInput,
    record=TalkingPhotoRecord,
    start=Endpoint("POST", "/api/v1/talkingPhoto/start"),
    detail=Endpoint("GET", "/api/v1/talkingPhoto/{id}"),
    list=Endpoint("GET", "/api/v1/talkingPhoto/allRecords"),
    batch_detail=Endpoint("POST", "/api/v1/talkingPhoto/batchDetail"),
    delete=Endpoint("DELETE", "/api/v1/talkingPhoto/{id}"),
    outputs=(OutputField("result_url", "video"),),
)
