"""What kinds that move a person have in common: inputs and records, each declared once."""

from typing import Annotated

from attrs import define

from a2e_async.inputs import Between, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record, Wire
from a2e_async.resources.uses import check_least


@define(kw_only=True)
class SpeakingInput(TaskInput):
    """What makes a person speak, in a picture or a video."""

    prompt: Annotated[str, Doc("What the person does, such as: smile and speak.")]
    negative_prompt: Annotated[str, Doc("What must not be seen, such as: blurry, distorted.")]
    audio_url: Annotated[MediaInput | None, Media("audio"), Doc("What the person says.")] = None
    duration: Annotated[
        int | None, Between(1, 20), Doc("Length of the result in seconds; the service takes 3.")
    ] = None


@define(kw_only=True)
class SpeakingRecord(Record):
    """A person who speaks. Its output is a video; ``duration`` in seconds."""

    audio_url: str | None = None
    duration: float | None = None
    prompt: str | None = None
    negative_prompt: str | None = None


@define(kw_only=True)
class MovingInput(TaskInput):
    """What makes the person of a picture move as a video does."""

    image_url: Annotated[MediaInput, Media("image"), Doc("The picture of the person.")]
    video_url: Annotated[MediaInput, Media("video"), Doc("The video whose motion is taken.")]
    negative_prompt: Annotated[str | None, Doc("What must not be seen.")] = None
    processing_limit: Annotated[
        int | None,
        Wire("timeout"),
        Doc("Seconds after which the service itself gives up; it takes 300."),
    ] = None

    def check(self) -> None:
        """Check that the service is given time."""
        check_least(self, 1, "processing_limit")


@define(kw_only=True)
class MovingRecord(Record):
    """A person who moves. Its output is a video."""

    image_url: str | None = None
    video_url: str | None = None
    negative_prompt: str | None = None
