"""GPT Image: pictures from a text, or from pictures that it edits."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async.errors import InvalidInput
from a2e_async.inputs import Count, Doc, Length, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, Paging, Result, TaskKind

PREFIX = "/api/v1/userGptImage"

_RATIOS_15 = ("1:1", "3:2", "2:3")
"""What gpt-image-1.5 makes; it would make 1:1 of all others."""


@define(kw_only=True)
class GptImageInput(TaskInput):
    """What `a2e.gpt_image.start` takes (``POST /api/v1/userGptImage/start``)."""

    prompt: Annotated[
        str, Length(3000), Doc("What the picture shows, or what to change in the given ones.")
    ]
    input_images: Annotated[
        Sequence[MediaInput] | None, Media("image"), Count(1, 16), Doc("Pictures to edit.")
    ] = None
    model: Annotated[
        Literal["gpt-image-1.5", "gpt-image-2"] | str | None,
        Doc("The model; gpt-image-1.5 unless you say otherwise. The price depends on it."),
    ] = None
    aspect_ratio: Annotated[
        Literal["auto", "1:1", "9:16", "21:9", "16:9", "4:3", "3:2", "3:4", "2:3"] | None,
        Doc("Width to height; the service takes 1:1. gpt-image-1.5 makes 1:1, 3:2 and 2:3 only."),
    ] = None
    quality: Annotated[
        Literal["medium", "high"] | None,
        Doc("Quality; the service takes medium. Only gpt-image-1.5 has a choice."),
    ] = None
    resolution: Annotated[
        Literal["1K", "2K", "4K"] | None,
        Doc(
            "Size; the service takes 1K. More needs gpt-image-2 and an aspect_ratio other than "
            "auto; with 1:1 it may make 2K of 4K."
        ),
    ] = None

    # Generation in spite of the content check is the service's usual choice, not ours.
    always: ClassVar[Mapping[str, Any]] = {"force_generate": False}

    def check(self) -> None:
        """Check that the model makes pictures of that size, shape and quality."""
        large = self.resolution not in (None, "1K")
        if self.model in (None, "gpt-image-1.5"):
            if large:
                raise InvalidInput(
                    f"resolution {self.resolution} needs model='gpt-image-2'.", field="resolution"
                )
            if self.aspect_ratio not in (None, "auto", *_RATIOS_15):
                raise InvalidInput(
                    f"aspect_ratio {self.aspect_ratio} needs model='gpt-image-2'; gpt-image-1.5 "
                    f"makes {', '.join(_RATIOS_15)}.",
                    field="aspect_ratio",
                )
        elif self.model == "gpt-image-2":
            if self.quality is not None:
                raise InvalidInput("quality is for gpt-image-1.5 only.", field="quality")
            if large and self.aspect_ratio in (None, "auto"):
                raise InvalidInput(
                    f"resolution {self.resolution} needs an aspect_ratio other than auto.",
                    field="aspect_ratio",
                )


@define(kw_only=True)
class GptImageRecord(Record):
    """A GPT Image task. Its output is a picture, which the service keeps for 3 days."""

    prompt: str | None = None
    model: str | None = None
    input_images: tuple[str, ...] = ()
    aspect_ratio: str | None = None
    quality: str | None = None
    resolution: str | None = None


GPT_IMAGE = TaskKind(
    name="gpt_image",
    summary="Pictures from a text or from pictures (GPT Image)",
    input=GptImageInput,
    record=GptImageRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/detail/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/list"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    paging=Paging(page="page", size="page_size"),
    results=(Result("image_urls", "image"),),
)
