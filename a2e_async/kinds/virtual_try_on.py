"""Virtual try-on: the person of one image wears the clothes of another.

Shows a person in other clothes: give the image of the person first, then the image of the
clothes.

```python
record = await a2e.virtual_try_on.run(image_urls=["person.png", "coat.png"])
await record.output.save("try-on.png")
```
"""

from collections.abc import Sequence
from typing import Annotated

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, ItemCount, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.kinds.input_rules import check_min
from a2e_async.models import Record, WireName

PREFIX = "/api/v1/virtualTryOn"


@define(kw_only=True)
class VirtualTryOnInput(TaskInput):
    """Inputs of `a2e.virtual_try_on.start` (``POST /api/v1/virtualTryOn/start``)."""

    image_urls: Annotated[
        Sequence[MediaInput],
        AcceptedMedia("image"),
        ItemCount(2, 4),
        FieldDoc(
            "The person, then the clothes. Two more images are allowed; the service "
            "does not document how it uses them."
        ),
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
class VirtualTryOnRecord(Record):
    """A virtual-try-on task. Its output is an image."""

    image_urls: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    processing_limit: Annotated[float | None, WireName("timeout")] = None
    """Processing limit of the service in seconds."""


VIRTUAL_TRY_ON = TaskKind(
    name="virtual_try_on",
    summary="A person in an image wears given clothes",
    start_doc="Dress the person of one image in the clothes of another image.",
    input=VirtualTryOnInput,
    record=VirtualTryOnRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    # Clients have seen either field; the reader counts a file that is in both once.
    outputs=(OutputField("result_image_url", "image"), OutputField("result_url", "image")),
)
