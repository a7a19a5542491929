"""The inputs and record fields shared by the kinds that make images with Wan."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, TaskInput
from a2e_async.kinds.input_rules import check_any_given
from a2e_async.models import Record


@define(kw_only=True)
class WanImageInput(TaskInput):
    """Inputs of the kinds that make images with Wan."""

    prompt: Annotated[
        str | None, FieldDoc("Describes the image, or the changes to input_images.")
    ] = None
    input_images: Annotated[
        Sequence[MediaInput] | None, AcceptedMedia("image"), FieldDoc("Reference images.")
    ] = None
    aspect_ratio: Annotated[
        Literal["16:9", "1:1"] | str | None,
        FieldDoc("Aspect ratio; others are possible."),
    ] = None

    # The service's default may be to generate even if the content check objects; ours is not.
    constant_fields: ClassVar[Mapping[str, Any]] = {"force_generate": False}

    def check(self) -> None:
        """Check that there is something to make an image from."""
        check_any_given(self, "prompt", "input_images")


@define(kw_only=True)
class WanImageRecord(Record):
    """A task that makes images with Wan. Its output is an image."""

    prompt: str | None = None
    """The prompt given to the start."""
    model: str | None = None
    """The model that was used."""
    input_images: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
