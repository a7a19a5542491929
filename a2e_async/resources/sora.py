"""Sora: a video from pictures or a text, under that name made by Kling 3.0."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from attrs import define

from a2e_async.inputs import AsText, Doc, Media, MediaInput, TaskInput
from a2e_async.models import FromText, Record
from a2e_async.resources.uses import Use, check_use
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

PREFIX: Final = "/api/v1/soraVideo"

_RULES: Final = {
    "text-to-video": Use(),
    "image-to-video": Use(needs=("image_urls",)),
}


@define(kw_only=True)
class SoraInput(TaskInput):
    """What `a2e.sora.start` takes (``POST /api/v1/soraVideo/start``)."""

    prompt: Annotated[str, Doc("What happens in the video.")]
    model_type: Annotated[
        Literal["text-to-video", "image-to-video"] | None,
        Doc("What the video is made from, image-to-video by default."),
    ] = None
    image_urls: Annotated[
        Sequence[MediaInput] | None,
        Media("image"),
        Doc("The pictures; needed unless model_type is text-to-video."),
    ] = None
    aspect_ratio: Annotated[
        Literal["portrait", "landscape"] | None, Doc("Shape of the picture, landscape by default.")
    ] = None
    duration_seconds: Annotated[
        Literal[5, 10, 15] | None, AsText(), Doc("Seconds, 5 by default.")
    ] = None
    quality: Annotated[
        Literal["standard", "high"] | None, Doc("Quality and price, standard by default.")
    ] = None

    def check(self) -> None:
        """Check that pictures and model_type fit."""
        check_use(self, "model_type", _RULES, usual="image-to-video")


@define(kw_only=True)
class SoraRecord(Record):
    """A Sora task. Its output is a video; ``duration_seconds`` as asked for."""

    prompt: str | None = None
    model_type: str | None = None
    image_urls: tuple[str, ...] = ()
    aspect_ratio: str | None = None
    duration_seconds: Annotated[float | None, FromText()] = None
    quality: str | None = None


SORA = TaskKind(
    name="sora",
    summary="Videos under the name of Sora, made by Kling 3.0",
    input=SoraInput,
    record=SoraRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    results=(Result("result_url", "video"),),
)
