"""Seedance 1.5: a video from a text, from a picture, or between two pictures."""

from typing import Annotated, Final, Literal

from attrs import define

from a2e_async.inputs import AsText, Doc, Media, MediaInput, TaskInput
from a2e_async.models import FromText, Record
from a2e_async.resources.uses import Use, check_use
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

_RULES: Final = {
    "text-to-video": Use(),
    "image-to-video": Use(needs=("image_url",), takes=("end_image_url",)),
}


@define(kw_only=True)
class SeedanceInput(TaskInput):
    """What `a2e.seedance.start` takes (``POST /api/v1/seedanceVideo/start``)."""

    prompt: Annotated[str, Doc("What happens in the video.")]
    mode: Annotated[
        Literal["text-to-video", "image-to-video"] | None,
        Doc("What the video is made from, text-to-video by default; pictures need the other."),
    ] = None
    image_url: Annotated[
        MediaInput | None, Media("image"), Doc("The first frame; needed for image-to-video.")
    ] = None
    end_image_url: Annotated[
        MediaInput | None, Media("image"), Doc("The last frame, for image-to-video.")
    ] = None
    duration: Annotated[Literal[5, 10] | None, AsText(), Doc("Seconds, 5 by default.")] = None
    aspect_ratio: Annotated[
        Literal["16:9", "9:16", "1:1"] | None, Doc("Shape of the picture, 16:9 by default.")
    ] = None
    resolution: Annotated[
        Literal["480p", "720p"] | None, Doc("Size of the picture, 720p by default.")
    ] = None
    camera_fixed: Annotated[bool | None, Doc("Keep the camera still; off by default.")] = None
    generate_audio: Annotated[bool | None, Doc("Make sound; off by default.")] = None

    def check(self) -> None:
        """Check that pictures and mode fit."""
        check_use(self, "mode", _RULES, usual="text-to-video")


@define(kw_only=True)
class SeedanceRecord(Record):
    """A Seedance 1.5 task. Its output is a video; ``duration`` in seconds."""

    prompt: str | None = None
    mode: str | None = None
    image_url: str | None = None
    end_image_url: str | None = None
    duration: Annotated[float | None, FromText()] = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    camera_fixed: bool | None = None
    generate_audio: bool | None = None


SEEDANCE = TaskKind(
    name="seedance",
    summary="Videos by Seedance 1.5",
    input=SeedanceInput,
    record=SeedanceRecord,
    start_at=Endpoint("POST", "/api/v1/seedanceVideo/start"),
    list_at=Endpoint("GET", "/api/v1/seedanceVideo/allRecords"),
    results=(Result("result_url", "video"),),
)
