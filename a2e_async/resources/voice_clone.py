"""Voice clone: a voice of your own, trained from samples, for speech."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from attrs import define

from a2e_async.inputs import Count, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, TaskKind

PREFIX = "/api/v1/userVoice"


@define(kw_only=True)
class VoiceCloneInput(TaskInput):
    """What `a2e.voice_clone.start` takes (``POST /api/v1/userVoice/training``)."""

    voice_urls: Annotated[
        Sequence[MediaInput],
        Media("audio"),
        Count(1),
        Doc("Recordings of the voice; one is enough."),
    ]
    gender: Annotated[
        Literal["female", "male"] | None, Doc("The voice's; the service takes female.")
    ] = None
    denoise: Annotated[bool | None, Doc("Take noise out of the recordings.")] = None
    enhance_voice_similarity: Annotated[
        bool | None, Doc("Come closer to the voice of the recordings.")
    ] = None
    model: Annotated[
        Literal["a2e", "cartesia", "minimax", "elevenlabs"] | str | None,
        Doc("The model, a2e by default; the price depends on it."),
    ] = None
    language: Annotated[str | None, Doc("Language of the recordings.")] = None


@define(kw_only=True)
class VoiceCloneRecord(Record):
    """A voice training. It makes no files: its result is `voice_id`."""

    instead_of_outputs: ClassVar[str] = "record.voice_id"

    voice_urls: tuple[str, ...] = ()
    gender: str | None = None
    model: str | None = None
    language: str | None = None
    train_mode: str | None = None
    speaker_id: str | None = None

    @property
    def voice_id(self) -> str:
        """What `a2e.speech.say` takes as ``user_voice_id``, once the training is done."""
        return self.id


VOICE_CLONE = TaskKind(
    name="voice_clone",
    summary="A voice of your own",
    input=VoiceCloneInput,
    record=VoiceCloneRecord,
    start_at=Endpoint("POST", f"{PREFIX}/training"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/completedRecord"),
    processing_at=Endpoint("GET", f"{PREFIX}/trainingRecord"),
    shows_new=Endpoint("GET", f"{PREFIX}/trainingRecord"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    rename_at=Endpoint("PUT", f"{PREFIX}/{{id}}"),
    paging=None,
    usual=(60, 120),
)
