"""Talking photo: the person in a picture speaks given audio."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Doc, Media, MediaInput
from a2e_async.resources.people import SpeakingInput, SpeakingRecord
from a2e_async.tasks.kind import Endpoint, Result, TaskKind


@define(kw_only=True)
class TalkingPhotoInput(SpeakingInput):
    """What `a2e.talking_photo.start` takes (``POST /api/v1/talkingPhoto/start``)."""

    image_url: Annotated[MediaInput, Media("image"), Doc("The picture of the person.")]


@define(kw_only=True)
class TalkingPhotoRecord(SpeakingRecord):
    """A task of this kind. Its output is a video; ``duration`` in seconds."""

    image_url: str | None = None


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
