"""The inputs and record fields shared by the kinds that animate a person."""

from typing import Annotated

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, Range, TaskInput
from a2e_async.kinds.input_rules import check_min
from a2e_async.models import Record, WireName


@define(kw_only=True)
class SpeakingPersonInput(TaskInput):
    """Inputs of the kinds that make a person in an image or a video speak."""

    prompt: Annotated[str, FieldDoc("Describes what the person does, such as: smile and speak.")]
    negative_prompt: Annotated[
        str, FieldDoc("What the result must not show, such as: blurry, distorted.")
    ]
    audio_url: Annotated[
        MediaInput | None, AcceptedMedia("audio"), FieldDoc("The speech of the person.")
    ] = None
    duration: Annotated[
        int | None, Range(1, 20), FieldDoc("Length of the video in seconds, 3 by default.")
    ] = None


@define(kw_only=True)
class SpeakingPersonRecord(Record):
    """A task that makes a person speak. Its output is a video."""

    audio_url: str | None = None
    """URL of the input audio."""
    duration: float | None = None
    """Length of the video in seconds."""
    prompt: str | None = None
    """The prompt given to the start."""
    negative_prompt: str | None = None
    """The negative prompt given to the start."""


@define(kw_only=True)
class MovingPersonInput(TaskInput):
    """Inputs of the kinds that animate the person of an image with the motion of a video."""

    image_url: Annotated[MediaInput, AcceptedMedia("image"), FieldDoc("The image of the person.")]
    video_url: Annotated[
        MediaInput, AcceptedMedia("video"), FieldDoc("The video whose motion is used.")
    ]
    negative_prompt: Annotated[str | None, FieldDoc("What the result must not show.")] = None
    processing_limit: Annotated[
        int | None,
        WireName("timeout"),
        FieldDoc("Processing limit of the service in seconds, 300 by default."),
    ] = None

    def check(self) -> None:
        """Check that the processing limit is at least 1 s."""
        check_min(self, 1, "processing_limit")


@define(kw_only=True)
class MovingPersonRecord(Record):
    """A task that animates a person. Its output is a video."""

    image_url: str | None = None
    """URL of the input image."""
    video_url: str | None = None
    """URL of the input video."""
    negative_prompt: str | None = None
    """The negative prompt given to the start."""
