"""Product avatar: a product and a person joined into one picture."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from attrs import define

from a2e_async.errors import InvalidInput
from a2e_async.inputs import Count, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record, Wire
from a2e_async.resources.uses import check_least
from a2e_async.tasks.kind import HOUR, Endpoint, Result, TaskKind

PREFIX = "/api/v1/productAvatar"

_MEMBERS = ("x", "y", "width", "height", "rotation", "scale")
_SIZES = ("width", "height", "scale")


@define(kw_only=True)
class ProductAvatarInput(TaskInput):
    """What `a2e.product_avatar.start` takes (``POST /api/v1/productAvatar/start``)."""

    image_urls: Annotated[
        Sequence[MediaInput],
        Media("image"),
        Count(2, 2),
        Doc("First the product, then the person (the other way round than virtual_try_on)."),
    ]
    product_rect: Annotated[
        Mapping[str, Any],
        Doc(
            "Where the product goes: numbers x, y, width, height, rotation and scale, such as "
            "{'x': 100, 'y': 150, 'width': 200, 'height': 300, 'rotation': 0, 'scale': 1}. "
            "The service documents no more than that example."
        ),
    ]
    prompt: Annotated[str | None, Doc("How the picture is to look.")] = None
    processing_limit: Annotated[
        float | None,
        Wire("timeout"),
        Doc("Seconds that the service works on it at most; it takes 120."),
    ] = None

    def check(self) -> None:
        """Check the time given, and that the known members of ``product_rect`` are numbers."""
        check_least(self, 1, "processing_limit")
        if not self.product_rect:
            raise InvalidInput(
                f"product_rect needs one at least of {', '.join(_MEMBERS)}.", field="product_rect"
            )
        for name in _MEMBERS:
            value = self.product_rect.get(name, 1)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidInput(f"product_rect: {name} must be a number.", field="product_rect")
            if name in _SIZES and value <= 0:
                raise InvalidInput(f"product_rect: {name} must be above 0.", field="product_rect")


@define(kw_only=True)
class ProductAvatarRecord(Record):
    """A product-avatar task. Its output is a picture."""

    image_urls: tuple[str, ...] = ()
    product_rect: Any = None
    prompt: str | None = None
    processing_limit: Annotated[float | None, Wire("timeout")] = None


PRODUCT_AVATAR = TaskKind(
    name="product_avatar",
    summary="A product and a person joined into one picture",
    input=ProductAvatarInput,
    record=ProductAvatarRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    results=(Result("result_image_url", "image"), Result("result_url", "image")),
    # The service gives up after two hours and refunds; waiting longer lets it say so.
    patience=2.25 * HOUR,
)
