"""Talking video: the person in a video speaks given audio."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Doc, Media, MediaInput
from a2e_async.resources.people import SpeakingInput, SpeakingRecord
from a2e_async.tasks.kind import Endpoint, Result, TaskKind


@define(kw_only=True)
class TalkingVideoInput(SpeakingInput):
    """Inputs of `a2e.talking_video.start` (``POST /api/v1/talkingVideo/start``)."""

    video_url: Annotated[MediaInput, Media("video"), Doc("The video of the person.")]


@define(kw_only=True)
class TalkingVideoRecord(SpeakingRecord):
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
    start_at=Endpoint("POST", "/api/v1/talkingVideo/start"),
    detail_at=Endpoint("GET", "/api/v1/talkingVideo/{id}"),
    list_at=Endpoint("GET", "/api/v1/talkingVideo/allRecords"),
    batch_at=Endpoint("POST", "/api/v1/talkingVideo/batchDetail"),
    delete_at=Endpoint("DELETE", "/api/v1/talkingVideo/{id}"),
    results=(Result("result_url", "video"),),
)
