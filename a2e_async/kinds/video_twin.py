"""Video twin: an avatar of a real person, trained from a video or an image.

Trains an avatar from a video or an image of a person who has given consent. Its result is
`record.anchor_id`, for [avatar_video](avatar_video.md) with `anchor_type=1`. The service's
reference does not name `gender`, `prompt`, `negative_prompt`, `skip_preview` and `is_transcoding`;
public clients send them.

```python
twin = await a2e.video_twin.run(name="Ana", video_url="clip.mp4")
record = await a2e.avatar_video.run(anchor_id=twin.anchor_id, anchor_type=1, audio_src="speech.wav")
await record.output.save("ana.mp4")
```
"""

from typing import Annotated, Any, ClassVar, Final

from attrs import define

from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, TaskInput
from a2e_async._core.tasks.kind import (
    SECONDS_PER_HOUR,
    Endpoint,
    ListPaging,
    P,
    StatusVocabulary,
    TaskKind,
)
from a2e_async._core.tasks.task import Task
from a2e_async.errors import DecodeError, InvalidInput
from a2e_async.kinds.actions import start_task_action
from a2e_async.kinds.namespace import R, TaskNamespace
from a2e_async.kinds.operations import read_records
from a2e_async.models import Record, Status, WireName

PREFIX: Final = "/api/v1/userVideoTwin"


@define(kw_only=True)
class VideoTwinInput(TaskInput):
    """Inputs of `a2e.video_twin.start` (``POST /api/v1/userVideoTwin/startTraining``)."""

    image_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc("An image of the person. Give this or video_url."),
    ] = None
    video_url: Annotated[
        MediaInput | None,
        AcceptedMedia("video"),
        FieldDoc("A video of the person. Give this or image_url."),
    ] = None
    video_background_image: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc("The background of the video as an image."),
    ] = None
    video_background_color: Annotated[
        str | None, FieldDoc("The background of the video as an RGBA colour.")
    ] = None

    gender: Annotated[str | None, FieldDoc("Gender of the person, such as female or male.")] = None
    prompt: Annotated[
        str | None, FieldDoc("Describes what the person does, such as: smile and speak.")
    ] = None
    negative_prompt: Annotated[str | None, FieldDoc("What the avatar must not show.")] = None
    skip_preview: Annotated[
        bool | None,
        WireName("skipPreview"),
        FieldDoc("Make no preview of the trained avatar."),
    ] = None
    is_transcoding: Annotated[
        bool | None,
        WireName("isTranscoding"),
        FieldDoc("Whether the service converts the video first."),
    ] = None

    def check(self) -> None:
        """Check that exactly one source is given."""
        if (self.image_url is None) == (self.video_url is None):
            raise InvalidInput("Give exactly one of image_url and video_url.", field="video_url")


@define(kw_only=True)
class VideoTwinRecord(Record):
    """A video twin. It has no files: its result is `anchor_id`, for `a2e.avatar_video`."""

    result_attribute: ClassVar[str] = "record.anchor_id"

    anchor: Annotated[str | None, WireName("anchor_id")] = None
    """Id of the avatar, None until it is trained. `anchor_id` raises an error instead of None."""
    gender: str | None = None
    """Gender of the person."""
    image_url: str | None = None
    """URL of the input image."""
    video_url: str | None = None
    """URL of the input video."""
    preview_result_url: str | None = None
    """URL of a preview of the trained avatar."""

    @property
    def anchor_id(self) -> str:
        """The id that `a2e.avatar_video.start` takes as ``anchor_id``, with ``anchor_type=1``.

        Raises `InvalidInput` while the training is running, and `DecodeError` if the service
        reports it as completed without an id.
        """
        if self.anchor:
            return self.anchor
        if self.status is Status.SUCCEEDED:
            raise DecodeError(
                f"The service reports {self.id} as completed but gives no anchor_id. Call get() "
                "again in a minute; if it is still missing, contact the service's support."
            )
        raise InvalidInput(f"{self.id} is not trained yet: it is {self.status}. Wait for it first.")


VIDEO_TWIN = TaskKind(
    name="video_twin",
    summary="An avatar of a real person",
    start_doc="Train an avatar of a real person from a video or an image.",
    input=VideoTwinInput,
    record=VideoTwinRecord,
    accepts_webhook=False,
    start=Endpoint("POST", f"{PREFIX}/startTraining"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/records"),
    processing_list=Endpoint("GET", f"{PREFIX}/trainingRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("POST", f"{PREFIX}/remove"),
    retry=Endpoint("POST", f"{PREFIX}/retry"),
    paging=ListPaging(status_filters=("pending", "processing", "completed", "failed")),
    statuses=StatusVocabulary(completion_field="anchor_id"),
    default_timeout=4 * SECONDS_PER_HOUR,
    typical_duration=(600, 1800),
)


class VideoTwin(TaskNamespace[P, R]):
    """``a2e.video_twin``: the trainings, and further training of a twin."""

    async def retry(self, id: str) -> Task[R]:
        """Retry a failed training; return the task to wait for.

        May cost coins. Raises `StartOutcomeUnknown` if no response arrived: the retry may have
        been charged and is not repeated; check ``get(id)``. Raises the `ApiError` with which
        the service refused. The service does not document the body; the id is sent as ``_id``.
        ``POST /api/v1/userVideoTwin/retry``.
        """
        return await start_task_action(self._context, self.kind, self.kind.retry, "retry", id)

    async def continue_training(self, id: str) -> Task[R]:
        """Continue the training of a twin; return the task to wait for.

        Costs and raises the same as `retry`. The twin stays usable during the training.
        ``POST /api/v1/userVideoTwin/continueTraining``.
        """
        endpoint = Endpoint("POST", f"{PREFIX}/continueTraining")
        return await start_task_action(self._context, self.kind, endpoint, "continue_training", id)

    async def correct_eye_contact(self, id: str) -> Task[R]:
        """Correct the eye contact of a twin; return the task to wait for.

        Costs and raises the same as `retry`. ``POST /api/v1/userVideoTwin/eyeContact``.
        """
        endpoint = Endpoint("POST", f"{PREFIX}/eyeContact")
        return await start_task_action(
            self._context, self.kind, endpoint, "correct_eye_contact", id
        )

    async def all(self) -> tuple[R, ...]:
        """Return all twins of the account. ``GET /api/v1/userVideoTwin/userRecords``."""
        response = await self._request("GET", f"{PREFIX}/userRecords", priority=Priority.LIST)
        return read_records(self._context, self.kind, response.data)

    async def upload_status(self) -> Any:
        """Return the status of the account's uploads of twin videos (undocumented).

        ``GET /api/v1/userVideoTwin/uploadStatus``.
        """
        return (await self._request("GET", f"{PREFIX}/uploadStatus")).data
