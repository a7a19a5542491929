"""Qwen image: pictures from a text, or from pictures that it edits."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async.errors import InvalidInput
from a2e_async.inputs import Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

PREFIX = "/api/v1/userQwen2Image"

Size = Literal[
    "1024*1024",
    "1328*880",
    "880*1328",
    "1152*864",
    "864*1152",
    "1280*720",
    "720*1280",
    "1512*648",
    "2048*2048",
    "2048*1365",
    "1365*2048",
    "2048*1536",
    "1536*2048",
    "2048*1152",
    "1152*2048",
]

_ONLY_1K = (None, "qwen-image-2.0", "qwen-image-2.0-pro", "qwen-image-3.0")


@define(kw_only=True)
class QwenImageInput(TaskInput):
    """What `a2e.qwen_image.start` takes (``POST /api/v1/userQwen2Image/start``)."""

    prompt: Annotated[str, Doc("What the picture shows, or what to change in the given ones.")]
    model: Annotated[
        Literal["qwen-image-2.0", "qwen-image-2.0-pro", "qwen-image-3.0", "qwen-image-3.0-pro"]
        | str
        | None,
        Doc("The model; qwen-image-2.0 unless you say otherwise. The price depends on it."),
    ] = None
    input_images: Annotated[
        Sequence[MediaInput] | None, Media("image"), Doc("Pictures to work from.")
    ] = None
    size: Annotated[
        Size | None,
        Doc(
            "Width*height in pixels; the service takes 1024*1024. "
            "Those with 2048 need qwen-image-3.0-pro."
        ),
    ] = None

    # Generation in spite of the content check is the service's usual choice, not ours.
    always: ClassVar[Mapping[str, Any]] = {"force_generate": False}

    def check(self) -> None:
        """Check that the model makes pictures of that size."""
        if "2048" in (self.size or "") and self.model in _ONLY_1K:
            raise InvalidInput(f"size {self.size} needs model='qwen-image-3.0-pro'.", field="size")


@define(kw_only=True)
class QwenImageRecord(Record):
    """A Qwen image task. Its output is a picture."""

    prompt: str | None = None
    model: str | None = None
    input_images: tuple[str, ...] = ()
    size: str | None = None


QWEN_IMAGE = TaskKind(
    name="qwen_image",
    summary="Pictures from a text or from pictures (Qwen)",
    input=QwenImageInput,
    record=QwenImageRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/list"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    paging=None,
    results=(Result("image_urls", "image"),),
)
