"""Wan 2.7 image: images from text, or edited images.

Generates images from a prompt, or edits `input_images`.

The package knows this kind from one public client, not from the service's own reference: its
start, its list, and its inputs. That client asks for a record at `detail/{id}` and, if that fails,
at `{id}`; so does the package. All else is inferred from similar kinds: batchDetail, status and
result fields, webhooks and the deletion.

```python
record = await a2e.wan27_image.run(
    prompt="a heron at the edge of a lake, woodcut", model="wan2.7-image", aspect_ratio="1:1"
)
await record.output.save("heron.png")
```
"""

from typing import Annotated, Final, Literal

from attrs import define

from a2e_async._core.schema.inputs import FieldDoc
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.kinds.wan_image_inputs import WanImageInput, WanImageRecord

PREFIX: Final = "/api/v1/userWan27Image"


@define(kw_only=True)
class Wan27ImageInput(WanImageInput):
    """Inputs of `a2e.wan27_image.start` (``POST /api/v1/userWan27Image/start``)."""

    model: Annotated[
        Literal["wan2.7-image", "wan2.7-image-pro"] | str | None,
        FieldDoc("The model. The price depends on it."),
    ] = None


@define(kw_only=True)
class Wan27ImageRecord(WanImageRecord):
    """A Wan 2.7 image task. Its output is an image."""


WAN27_IMAGE = TaskKind(
    name="wan27_image",
    summary="Images from text or images (Wan 2.7)",
    start_doc="Make an image from a text prompt, or edit images, with a Wan 2.7 model.",
    input=Wan27ImageInput,
    record=Wan27ImageRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    detail_fallback=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("image_urls", "image"),),
)
