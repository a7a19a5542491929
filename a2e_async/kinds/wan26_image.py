"""Wan 2.6 image: images from text, or edited images.

Generates images from a prompt, or edits `input_images`.

Of this kind only the path of the start is known. Its inputs are inferred from
[wan27_image](wan27_image.md), all else from similar kinds: try it with one image first, and read
`record.extra`.

```python
record = await a2e.wan26_image.run(prompt="a heron at the edge of a lake, woodcut")
await record.output.save("heron.png")
```
"""

from typing import Annotated, Final

from attrs import define

from a2e_async._core.schema.inputs import FieldDoc
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.kinds.wan_image_inputs import WanImageInput, WanImageRecord

PREFIX: Final = "/api/v1/userWan26Image"


@define(kw_only=True)
class Wan26ImageInput(WanImageInput):
    """Inputs of `a2e.wan26_image.start` (``POST /api/v1/userWan26Image/start``)."""

    model: Annotated[str | None, FieldDoc("The model; its names are unknown.")] = None


@define(kw_only=True)
class Wan26ImageRecord(WanImageRecord):
    """A Wan 2.6 image task. Its output is an image."""


WAN26_IMAGE = TaskKind(
    name="wan26_image",
    summary="Images from text or images (Wan 2.6)",
    start_doc="Make an image from a text prompt, or edit images, with a Wan 2.6 model.",
    input=Wan26ImageInput,
    record=Wan26ImageRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    detail_fallback=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("image_urls", "image"),),
)
