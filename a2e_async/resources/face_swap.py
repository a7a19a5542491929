"""Face swap: another face in a video. The account can save faces."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from attrs import define, field, frozen

from a2e_async.errors import DecodeError, sealed
from a2e_async.inputs import Doc, Media, MediaInput, TaskInput, check_media
from a2e_async.models import Record
from a2e_async.redact import stable_url
from a2e_async.resources.base import R, TaskNamespace
from a2e_async.resources.calls import read_all
from a2e_async.resources.plain import Fields, remove, show_url
from a2e_async.tasks.kind import Endpoint, P, Result, TaskKind, check_id
from a2e_async.tasks.status import read_rows
from a2e_async.transport.ratelimit import Priority
from a2e_async.transport.retry import Repeat

PREFIX = "/api/v1/userFaceSwapTask"
FACES = "/api/v1/userFaceSwapImage"


@define(kw_only=True)
class FaceSwapInput(TaskInput):
    """Inputs of `a2e.face_swap.start` (``POST /api/v1/userFaceSwapTask/add``)."""

    video_url: Annotated[
        MediaInput,
        Media("video", "image"),
        Doc("The video whose face is replaced; an image with model_version v2."),
    ]
    face_url: Annotated[MediaInput, Media("image"), Doc("An image of the new face.")]
    cover_url: Annotated[MediaInput | None, Media("image"), Doc("A cover image for the task.")] = (
        None
    )
    model_version: Annotated[
        Literal["v1", "v2"] | str | None,
        Doc("The model: v1 by default; v2 works on images only. The price depends on it."),
    ] = None


@define(kw_only=True)
class FaceSwapRecord(Record):
    """A face-swap task. Its output is a video, or an image if the input was one."""

    video_url: str | None = None
    """URL of the input video or image."""
    face_url: str | None = None
    """URL of the image of the new face."""
    cover_url: str | None = None
    """URL of the cover image."""
    model_version: str | None = None
    """The version of the model."""
    duration: float | None = None
    """Length of the video in seconds."""
    initialized_time: datetime | None = None
    """When the service created the task."""
    processing_time: datetime | None = None
    """When the service began to process it."""
    completed_time: datetime | None = None
    """When the task was completed."""


FACE_SWAP = TaskKind(
    name="face_swap",
    summary="Another face in a video",
    start_doc="Replace the face in a video, or in an image with model_version v2.",
    input=FaceSwapInput,
    record=FaceSwapRecord,
    start_at=Endpoint("POST", f"{PREFIX}/add"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/records"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    results=(Result("result_url", "video"),),
    usual=(60, 900),
)


@frozen(kw_only=True)
class SavedFace:
    """A face saved in the account."""

    id: str
    """Id of the saved face."""
    face_url: str | None = field(default=None, repr=show_url)
    """URL of the image, an input of `a2e.face_swap.start`."""
    created_at: datetime | None = None
    """When it was saved."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""


class FaceSwap(TaskNamespace[P, R]):
    """``a2e.face_swap``: the tasks, and the faces saved in the account."""

    @sealed
    async def save_face(self, face_url: MediaInput) -> SavedFace:
        """Save a face image (URL, path, bytes or Output) for later swaps and return it.

        The request is not repeated if no response arrives; check `faces`. Raises
        `InvalidInput`, `DecodeError`. ``POST /api/v1/userFaceSwapImage/add``.
        """
        check_media("face_url", face_url)
        url = await self._room.files.url(face_url, ("image",), "face_url")
        answer = await self._call(
            "POST",
            f"{FACES}/add",
            json={"face_url": url},
            repeat=Repeat.CHARGED,  # a repeated request would save it twice
        )
        # The response lists all faces, newest first.
        for face in _read_faces(answer.data):
            if face.face_url and stable_url(face.face_url) == stable_url(url):
                return face
        raise DecodeError(
            f"{FACES}/add did not return the saved face. Check a2e.face_swap.faces() before you "
            "save it again.",
            method="POST",
            path=f"{FACES}/add",
        )

    async def faces(self) -> tuple[SavedFace, ...]:
        """Return the faces saved in the account. ``GET /api/v1/userFaceSwapImage/records``."""
        answer = await self._call("GET", f"{FACES}/records", priority=Priority.LIST)
        return _read_faces(answer.data)

    async def delete_face(self, id: str) -> None:
        """Delete a saved face. Raises `NotFound`. ``DELETE /api/v1/userFaceSwapImage/{id}``."""
        await remove(self._room, "DELETE", f"{FACES}/{check_id(id)}")

    async def running(self) -> tuple[R, ...]:
        """Return the unfinished swaps of the account.

        ``GET /api/v1/userFaceSwapTask/status``.
        """
        answer = await self._call("GET", f"{PREFIX}/status", priority=Priority.LIST)
        return read_all(self._room, self.kind, answer.data)


def _read_faces(data: Any) -> tuple[SavedFace, ...]:
    return tuple(
        SavedFace(
            id=id,
            face_url=raw.url("face_url"),
            created_at=raw.time("createdAt"),
            extra=raw.rest(),
        )
        for row in read_rows(data)
        if (id := (raw := Fields(row)).id())
    )
