"""Image edit: images of clothing or products combined into one.

Transfers the clothing or the product of one image into another. It takes no prompt.

```python
record = await a2e.image_edit.run(edit_type="clothing", image_urls=["person.png", "coat.png"])
await record.output.save("coat-on.png")
```
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, ItemCount, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.kinds.input_rules import check_min
from a2e_async.models import Record, WireName

PREFIX = "/api/v1/userImageEdit"


@define(kw_only=True)
class ImageEditInput(TaskInput):
    """Inputs of `a2e.image_edit.start` (``POST /api/v1/userImageEdit/start``)."""

    edit_type: Annotated[Literal["clothing", "product"], FieldDoc("What the images show.")]
    image_urls: Annotated[
        Sequence[MediaInput],
        AcceptedMedia("image"),
        ItemCount(2),
        FieldDoc("The images to combine."),
    ]
    processing_limit: Annotated[
        float | None,
        WireName("timeout"),
        FieldDoc("Processing limit of the service in seconds, 120 by default."),
    ] = None

    def check(self) -> None:
        """Check that the processing limit is at least 1 s."""
        check_min(self, 1, "processing_limit")


@define(kw_only=True)
class ImageEditRecord(Record):
    """An image-edit task. Its output is an image."""

    edit_type: str | None = None
    """What the images show: clothing or product."""
    image_urls: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    processing_limit: Annotated[float | None, WireName("timeout")] = None
    """Processing limit of the service in seconds."""


IMAGE_EDIT = TaskKind(
    name="image_edit",
    summary="Images of clothing or products combined into one",
    start_doc="Combine two or more images of clothing or products into one image.",
    input=ImageEditInput,
    record=ImageEditRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "image"),),
)
