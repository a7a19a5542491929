"""Flux 2 Pro: pictures from a text, or from pictures that it edits."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async.inputs import Count, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Paging, Result, TaskKind

PREFIX = "/api/v1/userFlux2"


@define(kw_only=True)
class Flux2Input(TaskInput):
    """What `a2e.flux2.start` takes (``POST /api/v1/userFlux2/start``)."""

    prompt: Annotated[str, Doc("What the picture shows, or what to change in the given ones.")]
    input_images: Annotated[
        Sequence[MediaInput] | None,
        Media("image"),
        Count(1, 8),
        Doc("Pictures to work from, instead of the text alone."),
    ] = None
    aspect_ratio: Annotated[
        Literal["1:1", "16:9", "9:16", "4:3", "3:4", "2:3", "3:2", "custom", "match_input_image"]
        | None,
        Doc("Width to height; the service takes 9:16. How to say the size of custom is unknown."),
    ] = None
    resolution: Annotated[
        Literal["1K", "2K"] | None,
        Doc("Size, about 1 or 2 megapixels; the service takes 1K."),
    ] = None

    # Generation in spite of the content check is the service's usual choice, not ours.
    always: ClassVar[Mapping[str, Any]] = {"force_generate": False}


@define(kw_only=True)
class Flux2Record(Record):
    """A Flux 2 task. Its output is a picture, which the service keeps for 7 days."""

    prompt: str | None = None
    input_images: tuple[str, ...] = ()
    aspect_ratio: str | None = None
    resolution: str | None = None


FLUX2 = TaskKind(
    name="flux2",
    summary="Pictures from a text or from pictures (Flux 2 Pro)",
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
