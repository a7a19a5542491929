"""Talking video: the person in a video speaks given audio."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Between, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Result, TaskKind


@define(kw_only=True)
class TalkingVideoInput(TaskInput):
    """What `a2e.talking_video.start` takes (``POST /api/v1/talkingVideo/start``)."""

    video_url: Annotated[MediaInput, Media("video"), Doc("The video of the person.")]
    prompt: Annotated[str, Doc("What the person does, such as: smile and speak.")]
    negative_prompt: Annotated[str, Doc("What must not be seen, such as: blurry, distorted.")]
    audio_url: Annotated[MediaInput | None, Media("audio"), Doc("What the person says.")] = None
    duration: Annotated[
        int | None, Between(1, 20), Doc("Length of the result in seconds; the service takes 3.")
    ] = None


@define(kw_only=True)
class TalkingVideoRecord(Record):
    """A talking-video task. Its output is a video; ``duration`` in seconds."""

    video_url: str | None = None
    audio_url: str | None = None
    duration: float | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    cover_url: str | None = None


TALKING_VIDEO = TaskKind(
    name="talking_video",
    summary="A person in a video who says something else",
    input=TalkingVideoInput,
    record=TalkingVideoRecord,
    start_at=Endpoint("POST", "/api/v1/talkingVideo/start"),
    detail_at=Endpoint("GET", "/api/v1/talkingVideo/{id}"),
    list_at=Endpoint("GET", "/api/v1/talkingVideo/allRecords"),
    batch_at=Endpoint("POST", "/api/v1/talkingVideo/batchDetail"),
    delete_at=Endpoint("DELETE", "/api/v1/talkingVideo/{id}"),
    results=(Result("result_url", "video"),),
)
