"""HappyHorse: a video from a text, a picture or references, or another video edited."""

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
    """What `a2e.happyhorse.start` takes (``POST /api/v1/userHappyhorseVideo/start``)."""

    mode: Annotated[
        Literal["t2v", "i2v", "r2v", "video-edit"],
        Doc("What the video is made from: a text, a picture, references, or another video."),
    ]
    model_version: Annotated[
        Literal["1.0", "1.1"] | str | None,
        Doc("The model, 1.0 by default; video-edit always runs 1.0."),
    ] = None
    prompt: Annotated[str | None, Doc("What happens; needed for all modes but i2v.")] = None
    image_url: Annotated[
        MediaInput | None, Media("image"), Doc("The first frame; needed for i2v.")
    ] = None
    reference_image_urls: Annotated[
        Sequence[MediaInput] | None,
        Media("image"),
        Count(1, 9),
        Doc("Pictures of who or what is to be seen: 1-9 for r2v, at most 5 for video-edit."),
    ] = None
    edit_video_url: Annotated[
        MediaInput | None, Media("video"), Doc("The video to change; needed for video-edit.")
    ] = None
    input_video_seconds: Annotated[
        float | None,
        Doc("Length of edit_video_url in seconds as you measured it, to estimate the price."),
    ] = None
    duration: Annotated[
        int | None,
        Between(3, 15),
        AsText(),
        Doc(
            "Seconds, 5 by default: 5, 10 or 15 with 1.0, 3-15 with 1.1; video-edit follows its "
            "input."
        ),
    ] = None
    resolution: Annotated[
        Literal["480P", "720P", "1080P"] | None,
        Doc("Size of the picture, 720P by default; 480P needs model_version 1.1."),
    ] = None
    ratio: Annotated[
        Literal["16:9", "9:16", "1:1", "4:3", "3:4", "4:5", "5:4", "9:21", "21:9"] | None,
        Doc(
            "Shape of the picture, 16:9 by default; for t2v and r2v. 4:5, 5:4, 9:21 and 21:9 need "
            "model_version 1.1."
        ),
    ] = None
    audio_setting: Annotated[
        Literal["auto", "origin"] | None,
        Doc("Sound of video-edit, auto by default; origin keeps that of the input."),
    ] = None
    seed: Annotated[
        int | None, Between(0, 2147483647), Doc("The same number gives similar videos.")
    ] = None
    watermark: Annotated[
        bool | None, Doc("The maker's watermark; it is there unless this is False.")
    ] = None

    def check(self) -> None:
        """Check what the mode needs and takes, and what version 1.0 cannot do."""
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
    """A HappyHorse task. Its output is a video; ``duration`` in seconds."""

    mode: str | None = None
    model_version: str | None = None
    prompt: str | None = None
    image_url: str | None = None
    reference_image_urls: tuple[str, ...] = ()
    edit_video_url: str | None = None
    input_video_seconds: float | None = None
    duration: Annotated[float | None, FromText()] = None
    resolution: str | None = None
    ratio: str | None = None
    audio_setting: str | None = None
    seed: int | None = None
    watermark: bool | None = None


HAPPYHORSE = TaskKind(
    name="happyhorse",
    summary="Videos made or edited by HappyHorse",
    input=HappyhorseInput,
    record=HappyhorseRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    results=(Result("result_url", "video"),),
)
