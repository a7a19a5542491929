"""Kling 3.0 image: one picture or several, from a text and reference pictures."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async.inputs import Between, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

PREFIX = "/api/v1/userKlingImage"


@define(kw_only=True)
class KlingImageInput(TaskInput):
    """What `a2e.kling_image.start` takes (``POST /api/v1/userKlingImage/start``)."""

    prompt: Annotated[str, Doc("What the picture shows, or what to change in the given ones.")]
    input_images: Annotated[
        Sequence[MediaInput] | None, Media("image"), Doc("Pictures to work from.")
    ] = None
    aspect_ratio: Annotated[
        Literal["1:1", "16:9", "9:16", "4:3", "3:4", "2:3", "3:2", "21:9"] | None,
        Doc("Width to height; the service takes 9:16."),
    ] = None
    resolution: Annotated[
        Literal["1k", "2k"] | None, Doc("Size, with a small k; the service takes 1k.")
    ] = None
    n: Annotated[int | None, Between(1, 9), Doc("How many pictures to make, each paid.")] = None

    # Generation in spite of the content check is the service's usual choice, not ours.
    always: ClassVar[Mapping[str, Any]] = {"force_generate": False}


@define(kw_only=True)
class KlingImageRecord(Record):
    """A Kling image task. Its output is a picture; several when the start made several."""

    prompt: str | None = None
    input_images: tuple[str, ...] = ()
    aspect_ratio: str | None = None
    resolution: str | None = None
    n: int | None = None


def _task_count(inputs: TaskInput) -> int:
    return (inputs.n if isinstance(inputs, KlingImageInput) else None) or 1


KLING_IMAGE = TaskKind(
    name="kling_image",
    summary="Pictures from a text or from pictures (Kling 3.0)",
    input=KlingImageInput,
    record=KlingImageRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/list"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    paging=None,
    results=(Result("image_urls", "image"),),
    expected=_task_count,
)
