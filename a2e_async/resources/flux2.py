"""Flux 2 Pro: images from text, or edited images."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async.inputs import Count, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Paging, Result, TaskKind

PREFIX = "/api/v1/userFlux2"


@define(kw_only=True)
class Flux2Input(TaskInput):
    """Inputs of `a2e.flux2.start` (``POST /api/v1/userFlux2/start``)."""

    prompt: Annotated[str, Doc("Describes the image, or the changes to input_images.")]
    input_images: Annotated[
        Sequence[MediaInput] | None,
        Media("image"),
        Count(1, 8),
        Doc("Images to edit or to use as references."),
    ] = None
    aspect_ratio: Annotated[
        Literal["1:1", "16:9", "9:16", "4:3", "3:4", "2:3", "3:2", "custom", "match_input_image"]
        | None,
        Doc(
            "Aspect ratio; 9:16 by default. The service does not document how to give "
            "the size of custom."
        ),
    ] = None
    resolution: Annotated[
        Literal["1K", "2K"] | None,
        Doc("Size, about 1 or 2 megapixels; 1K by default."),
    ] = None

    # The service's default is to generate even if the content check objects; ours is not.
    always: ClassVar[Mapping[str, Any]] = {"force_generate": False}


@define(kw_only=True)
class Flux2Record(Record):
    """A Flux 2 task. Its output is an image, which the service keeps for 7 days."""

    prompt: str | None = None
    """The prompt given to the start."""
    input_images: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    resolution: str | None = None
    """Resolution, such as 720p or 2K."""


FLUX2 = TaskKind(
    name="flux2",
    summary="Images from text or images (Flux 2 Pro)",
    start_doc=(
        "Make an image from a text prompt, or edit images, with Flux 2 Pro. The "
        "service keeps the result for 7 days."
    ),
    input=Flux2Input,
    record=Flux2Record,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/list"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    paging=Paging(
        page="page",
        size="page_size",
        statuses=("initialized", "processing", "completed", "failed"),
    ),
    results=(Result("image_urls", "image"),),
    usual=(20, 60),
)
