"""Nano Banana: images from text, or edited and combined from images.

Generates images from a prompt, or edits given images.

```python
record = await a2e.nano_banana.run(
    prompt="Put a red scarf on this person.",
    input_images=["portrait.png"],
    aspect_ratio="3:4",
)
await record.output.save("scarf.png")
```
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, ListPaging, OutputField, TaskKind
from a2e_async.errors import InvalidInput
from a2e_async.models import Record

PREFIX = "/api/v1/userNanoBanana"

_ONLY_1K = ("nano-banana", "nano-banana-2-lite")


@define(kw_only=True)
class NanoBananaInput(TaskInput):
    """Inputs of `a2e.nano_banana.start` (``POST /api/v1/userNanoBanana/start``)."""

    prompt: Annotated[str, FieldDoc("Describes the image, or the changes to input_images.")]
    model: Annotated[
        Literal["nano-banana", "nano-banana-pro", "nano-banana-2", "nano-banana-2-lite"]
        | str
        | None,
        FieldDoc("The model, nano-banana-pro by default. The price depends on it."),
    ] = None
    input_images: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("image"),
        FieldDoc("Images to edit or to combine."),
    ] = None
    aspect_ratio: Annotated[
        Literal["auto", "16:9", "1:1", "9:16", "4:3", "3:4", "2:3", "3:2", "4:5", "5:4", "21:9"]
        | None,
        FieldDoc("Aspect ratio; auto by default."),
    ] = None
    image_size: Annotated[
        Literal["1K", "2K", "4K"] | None,
        FieldDoc("Resolution, 1K by default. 2K and 4K need nano-banana-pro or nano- banana-2."),
    ] = None
    google_search: Annotated[
        bool | None, FieldDoc("Search the web for facts first; only for nano-banana-2.")
    ] = None

    # The service's default is to generate even if the content check objects; ours is not.
    constant_fields: ClassVar[Mapping[str, Any]] = {"force_generate": False}

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
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/delete/{{id}}"),
    paging=ListPaging(status_filters=("initialized", "processing", "completed", "failed")),
    outputs=(OutputField("image_urls", "image"),),
    typical_duration=(40, 90),
)
