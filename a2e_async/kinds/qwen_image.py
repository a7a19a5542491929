"""Qwen image: images from text, or edited images.

Generates images from a prompt. `size` is written with an asterisk between width and height.

```python
record = await a2e.qwen_image.run(prompt="a bookshop in the rain, ink drawing", size="1280*720")
await record.output.save("bookshop.png")
```
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.errors import InvalidInput
from a2e_async.models import Record

PREFIX = "/api/v1/userQwen2Image"

QwenImageSize = Literal[
    "1024*1024",
    "1328*880",
    "880*1328",
    "1152*864",
    "864*1152",
    "1280*720",
    "720*1280",
    "1512*648",
    "2048*2048",
    "2048*1365",
    "1365*2048",
    "2048*1536",
    "1536*2048",
    "2048*1152",
    "1152*2048",
]

_ONLY_1K = (None, "qwen-image-2.0", "qwen-image-2.0-pro", "qwen-image-3.0")


@define(kw_only=True)
class QwenImageInput(TaskInput):
    """Inputs of `a2e.qwen_image.start` (``POST /api/v1/userQwen2Image/start``)."""

    prompt: Annotated[str, FieldDoc("Describes the image, or the changes to input_images.")]
    model: Annotated[
        Literal["qwen-image-2.0", "qwen-image-2.0-pro", "qwen-image-3.0", "qwen-image-3.0-pro"]
        | str
        | None,
        FieldDoc("The model, qwen-image-2.0 by default. The price depends on it."),
    ] = None
    input_images: Annotated[
        Sequence[MediaInput] | None, AcceptedMedia("image"), FieldDoc("Reference images.")
    ] = None
    size: Annotated[
        QwenImageSize | None,
        FieldDoc(
            "Width*height in pixels, 1024*1024 by default. Sizes with 2048 need qwen- "
            "image-3.0-pro."
        ),
    ] = None

    # The service's default is to generate even if the content check objects; ours is not.
    constant_fields: ClassVar[Mapping[str, Any]] = {"force_generate": False}

    def check(self) -> None:
        """Check that the model supports the size."""
        if "2048" in (self.size or "") and self.model in _ONLY_1K:
            raise InvalidInput(
                f"size {self.size} requires model='qwen-image-3.0-pro'.", field="size"
            )


@define(kw_only=True)
class QwenImageRecord(Record):
    """A Qwen image task. Its output is an image."""

    prompt: str | None = None
    """The prompt given to the start."""
    model: str | None = None
    """The model that was used."""
    input_images: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    size: str | None = None
    """Width*height in pixels."""


QWEN_IMAGE = TaskKind(
    name="qwen_image",
    summary="Images from text or images (Qwen)",
    start_doc="Make an image from a text prompt, or edit images, with a Qwen model.",
    input=QwenImageInput,
    record=QwenImageRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/list"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    paging=None,
    outputs=(OutputField("image_urls", "image"),),
)
