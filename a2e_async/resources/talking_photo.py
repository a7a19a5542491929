"""Talking photo: the person in a picture speaks given audio."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Between, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Result, TaskKind


@define(kw_only=True)
class TalkingPhotoInput(TaskInput):
    """What `a2e.talking_photo.start` takes (``POST /api/v1/talkingPhoto/start``)."""

    image_url: Annotated[MediaInput, Media("image"), Doc("The picture of the person.")]
    prompt: Annotated[str, Doc("What the person does, such as: smile and speak.")]
    negative_prompt: Annotated[str, Doc("What must not be seen, such as: blurry, distorted.")]
    audio_url: Annotated[MediaInput | None, Media("audio"), Doc("What the person says.")] = None
    duration: Annotated[
        int | None, Between(1, 20), Doc("Length of the result in seconds; the service takes 3.")
    ] = None


@define(kw_only=True)
class TalkingPhotoRecord(Record):
    """A talking-photo task. Its output is a video; ``duration`` in seconds."""

    image_url: str | None = None
    audio_url: str | None = None
    duration: float | None = None
    prompt: str | None = None
    negative_prompt: str | None = None


TALKING_PHOTO = TaskKind(
    name="talking_photo",
    summary="A picture that speaks",
    input=TalkingPhotoInput,
    record=TalkingPhotoRecord,
    start_at=Endpoint("POST", "/api/v1/talkingPhoto/start"),
    detail_at=Endpoint("GET", "/api/v1/talkingPhoto/{id}"),
    list_at=Endpoint("GET", "/api/v1/talkingPhoto/allRecords"),
    batch_at=Endpoint("POST", "/api/v1/talkingPhoto/batchDetail"),
    delete_at=Endpoint("DELETE", "/api/v1/talkingPhoto/{id}"),
    results=(Result("result_url", "video"),),
)
