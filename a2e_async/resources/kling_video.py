"""Kling 2.6 and 3.0: a video from a text or a picture, or a picture that moves as a video does."""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

from attrs import define

from a2e_async.errors import InvalidInput
from a2e_async.inputs import AsText, Between, Doc, Media, MediaInput, TaskInput
from a2e_async.models import FromText, Record
from a2e_async.resources.uses import Use, check_among, check_use
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

PREFIX: Final = "/api/v1/klingVideo"

_RULES: Final = {
    "text-to-video": Use(takes=("aspect_ratio",)),
    "image-to-video": Use(needs=("image_url",), takes=("end_image_url",)),
    "motion-control": Use(needs=("image_url", "video_url"), takes=("character_orientation",)),
}


@define(kw_only=True)
class KlingVideoInput(TaskInput):
    """What `a2e.kling_video.start` takes (``POST /api/v1/klingVideo/start``)."""

    mode: Annotated[
        Literal["text-to-video", "image-to-video", "motion-control"],
        Doc("What the video is made from; motion-control moves image_url as video_url moves."),
    ]
    prompt: Annotated[str, Doc("What happens in the video.")]
    version: Annotated[
        Literal["2.6", "3.0"] | str | None, Doc("The version of Kling, 2.6 by default.")
    ] = None
    model_version: Annotated[
        Literal["standard", "fast"] | str | None,
        Doc("The variant of 3.0, standard by default; fast does no motion-control."),
    ] = None
    resolution: Annotated[
        Literal["720p", "1080p"] | None,
        Doc("Size of the picture for model_version fast, 720p by default."),
    ] = None
    quality_mode: Annotated[
        Literal["std", "pro", "4k"] | None,
        Doc("Quality and price, std by default; 4k needs version 3.0 and no motion-control."),
    ] = None
    duration: Annotated[
        int | None,
        Between(3, 15),
        AsText(),
        Doc("Seconds, 5 by default: 5 or 10 with version 2.6, 3-15 with 3.0."),
    ] = None
    image_url: Annotated[
        MediaInput | None,
        Media("image"),
        Doc("The picture; needed for image-to-video and motion-control."),
    ] = None
    video_url: Annotated[
        MediaInput | None,
        Media("video"),
        Doc("The movement to take over; needed for motion-control."),
    ] = None
    aspect_ratio: Annotated[
        Literal["16:9", "9:16", "1:1"] | None,
        Doc("Shape of the picture, 16:9 by default; for text-to-video only."),
    ] = None
    sound: Annotated[
        bool | None, Doc("Make sound; off by default, and with version 2.6 for pro only.")
    ] = None
    end_image_url: Annotated[
        MediaInput | None,
        Media("image"),
        Doc("The last frame, for image-to-video with pro; with 2.6 not together with sound."),
    ] = None
    character_orientation: Annotated[
        Literal["video", "image"] | None,
        Doc(
            "Whom the figure of motion-control turns like: the video (default, 3-30 s) or the "
            "image (3-10 s)."
        ),
    ] = None
    negative_prompt: Annotated[str | None, Doc("What must not be seen.")] = None
    seed: Annotated[int | None, Doc("The same number gives similar videos.")] = None

    def check(self) -> None:
        """Check what mode, version and quality take and make."""
        check_use(self, "mode", _RULES)
        old = self.version in (None, "2.6")
        for wrong, name, message in self._conflicts(
            old, motion_control=self.mode == "motion-control"
        ):
            if wrong:
                raise InvalidInput(message, field=name)
        if old and self.mode != "motion-control":
            check_among(self, "duration", (5, 10), "with version 2.6")

    def _conflicts(self, old: bool, *, motion_control: bool) -> Iterator[tuple[bool, str, str]]:
        """Yield what may be wrong: whether it is, the input to change, and how."""
        if self.model_version == "fast":
            yield old, "version", "model_version 'fast' needs version='3.0'."
            yield motion_control, "mode", "model_version 'fast' does no motion-control."
            yield self.quality_mode == "4k", "quality_mode", "model_version 'fast' makes no 4k."
        elif self.model_version in (None, "standard"):
            sized = self.resolution is not None
            yield sized, "model_version", "resolution needs model_version='fast'."
        if self.quality_mode == "4k":
            yield old, "version", "quality_mode '4k' needs version='3.0'."
            yield motion_control, "mode", "quality_mode '4k' does no motion-control."
        not_pro = self.quality_mode != "pro"
        if self.end_image_url is not None:
            yield not_pro, "quality_mode", "end_image_url needs quality_mode='pro'."
            both = old and bool(self.sound)
            yield both, "sound", "version 2.6 makes no sound with end_image_url."
        if self.sound:
            yield old and not_pro, "quality_mode", "sound needs quality_mode='pro' or version 3.0."


@define(kw_only=True)
class KlingVideoRecord(Record):
    """A Kling task. Its output is a video; ``duration`` in seconds."""

    mode: str | None = None
    prompt: str | None = None
    version: str | None = None
    model_version: str | None = None
    resolution: str | None = None
    quality_mode: str | None = None
    duration: Annotated[float | None, FromText()] = None
    image_url: str | None = None
    video_url: str | None = None
    aspect_ratio: str | None = None
    sound: bool | None = None
    end_image_url: str | None = None
    character_orientation: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None


KLING_VIDEO = TaskKind(
    name="kling_video",
    summary="Videos by Kling 2.6 and 3.0",
    input=KlingVideoInput,
    record=KlingVideoRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    rename_at=Endpoint("PUT", f"{PREFIX}/{{id}}"),
    results=(Result("result_url", "video"),),
)
