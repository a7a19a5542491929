"""Photobook: a set of photos of one face.

Generates a set of photos of one face, with a location and clothing of your choice.

```python
record = await a2e.photobook.run(
    face_image_url="portrait.png",
    location="an old library",
    clothing="a tweed jacket",
    total_count=4,
)
for output in record.outputs:
    await output.save("photobook/")
```
"""

from typing import Annotated, Literal

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.models import Record

PREFIX = "/api/v1/userPhotobook"


@define(kw_only=True)
class PhotobookInput(TaskInput):
    """Inputs of `a2e.photobook.start` (``POST /api/v1/userPhotobook/start``)."""

    face_image_url: Annotated[
        MediaInput,
        AcceptedMedia("image"),
        FieldDoc("An image with one face, which all photos show."),
    ]
    location: Annotated[str | None, FieldDoc("The place where the photos are set.")] = None
    clothing: Annotated[str | None, FieldDoc("What the person wears.")] = None
    total_count: Annotated[
        Literal[4, 8, 12, 16] | None,
        FieldDoc("Number of photos of the task, 4 by default. The price grows with it."),
    ] = None


@define(kw_only=True)
class PhotobookRecord(Record):
    """A photobook task. Its outputs are all its photos."""

    face_image_url: str | None = None
    """URL of the image of the face."""
    location: str | None = None
    """The place where the photos are set."""
    clothing: str | None = None
    """What the person wears."""
    total_count: int | None = None
    """Number of photos."""


PHOTOBOOK = TaskKind(
    name="photobook",
    summary="A set of photos of one face",
    start_doc=(
        "Make a set of photos of the person whose face an image shows. One task makes all photos."
    ),
    input=PhotobookInput,
    record=PhotobookRecord,
    accepts_webhook=False,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "image"),),
)
