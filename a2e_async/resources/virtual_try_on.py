"""Virtual try-on: the person of one picture wears the clothes of another."""

from collections.abc import Sequence
from typing import Annotated

from attrs import define

from a2e_async.inputs import Count, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record, Wire
from a2e_async.resources.uses import check_least
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

PREFIX = "/api/v1/virtualTryOn"


@define(kw_only=True)
class VirtualTryOnInput(TaskInput):
    """What `a2e.virtual_try_on.start` takes (``POST /api/v1/virtualTryOn/start``)."""

    image_urls: Annotated[
        Sequence[MediaInput],
        Media("image"),
        Count(2, 4),
        Doc(
            "First the person, then the clothes. Two more are allowed; "
            "what the service does with them is not documented."
        ),
    ]
    processing_limit: Annotated[
        float | None,
        Wire("timeout"),
        Doc("Seconds that the service works on it at most; it takes 120."),
    ] = None

    def check(self) -> None:
        """Check that the service is given time."""
        check_least(self, 1, "processing_limit")


@define(kw_only=True)
class VirtualTryOnRecord(Record):
    """A virtual-try-on task. Its output is a picture."""

    image_urls: tuple[str, ...] = ()
    processing_limit: Annotated[float | None, Wire("timeout")] = None


VIRTUAL_TRY_ON = TaskKind(
    name="virtual_try_on",
    summary="A person in a picture wears given clothes",
    input=VirtualTryOnInput,
    record=VirtualTryOnRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    # Clients saw one or the other; the reader counts a file that stands under both once.
    results=(Result("result_image_url", "image"), Result("result_url", "image")),
)
