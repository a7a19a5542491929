"""Nano Banana: images from text, or edited and combined from images."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async.errors import InvalidInput
from a2e_async.inputs import Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Paging, Result, TaskKind

PREFIX = "/api/v1/userNanoBanana"

_ONLY_1K = ("nano-banana", "nano-banana-2-lite")


@define(kw_only=True)
class NanoBananaInput(TaskInput):
    """Inputs of `a2e.nano_banana.start` (``POST /api/v1/userNanoBanana/start``)."""

    prompt: Annotated[str, Doc("Describes the image, or the changes to input_images.")]
    model: Annotated[
        Literal["nano-banana", "nano-banana-pro", "nano-banana-2", "nano-banana-2-lite"]
        | str
        | None,
        Doc("The model, nano-banana-pro by default. The price depends on it."),
    ] = None
    input_images: Annotated[
        Sequence[MediaInput] | None, Media("image"), Doc("Images to edit or to combine.")
    ] = None
    aspect_ratio: Annotated[
        Literal["auto", "16:9", "1:1", "9:16", "4:3", "3:4", "2:3", "3:2", "4:5", "5:4", "21:9"]
        | None,
        Doc("Aspect ratio; auto by default."),
    ] = None
    image_size: Annotated[
        Literal["1K", "2K", "4K"] | None,
        Doc("Resolution, 1K by default. 2K and 4K need nano-banana-pro or nano- banana-2."),
    ] = None
    google_search: Annotated[
        bool | None, Doc("Search the web for facts first; only for nano-banana-2.")
    ] = None

    # The service's default is to generate even if the content check objects; ours is not.
    always: ClassVar[Mapping[str, Any]] = {"force_generate": False}

    def check(self) -> None:
        """Check that the model supports the resolution and the web search."""
        if self.model in _ONLY_1K and self.image_size not in (None, "1K"):
            raise InvalidInput(f"{self.model} supports 1K images only.", field="image_size")
        if self.google_search and self.model in (None, "nano-banana-pro", *_ONLY_1K):
            raise InvalidInput(
                "google_search requires model='nano-banana-2'.", field="google_search"
            )


@define(kw_only=True)
class NanoBananaRecord(Record):
    """A Nano Banana task. Its output is an image."""

    prompt: str | None = None
    """The prompt given to the start."""
    model: str | None = None
    """The model that was used."""
    input_images: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    image_size: str | None = None
    """Resolution: 1K, 2K or 4K."""
    google_search: bool | None = None
    """Whether the web was searched for facts."""


NANO_BANANA = TaskKind(
    name="nano_banana",
    summary="Images from text or images (Nano Banana)",
    start_doc=(
        "Make an image from a text prompt, or edit and combine images, with a Nano Banana model."
    ),
    input=NanoBananaInput,
    record=NanoBananaRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/delete/{{id}}"),
    paging=Paging(statuses=("initialized", "processing", "completed", "failed")),
    results=(Result("image_urls", "image"),),
    usual=(40, 90),
)
