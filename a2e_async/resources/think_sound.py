"""Think sound: a video gets the sound that fits it."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Result, TaskKind


@define(kw_only=True)
class ThinkSoundInput(TaskInput):
    """What `a2e.think_sound.start` takes (``POST /api/v1/thinkSound/start``)."""

    video_url: Annotated[MediaInput, Media("video"), Doc("The video: .mp4, .avi, .mov or .mkv.")]
    caption: Annotated[str | None, Doc("What the video shows.")] = None
    cot_description: Annotated[
        str | None, Doc("How the sound comes about, step by step, as guidance.")
    ] = None
    seed: Annotated[int | None, Doc("The same number gives similar sound.")] = None


@define(kw_only=True)
class ThinkSoundRecord(Record):
    """A think-sound task. Its output is the video with sound."""

    video_url: str | None = None
    caption: str | None = None
    cot_description: str | None = None
    seed: int | None = None


THINK_SOUND = TaskKind(
    name="think_sound",
    summary="Sound for a video",
    input=ThinkSoundInput,
    record=ThinkSoundRecord,
    start_at=Endpoint("POST", "/api/v1/thinkSound/start"),
    detail_at=Endpoint("GET", "/api/v1/thinkSound/{id}"),
    list_at=Endpoint("GET", "/api/v1/thinkSound/allRecords"),
    batch_at=Endpoint("POST", "/api/v1/thinkSound/batchDetail"),
    delete_at=Endpoint("DELETE", "/api/v1/thinkSound/{id}"),
    results=(Result("result_url", "video"),),
)
