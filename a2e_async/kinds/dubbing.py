"""AI dubbing: the speech of an audio or video file in another language, in the same voice.

Audio only: the result is sound, also for a video. Translates the speech of an audio or video file
into another language, in the speaker's own voice. For a video with the dubbed sound, see
`a2e.recipes.dub_video` in [recipes](recipes.md).

```python
record = await a2e.dubbing.run(source_url="talk.wav", target_lang="es", num_speakers=1)
await record.output.save("talk-es.mp3")
```
"""

from datetime import datetime
from typing import Annotated, Literal

from attrs import define

from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    LanguageCode,
    MediaInput,
    Range,
    TaskInput,
)
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.models import Record, WireName

TargetLanguage = Literal["en", "zh", "ar", "ja", "es", "de", "fr"]
SourceLanguage = Literal["auto", "en", "zh", "ar", "ja", "es", "de", "fr"]


@define(kw_only=True)
class DubbingInput(TaskInput):
    """Inputs of `a2e.dubbing.start` (``POST /api/v1/userDubbing/startDubbing``)."""

    source_url: Annotated[
        MediaInput,
        AcceptedMedia("audio", "video"),
        FieldDoc("The speech to dub, as an audio or video file."),
    ]
    target_lang: Annotated[
        TargetLanguage | str, LanguageCode(), FieldDoc("Language of the result, such as en or es.")
    ]
    source_lang: Annotated[
        SourceLanguage | str | None,
        LanguageCode(),
        FieldDoc("Language of the source; detected by the service by default (auto)."),
    ] = None
    num_speakers: Annotated[
        int | None, Range(1, 100), FieldDoc("Number of speakers in the source.")
    ] = None
    drop_background_audio: Annotated[
        bool | None, FieldDoc("Remove the music and noise of the source.")
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
    updated_at: Annotated[datetime | None, WireName("updatedAt")] = None
    """When the service last changed the record."""


DUBBING = TaskKind(
    name="dubbing",
    summary="Speech in another language, as sound only",
    start_doc=(
        "Dub the speech of an audio or video file into another language, in the "
        "speaker's own voice."
    ),
    input=DubbingInput,
    record=DubbingRecord,
    start=Endpoint("POST", "/api/v1/userDubbing/startDubbing"),
    detail=Endpoint("GET", "/api/v1/userDubbing/{id}"),
    list=Endpoint("GET", "/api/v1/userDubbing/allRecords"),
    processing_list=Endpoint("GET", "/api/v1/userDubbing/allProcessing"),
    delete=Endpoint("DELETE", "/api/v1/userDubbing/{id}"),
    outputs=(OutputField("result_url", "audio"),),
    failure_message_fields=("faild_message", "failed_message"),
)
