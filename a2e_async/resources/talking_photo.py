"""Talking photo: the person in an image speaks given audio."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Doc, Media, MediaInput
from a2e_async.resources.people import SpeakingInput, SpeakingRecord
from a2e_async.tasks.kind import Endpoint, Result, TaskKind


@define(kw_only=True)
class TalkingPhotoInput(SpeakingInput):
    """Inputs of `a2e.talking_photo.start` (``POST /api/v1/talkingPhoto/start``)."""

    image_url: Annotated[MediaInput, Media("image"), Doc("The image of the person.")]


@define(kw_only=True)
class TalkingPhotoRecord(SpeakingRecord):
    """A talking-photo task. Its output is a video."""

    image_url: str | None = None
    """URL of the input image."""


TALKING_PHOTO = TaskKind(
    name="talking_photo",
    summary="A speaking person from an image",
    start_doc="Make a video in which the person of an image speaks given audio.",
    input=TalkingPhotoInput,
    record=TalkingPhotoRecord,
    start_at=Endpoint("POST", "/api/v1/talkingPhoto/start"),
    detail_at=Endpoint("GET", "/api/v1/talkingPhoto/{id}"),
    list_at=Endpoint("GET", "/api/v1/talkingPhoto/allRecords"),
    batch_at=Endpoint("POST", "/api/v1/talkingPhoto/batchDetail"),
    delete_at=Endpoint("DELETE", "/api/v1/talkingPhoto/{id}"),
    results=(Result("result_url", "video"),),
)
