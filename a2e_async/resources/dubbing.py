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
    """Inputs of `a2e.dubbing.start` (``POST /api/v1/userDubbing/startDubbing``)."""

    source_url: Annotated[
        MediaInput, Media("audio", "video"), Doc("The speech to dub, as an audio or video file.")
    ]
    target_lang: Annotated[Language | str, Doc("Language of the result, such as en or es.")]
    source_lang: Annotated[
        Language | str | None,
        Doc("Language of the source; detected by the service by default (auto)."),
    ] = None
    num_speakers: Annotated[
        int | None, Between(1, 100), Doc("Number of speakers in the source.")
    ] = None
    drop_background_audio: Annotated[
        bool | None, Doc("Remove the music and noise of the source.")
    ] = None


@define(kw_only=True)
class DubbingRecord(Record):
    """A dubbing task. Its output is an audio file."""

    source_url: str | None = None
    """URL of the input file."""
    source_lang: str | None = None
    """Language of the source, such as en; auto if it was detected."""
    target_lang: str | None = None
    """Language of the result, such as es."""
    num_speakers: int | None = None
    """Number of speakers in the source."""
    drop_background_audio: bool | None = None
    """Whether music and noise of the source were removed."""
    duration: float | None = None
    """Length of the source in seconds."""
    user_id: str | None = None
    """Id of the account at the service."""
    updated_at: Annotated[datetime | None, Wire("updatedAt")] = None
    """When the service last changed the record."""


DUBBING = TaskKind(
    name="dubbing",
    summary="Speech in another language",
    start_doc=(
        "Dub the speech of an audio or video file into another language, in the "
        "speaker's own voice."
    ),
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
