"""Flux 2 Pro: images from text, or edited images.

Generates images from a prompt, or edits `input_images`. Its results are kept for 7 days.

```python
record = await a2e.flux2.run(
    prompt="the same person on a sailing boat", input_images=["portrait.png"], resolution="2K"
)
await record.output.save("boat.png")
```
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, ItemCount, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, ListPaging, OutputField, TaskKind
from a2e_async.models import Record

PREFIX = "/api/v1/userFlux2"


@define(kw_only=True)
class Flux2Input(TaskInput):
    """Inputs of `a2e.flux2.start` (``POST /api/v1/userFlux2/start``)."""

    prompt: Annotated[str, FieldDoc("Describes the image, or the changes to input_images.")]
    input_images: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("image"),
        ItemCount(1, 8),
        FieldDoc("Images to edit or to use as references."),
    ] = None
    aspect_ratio: Annotated[
        Literal["1:1", "16:9", "9:16", "4:3", "3:4", "2:3", "3:2", "custom", "match_input_image"]
        | None,
        FieldDoc(
            "Aspect ratio; 9:16 by default. The service does not document how to give "
            "the size of custom."
        ),
    ] = None
    resolution: Annotated[
        Literal["1K", "2K"] | None,
        FieldDoc("Size, about 1 or 2 megapixels; 1K by default."),
    ] = None

    # The service's default is to generate even if the content check objects; ours is not.
    constant_fields: ClassVar[Mapping[str, Any]] = {"force_generate": False}


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
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/list"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    paging=ListPaging(
        page_parameter="page",
        size_parameter="page_size",
        status_filters=("initialized", "processing", "completed", "failed"),
    ),
    outputs=(OutputField("image_urls", "image"),),
    typical_duration=(20, 60),
)
