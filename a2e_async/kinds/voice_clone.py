"""Voice clone: your own voice for speech, trained from recordings.

Clones a voice from recordings of a speaker who has given consent. Its result is
`record.voice_id`, for [speech](speech.md). The service trains one voice at a time.

```python
voice = await a2e.voice_clone.run(name="Ana", voice_urls=["speech.wav"], gender="female")
spoken = await a2e.speech.say("Good morning.", user_voice_id=voice.voice_id)
await spoken.save("morning/")
```
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, ItemCount, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, TaskKind
from a2e_async.models import Record

PREFIX = "/api/v1/userVoice"


@define(kw_only=True)
class VoiceCloneInput(TaskInput):
    """Inputs of `a2e.voice_clone.start` (``POST /api/v1/userVoice/training``)."""

    voice_urls: Annotated[
        Sequence[MediaInput],
        AcceptedMedia("audio"),
        ItemCount(1),
        FieldDoc("Recordings of the voice, at least one."),
    ]
    gender: Annotated[
        Literal["female", "male"] | None, FieldDoc("Gender of the voice, female by default.")
    ] = None
    denoise: Annotated[bool | None, FieldDoc("Remove noise from the recordings.")] = None
    enhance_voice_similarity: Annotated[
        bool | None, FieldDoc("Increase the similarity to the recorded voice.")
    ] = None
    model: Annotated[
        Literal["a2e", "cartesia", "minimax", "elevenlabs"] | str | None,
        FieldDoc("The model, a2e by default; the price depends on it."),
    ] = None
    language: Annotated[str | None, FieldDoc("Language of the recordings.")] = None


@define(kw_only=True)
class VoiceCloneRecord(Record):
    """A voice training. It has no files: its result is `voice_id`."""

    result_attribute: ClassVar[str] = "record.voice_id"

    voice_urls: tuple[str, ...] = ()
    """URLs of the recordings, in order."""
    gender: str | None = None
    """Gender of the voice: female or male."""
    model: str | None = None
    """The model that was used."""
    language: str | None = None
    """Language of the recordings."""
    train_mode: str | None = None
    """The service's word for how the voice was trained (undocumented)."""
    speaker_id: str | None = None
    """The service's id of the speaker (undocumented)."""

    @property
    def voice_id(self) -> str:
        """The id that `a2e.speech.say` takes as ``user_voice_id`` after the training."""
        return self.id


VOICE_CLONE = TaskKind(
    name="voice_clone",
    summary="A cloned voice",
    start_doc="Train a voice from recordings. `a2e.speech.say` then speaks with it.",
    input=VoiceCloneInput,
    record=VoiceCloneRecord,
    start=Endpoint("POST", f"{PREFIX}/training"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/completedRecord"),
    processing_list=Endpoint("GET", f"{PREFIX}/trainingRecord"),
    recovery_lists=Endpoint("GET", f"{PREFIX}/trainingRecord"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    rename=Endpoint("PUT", f"{PREFIX}/{{id}}"),
    paging=None,
    typical_duration=(60, 120),
)
