"""Product avatar: a product and a person combined into one image.

Generates an image of a person who holds a product: give the product image first, then the image
of the person.

```python
record = await a2e.product_avatar.run(
    image_urls=["product.png", "person.png"],
    product_rect={"x": 120, "y": 260, "width": 160, "height": 160, "rotation": 0, "scale": 1},
)
await record.output.save("with-product.png")
```
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, ItemCount, MediaInput, TaskInput
from a2e_async._core.tasks.kind import SECONDS_PER_HOUR, Endpoint, OutputField, TaskKind
from a2e_async.errors import InvalidInput
from a2e_async.kinds.input_rules import check_min
from a2e_async.models import Record, WireName

PREFIX = "/api/v1/productAvatar"

_MEMBERS = ("x", "y", "width", "height", "rotation", "scale")
_SIZES = ("width", "height", "scale")


@define(kw_only=True)
class ProductAvatarInput(TaskInput):
    """Inputs of `a2e.product_avatar.start` (``POST /api/v1/productAvatar/start``)."""

    image_urls: Annotated[
        Sequence[MediaInput],
        AcceptedMedia("image"),
        ItemCount(2, 2),
        FieldDoc("The product, then the person (the reverse order of virtual_try_on)."),
    ]
    product_rect: Annotated[
        Mapping[str, Any],
        FieldDoc(
            "Position of the product: numbers x, y, width, height, rotation and "
            "scale, such as {'x': 100, 'y': 150, 'width': 200, 'height': 300, "
            "'rotation': 0, 'scale': 1}. The service documents only this example."
        ),
    ]
    prompt: Annotated[str | None, FieldDoc("Describes the image.")] = None
    processing_limit: Annotated[
        float | None,
        WireName("timeout"),
        FieldDoc("Processing limit of the service in seconds, 120 by default."),
    ] = None

    def check(self) -> None:
        """Check the processing limit, and that the known values of ``product_rect`` are numbers."""
        check_min(self, 1, "processing_limit")
        if not self.product_rect:
            raise InvalidInput(
                f"product_rect requires at least one of {', '.join(_MEMBERS)}.",
                field="product_rect",
            )
        for name in _MEMBERS:
            value = self.product_rect.get(name, 1)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidInput(f"product_rect: {name} must be a number.", field="product_rect")
            if name in _SIZES and value <= 0:
                raise InvalidInput(f"product_rect: {name} must be above 0.", field="product_rect")


@define(kw_only=True)
class ProductAvatarRecord(Record):
    """A product-avatar task. Its output is an image."""

    image_urls: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    product_rect: Any = None
    """Position of the product in the image, as given to the start."""
    prompt: str | None = None
    """The prompt given to the start."""
    processing_limit: Annotated[float | None, WireName("timeout")] = None
    """Processing limit of the service in seconds."""


PRODUCT_AVATAR = TaskKind(
    name="product_avatar",
    summary="A product and a person combined into one image",
    start_doc=(
        "Place a product into an image of a person. The service stops after two hours "
        "and refunds the coins."
    ),
    input=ProductAvatarInput,
    record=ProductAvatarRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_image_url", "image"), OutputField("result_url", "image")),
    # The service stops after two hours and refunds; a longer wait receives that failure.
    default_timeout=2.25 * SECONDS_PER_HOUR,
)
