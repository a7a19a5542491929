"""Nano Banana: pictures from a text, or from pictures that it edits and joins."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async.errors import InvalidInput
from a2e_async.inputs import Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Paging, Result, TaskKind

PREFIX = "/api/v1/userNanoBanana"

_ONLY_1K = ("nano-banana", "nano-banana-2-lite")


@define(kw_only=True)
class NanoBananaInput(TaskInput):
    """What `a2e.nano_banana.start` takes (``POST /api/v1/userNanoBanana/start``)."""

    prompt: Annotated[str, Doc("What the picture shows, or what to change in the given ones.")]
    model: Annotated[
        Literal["nano-banana", "nano-banana-pro", "nano-banana-2", "nano-banana-2-lite"]
        | str
        | None,
        Doc("The model; nano-banana-pro unless you say otherwise. The price depends on it."),
    ] = None
    input_images: Annotated[
        Sequence[MediaInput] | None, Media("image"), Doc("Pictures to edit or to join.")
    ] = None
    aspect_ratio: Annotated[
        Literal["auto", "16:9", "1:1", "9:16", "4:3", "3:4", "2:3", "3:2", "4:5", "5:4", "21:9"]
        | None,
        Doc("Width to height; the service takes auto."),
    ] = None
    image_size: Annotated[
        Literal["1K", "2K", "4K"] | None,
        Doc("Size; the service takes 1K. More needs nano-banana-pro or nano-banana-2."),
    ] = None
    google_search: Annotated[
        bool | None, Doc("Look facts up on the web first; only nano-banana-2 does.")
    ] = None

    # Generation in spite of the content check is the service's usual choice, not ours.
    always: ClassVar[Mapping[str, Any]] = {"force_generate": False}

    def check(self) -> None:
        """Check that the model makes pictures of that size, and searches if it is to."""
        if self.model in _ONLY_1K and self.image_size not in (None, "1K"):
            raise InvalidInput(f"{self.model} makes 1K pictures only.", field="image_size")
        if self.google_search and self.model in (None, "nano-banana-pro", *_ONLY_1K):
            raise InvalidInput("google_search needs model='nano-banana-2'.", field="google_search")


@define(kw_only=True)
class NanoBananaRecord(Record):
    """A Nano Banana task. Its output is a picture."""

    prompt: str | None = None
    model: str | None = None
    input_images: tuple[str, ...] = ()
    aspect_ratio: str | None = None
    image_size: str | None = None
    google_search: bool | None = None


NANO_BANANA = TaskKind(
    name="nano_banana",
    summary="Pictures from a text or from pictures (Nano Banana)",
    input=NanoBananaInput,
    record=NanoBananaRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/delete/{{id}}"),
    paging=Paging(statuses=("initialized", "processing", "completed", "failed")),
    results=(Result("image_urls", "image"),),
    usual=(40, 90),
)
