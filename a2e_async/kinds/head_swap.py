"""Head swap: the head of one image on the person of an image or video.

Puts the head of one image into another image, or into a video of at most 15 seconds.

```python
record = await a2e.head_swap.run(image_url="portrait.png", target_image_url="person.png")
await record.output.save("head/")
```
"""

from typing import Annotated

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.models import Record


@define(kw_only=True)
class HeadSwapInput(TaskInput):
    """Inputs of `a2e.head_swap.start` (``POST /api/v1/headSwap/start``).

    The service takes no ``name``.
    """

    image_url: Annotated[
        MediaInput, AcceptedMedia("image"), FieldDoc("The image that the head is taken from.")
    ]
    target_image_url: Annotated[
        MediaInput,
        AcceptedMedia("image", "video"),
        FieldDoc(
            "The person who gets the head: an image gives an image, a video (at most "
            "15 s) gives a video."
        ),
    ]


@define(kw_only=True)
class HeadSwapRecord(Record):
    """A head-swap task. Its output is an image or a video, like the target."""

    image_url: str | None = None
    """URL of the input image."""
    target_image_url: str | None = None
    """URL of the image or video that got the head."""


HEAD_SWAP = TaskKind(
    name="head_swap",
    summary="Another head in an image or video",
    start_doc="Put the head of one image on the person of another image or of a video.",
    input=HeadSwapInput,
    record=HeadSwapRecord,
    start=Endpoint("POST", "/api/v1/headSwap/start"),
    detail=Endpoint("GET", "/api/v1/headSwap/{id}"),
    list=Endpoint("GET", "/api/v1/headSwap/allRecords"),
    batch_detail=Endpoint("POST", "/api/v1/headSwap/batchDetail"),
    delete=Endpoint("DELETE", "/api/v1/headSwap/{id}"),
    outputs=(OutputField("result_url", "file"),),
    name_field=None,
)
