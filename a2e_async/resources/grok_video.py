"""Grok Imagine: a video from a text or from pictures."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from attrs import define

from a2e_async.errors import InvalidInput
from a2e_async.inputs import AsText, Doc, Media, MediaInput, TaskInput
from a2e_async.models import FromText, Record
from a2e_async.resources.uses import Use, check_among, check_use
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

PREFIX: Final = "/api/v1/grokVideo"

_RULES: Final = {
    "text-to-video": Use(needs=("prompt",)),
    "image-to-video": Use(needs=(("image_urls", "image_url"),), takes=("prompt",)),
}
_TEXT_RATIOS: Final = ("1:1", "16:9", "9:16")
_RATIOS: Final = {
    "text-to-video": _TEXT_RATIOS,
    "image-to-video": (*_TEXT_RATIOS, "4:3", "3:4", "3:2", "2:3"),
}
"""Shapes that the legacy model makes; 1.5 makes all."""


@define(kw_only=True)
class GrokVideoInput(TaskInput):
    """What `a2e.grok_video.start` takes (``POST /api/v1/grokVideo/start``)."""

    model_type: Annotated[
        Literal["text-to-video", "image-to-video"] | None,
        Doc("What the video is made from, text-to-video by default."),
    ] = None
    model_version: Annotated[
        Literal["legacy", "1.5"] | str | None,
        Doc("The model, legacy by default; 1.5 makes image-to-video only."),
    ] = None
    prompt: Annotated[
        str | None, Doc("What happens; needed for text-to-video, optional for image-to-video.")
    ] = None
    mode: Annotated[
        Literal["fun", "normal", "spicy"] | None,
        Doc("The style, normal by default; the service may change it for image-to-video."),
    ] = None
    image_urls: Annotated[
        Sequence[MediaInput] | None,
        Media("image"),
        Doc("The pictures; image-to-video needs one here or in image_url."),
    ] = None
    image_url: Annotated[
        MediaInput | None, Media("image"), Doc("A picture that comes before image_urls.")
    ] = None
    aspect_ratio: Annotated[
        Literal["auto", "1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"] | None,
        Doc(
            "Shape of the picture, 16:9 by default; auto needs 1.5; 4:3, 3:4, 3:2 and 2:3 "
            "need pictures."
        ),
    ] = None
    duration: Annotated[Literal[6, 10, 15] | None, AsText(), Doc("Seconds, 6 by default.")] = None
    nsfw_checker: Annotated[
        bool | None, Doc("A further check for adult material, for 1.5; off by default.")
    ] = None

    def check(self) -> None:
        """Check what the model takes and makes."""
        kind = self.model_type or "text-to-video"
        if self.model_version == "1.5" and kind != "image-to-video":
            raise InvalidInput(
                "model_version 1.5 needs model_type='image-to-video'.", field="model_type"
            )
        check_use(self, "model_type", _RULES, usual="text-to-video")
        if self.model_version in (None, "legacy"):
            check_among(self, "aspect_ratio", _RATIOS[kind], f"with the legacy model and {kind}")
            if self.nsfw_checker:
                raise InvalidInput("nsfw_checker needs model_version='1.5'.", field="model_version")


@define(kw_only=True)
class GrokVideoRecord(Record):
    """A Grok Imagine task. Its output is a video; ``duration`` in seconds."""

    model_type: str | None = None
    model_version: str | None = None
    prompt: str | None = None
    mode: str | None = None
    image_urls: tuple[str, ...] = ()
    image_url: str | None = None
    aspect_ratio: str | None = None
    duration: Annotated[float | None, FromText()] = None
    nsfw_checker: bool | None = None


GROK_VIDEO = TaskKind(
    name="grok_video",
    summary="Videos by Grok Imagine",
    input=GrokVideoInput,
    record=GrokVideoRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    results=(Result("result_url", "video"),),
)
