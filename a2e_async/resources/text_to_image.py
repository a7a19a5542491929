"""Text to image: one picture or several, from a text and reference pictures."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from attrs import define, field, frozen

from a2e_async.errors import InvalidInput
from a2e_async.inputs import Between, Count, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.resources.base import R, TaskNamespace
from a2e_async.resources.plain import fields_of, given
from a2e_async.resources.uses import check_least
from a2e_async.tasks.charged import ChargedCall
from a2e_async.tasks.kind import Endpoint, P, Result, TaskKind, check_id
from a2e_async.tasks.status import read_rows

PREFIX = "/api/v1/userText2Image"


@define(kw_only=True)
class TextToImageInput(TaskInput):
    """What `a2e.text_to_image.start` takes (``POST /api/v1/userText2Image/start``)."""

    prompt: Annotated[str, Doc("What the picture shows, or what to change in the given ones.")]
    width: Annotated[int | None, Doc("Width in pixels; the service takes 1024.")] = None
    height: Annotated[int | None, Doc("Height in pixels; the service takes 1024.")] = None
    model_type: Annotated[
        Literal["a2e", "seedream"] | str | None,
        Doc("The model; a2e unless you say otherwise. The price depends on it."),
    ] = None
    input_images: Annotated[
        Sequence[MediaInput] | None,
        Media("image"),
        Count(1, 10),
        Doc("Pictures to work from: a2e takes up to 2, seedream up to 10."),
    ] = None
    skip_face_enhance: Annotated[
        bool | None,
        Doc("Do not improve the likeness of faces (a2e, with input_images)."),
    ] = None
    aspect_ratio: Annotated[
        Literal["1:1", "4:3", "3:4", "16:9", "9:16", "2:3", "3:2", "21:9"] | None,
        Doc("Width to height; for seedream (a2e goes by width and height)."),
    ] = None
    max_images: Annotated[
        int | None, Between(1, 8), Doc("How many pictures to make, each a task of its own.")
    ] = None

    def check(self) -> None:
        """Check the size, and that the model takes so many pictures."""
        check_least(self, 1, "width", "height")
        if self.model_type in (None, "a2e") and len(self.input_images or ()) > 2:
            raise InvalidInput(
                "a2e takes up to 2 input_images; model_type='seedream' takes 10.",
                field="input_images",
            )


@define(kw_only=True)
class TextToImageRecord(Record):
    """A text-to-image task. Its output is a picture; several when the start made several."""

    prompt: str | None = None
    width: int | None = None
    height: int | None = None
    model_type: str | None = None
    input_images: tuple[str, ...] = ()
    skip_face_enhance: bool | None = None
    aspect_ratio: str | None = None
    max_images: int | None = None


def _task_count(inputs: TaskInput) -> int:
    return (inputs.max_images if isinstance(inputs, TextToImageInput) else None) or 1


TEXT_TO_IMAGE = TaskKind(
    name="text_to_image",
    summary="Pictures from a text",
    input=TextToImageInput,
    record=TextToImageRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    flaky_detail=True,
    results=(Result("image_urls", "image"),),
    expected=_task_count,
    usual=(0, 60),
)


@frozen(kw_only=True)
class MadeAvatar:
    """An avatar made from a picture. ``id`` is None where the service did not tell it.

    ``extra`` holds what else it said, under its names on the wire.
    """

    id: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=False)

    @classmethod
    def of(cls, data: Any) -> "MadeAvatar":
        """Return what an answer tells of it; what it looks like is not documented."""
        rows = read_rows(data)
        fields = fields_of(rows[0] if rows else data)
        return cls(id=fields.id("avatar_id", "anchor_id"), extra=fields.rest())


class TextToImage(TaskNamespace[P, R]):
    """``a2e.text_to_image``: the tasks, and the way from a picture to an avatar."""

    async def make_avatar(
        self, id: str, *, gender: Literal["female", "male"] | None = None
    ) -> MadeAvatar:
        """Make an avatar of the account from the picture of a finished task.

        ``id`` is that of one task (of a start that made several: that of one of its parts).
        It makes something each time, so it is not sent again when its answer was lost
        (`StartOutcomeUnknown`), and runs to its end when its caller is cancelled; look into
        `a2e.avatars` then. Raises `InvalidInput`, `InvalidRequest` for a task that is not
        finished, `NotFound`. ``POST /api/v1/userText2Image/quickAddAvatar``.
        """
        if gender not in (None, "female", "male"):
            raise InvalidInput("gender must be 'female' or 'male'.", field="gender")
        body = given(_id=check_id(id), gender=gender)
        context = self._room
        return await context.charged.call(
            ChargedCall(
                kind="text_to_image.make_avatar",
                path=f"{PREFIX}/quickAddAvatar",
                body=body,
                timeout=context.start_timeout,
                priority=context.priority,
                read=lambda answer: MadeAvatar.of(answer.data),
                advice="Look at a2e.avatars.list(), which shows it if it was made",
            )
        )
