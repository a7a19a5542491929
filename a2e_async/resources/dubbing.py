"""AI dubbing: the speech of an audio or video file in another language, in the same voice."""

from datetime import datetime
from typing import Annotated, Literal

from attrs import define

from a2e_async.inputs import Between, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record, Wire
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

Language = Literal["auto", "en", "zh", "ar", "ja", "es", "de", "fr"]


@define(kw_only=True)
class DubbingInput(TaskInput):
    """What `a2e.dubbing.start` takes (``POST /api/v1/userDubbing/startDubbing``)."""

    source_url: Annotated[
        MediaInput, Media("audio", "video"), Doc("The speech to dub: an audio or a video file.")
    ]
    target_lang: Annotated[Language | str, Doc("Language of the result, such as en or es.")]
    source_lang: Annotated[
        Language | str | None, Doc("Language of the source; the service detects it (auto).")
    ] = None
    num_speakers: Annotated[
        int | None, Between(1, 100), Doc("How many people speak in the source.")
    ] = None
    drop_background_audio: Annotated[
        bool | None, Doc("Leave out music and noise of the source.")
    ] = None


@define(kw_only=True)
class DubbingRecord(Record):
    """A dubbing task. Its output is an audio file; ``duration`` is the source's, in seconds."""

    source_url: str | None = None
    source_lang: str | None = None
    target_lang: str | None = None
    num_speakers: int | None = None
    drop_background_audio: bool | None = None
    duration: float | None = None
    user_id: str | None = None
    updated_at: Annotated[datetime | None, Wire("updatedAt")] = None


DUBBING = TaskKind(
    name="dubbing",
    summary="Speech in another language",
    input=DubbingInput,
    record=DubbingRecord,
    start_at=Endpoint("POST", "/api/v1/userDubbing/startDubbing"),
    detail_at=Endpoint("GET", "/api/v1/userDubbing/{id}"),
    list_at=Endpoint("GET", "/api/v1/userDubbing/allRecords"),
    processing_at=Endpoint("GET", "/api/v1/userDubbing/allProcessing"),
    delete_at=Endpoint("DELETE", "/api/v1/userDubbing/{id}"),
    results=(Result("result_url", "audio"),),
    failure_texts=("faild_message", "failed_message"),
)
