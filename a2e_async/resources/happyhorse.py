"""HappyHorse: a video from text, an image or references, or another video edited."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from attrs import define

from a2e_async.errors import InvalidInput
from a2e_async.inputs import AsText, Between, Count, Doc, Media, MediaInput, TaskInput
from a2e_async.models import FromText, Record
from a2e_async.resources.uses import Use, check_among, check_use
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

PREFIX: Final = "/api/v1/userHappyhorseVideo"

_RULES: Final = {
    "t2v": Use(needs=("prompt",), takes=("ratio",)),
    "i2v": Use(needs=("image_url",), takes=("prompt",)),
    "r2v": Use(needs=("prompt", "reference_image_urls"), takes=("ratio",)),
    "video-edit": Use(
        needs=("prompt", "edit_video_url"),
        takes=("reference_image_urls", "input_video_seconds", "audio_setting"),
    ),
}


@define(kw_only=True)
class HappyhorseInput(TaskInput):
    """Inputs of `a2e.happyhorse.start` (``POST /api/v1/userHappyhorseVideo/start``)."""

    mode: Annotated[
        Literal["t2v", "i2v", "r2v", "video-edit"],
        Doc(
            "What the video is made from: text (t2v), an image (i2v), references "
            "(r2v) or another video (video-edit)."
        ),
    ]
    model_version: Annotated[
        Literal["1.0", "1.1"] | str | None,
        Doc("The model, 1.0 by default; video-edit always uses 1.0."),
    ] = None
    prompt: Annotated[
        str | None, Doc("Describes what happens; required for all modes but i2v.")
    ] = None
    image_url: Annotated[
        MediaInput | None, Media("image"), Doc("The first frame; required for i2v.")
    ] = None
    reference_image_urls: Annotated[
        Sequence[MediaInput] | None,
        Media("image"),
        Count(1, 9),
        Doc(
            "Reference images of the people or objects to show: 1-9 for r2v, "
            "at most 5 for video-edit."
        ),
    ] = None
    edit_video_url: Annotated[
        MediaInput | None, Media("video"), Doc("The video to change; required for video-edit.")
    ] = None
    input_video_seconds: Annotated[
        float | None,
        Doc("Your measured length of edit_video_url in seconds, for the price estimate."),
    ] = None
    duration: Annotated[
        int | None,
        Between(3, 15),
        AsText(),
        Doc(
            "Length of the video in seconds, 5 by default: 5, 10 or 15 with "
            "model_version 1.0, 3-15 with 1.1; video-edit uses the length of its "
            "input."
        ),
    ] = None
    resolution: Annotated[
        Literal["480P", "720P", "1080P"] | None,
        Doc("Resolution, 720P by default; 480P needs model_version 1.1."),
    ] = None
    ratio: Annotated[
        Literal["16:9", "9:16", "1:1", "4:3", "3:4", "4:5", "5:4", "9:21", "21:9"] | None,
        Doc(
            "Aspect ratio, 16:9 by default; for t2v and r2v. 4:5, 5:4, 9:21 and 21:9 need "
            "model_version 1.1."
        ),
    ] = None
    audio_setting: Annotated[
        Literal["auto", "origin"] | None,
        Doc("Audio of video-edit, auto by default; origin keeps the audio of the input."),
    ] = None
    seed: Annotated[
        int | None, Between(0, 2147483647), Doc("Random seed; the same seed gives similar videos.")
    ] = None
    watermark: Annotated[
        bool | None, Doc("The watermark of the model provider; False removes it.")
    ] = None

    def check(self) -> None:
        """Check the rules of the mode and the limits of version 1.0."""
        check_use(self, "mode", _RULES)
        edits = self.mode == "video-edit"
        if edits:
            check_among(self, "resolution", ("720P", "1080P"), "with video-edit")
            if len(self.reference_image_urls or ()) > 5:
                raise InvalidInput(
                    "video-edit takes at most 5 reference_image_urls.", field="reference_image_urls"
                )
        elif self.model_version in (None, "1.0"):
            when = "with model_version 1.0"
            check_among(self, "duration", (5, 10, 15), when)
            check_among(self, "resolution", ("720P", "1080P"), when)
            check_among(self, "ratio", ("16:9", "9:16", "1:1", "4:3", "3:4"), when)


@define(kw_only=True)
class HappyhorseRecord(Record):
    """A HappyHorse task. Its output is a video."""

    mode: str | None = None
    """What the result was made from, as given to the start."""
    model_version: str | None = None
    """The version of the model."""
    prompt: str | None = None
    """The prompt given to the start."""
    image_url: str | None = None
    """URL of the input image."""
    reference_image_urls: tuple[str, ...] = ()
    """URLs of the reference images, in order."""
    edit_video_url: str | None = None
    """URL of the video that was edited."""
    input_video_seconds: float | None = None
    """Length of the edited video in seconds, as given to the start."""
    duration: Annotated[float | None, FromText()] = None
    """Length of the video in seconds."""
    resolution: str | None = None
    """Resolution, such as 720p or 2K."""
    ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    audio_setting: str | None = None
    """Audio of an edited video: auto or origin."""
    seed: int | None = None
    """The random seed."""
    watermark: bool | None = None
    """Whether the video has a watermark."""


HAPPYHORSE = TaskKind(
    name="happyhorse",
    summary="Videos made or edited by HappyHorse",
    start_doc=("Make a video from text, an image or references, or edit a video, with HappyHorse."),
    input=HappyhorseInput,
    record=HappyhorseRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    results=(Result("result_url", "video"),),
)
