"""Face swap: another face in a video. The account can save faces.

Puts the face of an image into a video or another image.

```python
record = await a2e.face_swap.run(video_url="clip.mp4", face_url="portrait.png")
await record.output.save("swapped.mp4")
```
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from attrs import define, field, frozen

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.http.retry import RetrySafety
from a2e_async._core.namespace_helpers import ResponseFields, delete_resource, repr_without_query
from a2e_async._core.redact import stable_url
from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    MediaInput,
    TaskInput,
    check_media,
)
from a2e_async._core.tasks.kind import Endpoint, OutputField, P, TaskKind, check_task_id
from a2e_async._core.tasks.parsing import read_raw_records
from a2e_async.errors import DecodeError
from a2e_async.kinds.namespace import R, TaskNamespace
from a2e_async.kinds.operations import read_records
from a2e_async.models import Record

PREFIX = "/api/v1/userFaceSwapTask"
FACES_PREFIX = "/api/v1/userFaceSwapImage"


@define(kw_only=True)
class FaceSwapInput(TaskInput):
    """Inputs of `a2e.face_swap.start` (``POST /api/v1/userFaceSwapTask/add``)."""

    video_url: Annotated[
        MediaInput,
        AcceptedMedia("video", "image"),
        FieldDoc("The video whose face is replaced; an image with model_version v2."),
    ]
    face_url: Annotated[MediaInput, AcceptedMedia("image"), FieldDoc("An image of the new face.")]
    cover_url: Annotated[
        MediaInput | None, AcceptedMedia("image"), FieldDoc("A cover image for the task.")
    ] = None
    model_version: Annotated[
        Literal["v1", "v2"] | str | None,
        FieldDoc("The model: v1 by default; v2 works on images only. The price depends on it."),
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
    start=Endpoint("POST", f"{PREFIX}/add"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/records"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "video"),),
    typical_duration=(60, 900),
)


@frozen(kw_only=True)
class SavedFace:
    """A face saved in the account."""

    id: str
    """Id of the saved face."""
    face_url: str | None = field(default=None, repr=repr_without_query)
    """URL of the image, an input of `a2e.face_swap.start`."""
    created_at: datetime | None = None
    """When it was saved."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""


class FaceSwap(TaskNamespace[P, R]):
    """``a2e.face_swap``: the tasks, and the faces saved in the account."""

    @hide_frames
    async def save_face(self, face_url: MediaInput) -> SavedFace:
        """Save a face image (URL, path, bytes or Output) for later swaps and return it.

        The request is not repeated if no response arrives; check `faces`. Raises
        `InvalidInput`, `DecodeError`. ``POST /api/v1/userFaceSwapImage/add``.
        """
        check_media("face_url", face_url)
        url = await self._context.files.url(face_url, ("image",), "face_url")
        response = await self._request(
            "POST",
            f"{FACES_PREFIX}/add",
            json={"face_url": url},
            retry_safety=RetrySafety.CHARGED,  # a repeated request would save it twice
        )
        # The response lists all faces, newest first.
        for face in _read_faces(response.data):
            if face.face_url and stable_url(face.face_url) == stable_url(url):
                return face
        raise DecodeError(
            f"{FACES_PREFIX}/add did not return the saved face. Check a2e.face_swap.faces() before "
            "you save it again.",
            method="POST",
            path=f"{FACES_PREFIX}/add",
        )

    async def faces(self) -> tuple[SavedFace, ...]:
        """Return the faces saved in the account. ``GET /api/v1/userFaceSwapImage/records``."""
        response = await self._request("GET", f"{FACES_PREFIX}/records", priority=Priority.LIST)
        return _read_faces(response.data)

    async def delete_face(self, id: str) -> None:
        """Delete a saved face. Raises `NotFound`. ``DELETE /api/v1/userFaceSwapImage/{id}``."""
        await delete_resource(self._context, "DELETE", f"{FACES_PREFIX}/{check_task_id(id)}")

    async def running(self) -> tuple[R, ...]:
        """Return the unfinished swaps of the account.

        ``GET /api/v1/userFaceSwapTask/status``.
        """
        response = await self._request("GET", f"{PREFIX}/status", priority=Priority.LIST)
        return read_records(self._context, self.kind, response.data)


def _read_faces(data: Any) -> tuple[SavedFace, ...]:
    return tuple(
        SavedFace(
            id=id,
            face_url=raw.url("face_url"),
            created_at=raw.timestamp("createdAt"),
            extra=raw.unread(),
        )
        for row in read_raw_records(data)
        if (id := (raw := ResponseFields(row)).id())
    )
