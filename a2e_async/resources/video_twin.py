"""Video twin: an avatar of a real person, trained from a video or a picture."""

from typing import Annotated, Any, ClassVar, Final

from attrs import define

from a2e_async.errors import DecodeError, InvalidInput
from a2e_async.inputs import Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record, Status, Wire
from a2e_async.resources.again import again
from a2e_async.resources.base import R, TaskNamespace
from a2e_async.resources.calls import read_all
from a2e_async.tasks.kind import HOUR, Endpoint, P, Paging, TaskKind, Words
from a2e_async.tasks.task import Task
from a2e_async.transport.ratelimit import Priority

PREFIX: Final = "/api/v1/userVideoTwin"


@define(kw_only=True)
class VideoTwinInput(TaskInput):
    """What `a2e.video_twin.start` takes (``POST /api/v1/userVideoTwin/startTraining``)."""

    image_url: Annotated[
        MediaInput | None, Media("image"), Doc("A picture of the person; or give video_url.")
    ] = None
    video_url: Annotated[
        MediaInput | None, Media("video"), Doc("A video of the person; or give image_url.")
    ] = None
    video_background_image: Annotated[
        MediaInput | None, Media("image"), Doc("The background of the video, as a picture.")
    ] = None
    video_background_color: Annotated[
        str | None, Doc("The background of the video, as an RGBA colour.")
    ] = None

    def check(self) -> None:
        """Check that there is one thing to train from."""
        if (self.image_url is None) == (self.video_url is None):
            raise InvalidInput("Give image_url or video_url: one of them.", field="video_url")


@define(kw_only=True)
class VideoTwinRecord(Record):
    """A video twin. It makes no files: its result is `anchor_id`, for `a2e.avatar_video`."""

    instead_of_outputs: ClassVar[str] = "record.anchor_id"

    anchor: Annotated[str | None, Wire("anchor_id")] = None
    """The avatar's id, None until it is trained; `anchor_id` is the same, for whoever needs it."""
    gender: str | None = None
    image_url: str | None = None
    video_url: str | None = None
    preview_result_url: str | None = None

    @property
    def anchor_id(self) -> str:
        """What `a2e.avatar_video.start` takes as ``anchor_id``, with ``anchor_type=1``.

        Raises `InvalidInput` while the twin has no avatar, and `DecodeError` when the service
        calls it completed and gives none.
        """
        if self.anchor:
            return self.anchor
        if self.status is Status.SUCCEEDED:
            raise DecodeError(
                f"The service calls {self.id} completed but gives no anchor_id for it. "
                "Look again in a minute with get(); if it stays so, tell the service's support."
            )
        raise InvalidInput(f"{self.id} is not trained yet: it is {self.status}. Wait for it first.")


VIDEO_TWIN = TaskKind(
    name="video_twin",
    summary="An avatar of a real person",
    input=VideoTwinInput,
    record=VideoTwinRecord,
    webhook=False,
    start_at=Endpoint("POST", f"{PREFIX}/startTraining"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/records"),
    processing_at=Endpoint("GET", f"{PREFIX}/trainingRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("POST", f"{PREFIX}/remove"),
    retry_at=Endpoint("POST", f"{PREFIX}/retry"),
    paging=Paging(statuses=("pending", "processing", "completed", "failed")),
    words=Words(proof="anchor_id"),
    patience=4 * HOUR,
    usual=(600, 1800),
)


class VideoTwin(TaskNamespace[P, R]):
    """``a2e.video_twin``: the trainings, and what can be done with a twin afterwards."""

    async def retry(self, id: str) -> Task[R]:
        """Have a failed training tried again; return the task to wait for.

        It may cost. Raises `StartOutcomeUnknown` when the answer was lost: it may have been
        charged and is not sent again; ``get(id)`` tells what became of it. Raises the
        `ApiError` with which the service refused. The service documents no input; the id is
        sent as ``_id``. ``POST /api/v1/userVideoTwin/retry``.
        """
        return await again(self._room, self.kind, self.kind.retry_at, "retry", id)

    async def continue_training(self, id: str) -> Task[R]:
        """Go on with the training of a twin; return the task to wait for.

        Costs and raises as `retry`. The twin can be used all the time.
        ``POST /api/v1/userVideoTwin/continueTraining``.
        """
        endpoint = Endpoint("POST", f"{PREFIX}/continueTraining")
        return await again(self._room, self.kind, endpoint, "continue_training", id)

    async def correct_eye_contact(self, id: str) -> Task[R]:
        """Have a twin look into the camera; return the task to wait for.

        Costs and raises as `retry`.
        ``POST /api/v1/userVideoTwin/eyeContact``.
        """
        endpoint = Endpoint("POST", f"{PREFIX}/eyeContact")
        return await again(self._room, self.kind, endpoint, "correct_eye_contact", id)

    async def all(self) -> tuple[R, ...]:
        """Return every twin of the account at once. ``GET /api/v1/userVideoTwin/userRecords``."""
        answer = await self._call("GET", f"{PREFIX}/userRecords", priority=Priority.LIST)
        return read_all(self._room, self.kind, answer.data)

    async def upload_status(self) -> Any:
        """Return how the account's uploads of twin videos stand, as the service gives it.

        Its answer is undocumented. ``GET /api/v1/userVideoTwin/uploadStatus``.
        """
        return (await self._call("GET", f"{PREFIX}/uploadStatus")).data
