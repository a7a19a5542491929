"""GPT Image: images from text, or edited images.

Generates images that follow a prompt closely, or edits given images.

```python
record = await a2e.gpt_image.run(
    prompt="A poster that says: Open on Sunday", model="gpt-image-2", aspect_ratio="3:4"
)
await record.output.save("poster.png")
```
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    ItemCount,
    MaxLength,
    MediaInput,
    TaskInput,
)
from a2e_async._core.tasks.kind import Endpoint, ListPaging, OutputField, TaskKind
from a2e_async.errors import InvalidInput
from a2e_async.models import Record

PREFIX = "/api/v1/userGptImage"

_RATIOS_15 = ("1:1", "3:2", "2:3")
"""Aspect ratios of gpt-image-1.5; it silently makes 1:1 for all others."""


@define(kw_only=True)
class GptImageInput(TaskInput):
    """Inputs of `a2e.gpt_image.start` (``POST /api/v1/userGptImage/start``)."""

    prompt: Annotated[
        str, MaxLength(3000), FieldDoc("Describes the image, or the changes to input_images.")
    ]
    input_images: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("image"),
        ItemCount(1, 16),
        FieldDoc("Images to edit."),
    ] = None
    model: Annotated[
        Literal["gpt-image-1.5", "gpt-image-2"] | str | None,
        FieldDoc("The model, gpt-image-1.5 by default. The price depends on it."),
    ] = None
    aspect_ratio: Annotated[
        Literal["auto", "1:1", "9:16", "21:9", "16:9", "4:3", "3:2", "3:4", "2:3"] | None,
        FieldDoc("Aspect ratio; 1:1 by default. gpt-image-1.5 makes 1:1, 3:2 and 2:3 only."),
    ] = None
    quality: Annotated[
        Literal["medium", "high"] | None,
        FieldDoc("Quality, medium by default; only for gpt-image-1.5."),
    ] = None
    resolution: Annotated[
        Literal["1K", "2K", "4K"] | None,
        FieldDoc(
            "Resolution, 1K by default. 2K and 4K need gpt-image-2 and an "
            "aspect_ratio other than auto; with 1:1 the service may return 2K instead "
            "of 4K."
        ),
    ] = None

    # The service's default is to generate even if the content check objects; ours is not.
    constant_fields: ClassVar[Mapping[str, Any]] = {"force_generate": False}

    def check(self) -> None:
        """Check that the model supports the resolution, aspect ratio and quality."""
        large = self.resolution not in (None, "1K")
        if self.model in (None, "gpt-image-1.5"):
            if large:
                raise InvalidInput(
                    f"resolution {self.resolution} needs model='gpt-image-2'.", field="resolution"
                )
            if self.aspect_ratio not in (None, "auto", *_RATIOS_15):
                raise InvalidInput(
                    f"aspect_ratio {self.aspect_ratio} needs model='gpt-image-2'; gpt-image-1.5 "
                    f"supports {', '.join(_RATIOS_15)}.",
                    field="aspect_ratio",
                )
        elif self.model == "gpt-image-2":
            if self.quality is not None:
                raise InvalidInput("quality is for gpt-image-1.5 only.", field="quality")
            if large and self.aspect_ratio in (None, "auto"):
                raise InvalidInput(
                    f"resolution {self.resolution} needs an aspect_ratio other than auto.",
                    field="aspect_ratio",
                )


@define(kw_only=True)
class GptImageRecord(Record):
    """A GPT Image task. Its output is an image, which the service keeps for 3 days."""

    prompt: str | None = None
    """The prompt given to the start."""
    model: str | None = None
    """The model that was used."""
    input_images: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    quality: str | None = None
    """The quality given to the start."""
    resolution: str | None = None
    """Resolution, such as 720p or 2K."""


GPT_IMAGE = TaskKind(
    name="gpt_image",
    summary="Images from text or images (GPT Image)",
    start_doc=(
        "Make an image from a text prompt, or edit images, with a GPT Image model. "
        "The service keeps the result for 3 days."
    ),
    input=GptImageInput,
    record=GptImageRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/list"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    paging=ListPaging(page_parameter="page", size_parameter="page_size"),
    outputs=(OutputField("image_urls", "image"),),
)
