"""Text to image: one or several images from text and reference images.

Generates an image from a prompt, with optional reference images. `max_images` generates several
at once. `model_type="zimage"` and `model_version` are known from public clients only.

```python
record = await a2e.text_to_image.run(
    prompt="a lighthouse at dawn, oil painting", width=1024, height=768
)
await record.output.save("lighthouse.png")
```
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from attrs import define, field, frozen

from a2e_async._core.namespace_helpers import response_fields, without_none
from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    ItemCount,
    MediaInput,
    Range,
    TaskInput,
)
from a2e_async._core.submission.calls import ChargedCall
from a2e_async._core.tasks.kind import Endpoint, OutputField, P, TaskKind, check_task_id
from a2e_async._core.tasks.parsing import read_raw_records
from a2e_async.errors import InvalidInput
from a2e_async.kinds.input_rules import check_min
from a2e_async.kinds.namespace import R, TaskNamespace
from a2e_async.models import Record

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiResponse

PREFIX = "/api/v1/userText2Image"


@define(kw_only=True)
class TextToImageInput(TaskInput):
    """Inputs of `a2e.text_to_image.start` (``POST /api/v1/userText2Image/start``)."""

    prompt: Annotated[str, FieldDoc("Describes the image, or the changes to input_images.")]
    width: Annotated[int | None, FieldDoc("Width in pixels; 1024 by default.")] = None
    height: Annotated[int | None, FieldDoc("Height in pixels; 1024 by default.")] = None
    model_type: Annotated[
        Literal["a2e", "zimage", "seedream"] | str | None,
        FieldDoc("The model, a2e by default. The price depends on it."),
    ] = None
    model_version: Annotated[
        Literal["5.0-pro", "5.0", "4.5"] | str | None,
        FieldDoc("The version of seedream. The price may depend on it."),
    ] = None
    input_images: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("image"),
        ItemCount(1, 10),
        FieldDoc("Reference images: a2e takes up to 2, seedream up to 10."),
    ] = None
    skip_face_enhance: Annotated[
        bool | None,
        FieldDoc("Skip the step that improves the likeness of faces (a2e, with input_images)."),
    ] = None
    aspect_ratio: Annotated[
        Literal["1:1", "4:3", "3:4", "16:9", "9:16", "2:3", "3:2", "21:9"] | None,
        FieldDoc("Aspect ratio, for seedream; a2e uses width and height."),
    ] = None
    max_images: Annotated[
        int | None, Range(1, 8), FieldDoc("Number of images to make, each as its own task.")
    ] = None

    def check(self) -> None:
        """Check the size, and the number of input images for the model."""
        check_min(self, 1, "width", "height")
        if self.model_type in (None, "a2e") and len(self.input_images or ()) > 2:
            raise InvalidInput(
                "model_type 'a2e' takes up to 2 input_images; 'seedream' takes 10.",
                field="input_images",
            )


@define(kw_only=True)
class TextToImageRecord(Record):
    """A text-to-image task. Its output is an image; there are several if the start made several."""

    prompt: str | None = None
    """The prompt given to the start."""
    width: int | None = None
    """Width in pixels."""
    height: int | None = None
    """Height in pixels."""
    model_type: str | None = None
    """The type of the model."""
    model_version: str | None = None
    """The version of the model."""
    input_images: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    skip_face_enhance: bool | None = None
    """Whether the likeness of faces was left as it was."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    max_images: int | None = None
    """Number of images of the start."""


def _task_count(inputs: TaskInput) -> int:
    return (inputs.max_images if isinstance(inputs, TextToImageInput) else None) or 1


TEXT_TO_IMAGE = TaskKind(
    name="text_to_image",
    summary="Images from text",
    start_doc=(
        "Make one or several images from a text prompt, optionally with reference "
        "images. With max_images the start makes one task per image, and the returned "
        "handle covers all of them."
    ),
    input=TextToImageInput,
    record=TextToImageRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    unreliable_detail=True,
    outputs=(OutputField("image_urls", "image"),),
    expected_tasks=_task_count,
    typical_duration=(0, 60),
)


@frozen(kw_only=True)
class MadeAvatar:
    """An avatar made from an image."""

    id: str | None = None
    """Id of the avatar; None if the service does not report it."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=False)
    """Other fields of the response, by their wire names."""

    @classmethod
    def of(cls, data: Any) -> "MadeAvatar":
        """Return the avatar of a response, whose form is not documented."""
        rows = read_raw_records(data)
        fields = response_fields(rows[0] if rows else data)
        return cls(id=fields.id("avatar_id", "anchor_id"), extra=fields.unread())


class TextToImage(TaskNamespace[P, R]):
    """``a2e.text_to_image``: the tasks, and `make_avatar` for their images."""

    async def make_avatar(
        self, id: str, *, gender: Literal["female", "male"] | None = None
    ) -> MadeAvatar:
        """Make an avatar of the account from the image of a finished task.

        ``id`` is the id of one task; for a start that made several, the id of one of
        ``record.parts``. Every request makes another avatar, so it is not repeated if no
        response arrives (`StartOutcomeUnknown`), and it completes even if the caller is
        cancelled; check `a2e.avatars` then. Raises `InvalidInput`, `InvalidRequest` for a task
        that is not finished, `NotFound`. ``POST /api/v1/userText2Image/quickAddAvatar``.
        """
        if gender not in (None, "female", "male"):
            raise InvalidInput("gender must be 'female' or 'male'.", field="gender")
        body = without_none(_id=check_task_id(id), gender=gender)
        context = self._context
        return await context.charged.call(
            ChargedCall(
                kind="text_to_image.make_avatar",
                path=f"{PREFIX}/quickAddAvatar",
                body=body,
                timeout=context.start_timeout,
                priority=context.priority,
                read_result=_read_made_avatar,
                advice="Check a2e.avatars.list(), which shows the avatar if it was made",
            )
        )


def _read_made_avatar(response: "ApiResponse") -> MadeAvatar | None:
    made = MadeAvatar.of(response.data)
    # Without an id, only the API's own envelope shows that it was made.
    return None if made.id is None and response.code is None else made
