"""Kling 3.0 image: one or several images from text and reference images.

Generates images from a prompt. With `n`, one start creates several remote tasks, which are
awaited as one.

```python
record = await a2e.kling_image.run(prompt="a paper crane on a desk", n=2, resolution="1k")
for output in record.outputs:
    await output.save("cranes/")
```
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, Range, TaskInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.models import Record

PREFIX = "/api/v1/userKlingImage"


@define(kw_only=True)
class KlingImageInput(TaskInput):
    """Inputs of `a2e.kling_image.start` (``POST /api/v1/userKlingImage/start``)."""

    prompt: Annotated[str, FieldDoc("Describes the image, or the changes to input_images.")]
    input_images: Annotated[
        Sequence[MediaInput] | None, AcceptedMedia("image"), FieldDoc("Reference images.")
    ] = None
    aspect_ratio: Annotated[
        Literal["1:1", "16:9", "9:16", "4:3", "3:4", "2:3", "3:2", "21:9"] | None,
        FieldDoc("Aspect ratio; 9:16 by default."),
    ] = None
    resolution: Annotated[
        Literal["1k", "2k"] | None, FieldDoc("Resolution, in lower case; 1k by default.")
    ] = None
    n: Annotated[
        int | None, Range(1, 9), FieldDoc("Number of images to make; each is charged.")
    ] = None

    # The service's default is to generate even if the content check objects; ours is not.
    constant_fields: ClassVar[Mapping[str, Any]] = {"force_generate": False}


@define(kw_only=True)
class KlingImageRecord(Record):
    """A Kling image task. Its output is an image; there are several if the start made several."""

    prompt: str | None = None
    """The prompt given to the start."""
    input_images: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    resolution: str | None = None
    """Resolution, such as 720p or 2K."""
    n: int | None = None
    """Number of images of the start."""


def _task_count(inputs: TaskInput) -> int:
    return (inputs.n if isinstance(inputs, KlingImageInput) else None) or 1


KLING_IMAGE = TaskKind(
    name="kling_image",
    summary="Images from text or images (Kling 3.0)",
    start_doc=(
        "Make one or several images from a text prompt with Kling 3.0, optionally "
        "with reference images. With n the start makes one task per image; each is "
        "charged."
    ),
    input=KlingImageInput,
    record=KlingImageRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/list"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    paging=None,
    outputs=(OutputField("image_urls", "image"),),
    expected_tasks=_task_count,
)
