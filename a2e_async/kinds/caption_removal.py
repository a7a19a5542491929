"""Caption removal: removes burnt-in captions from a video.

Removes burned-in captions from a video.

```python
record = await a2e.caption_removal.run(source_url="clip.mp4")
await record.output.save("without-captions.mp4")
```
"""

from typing import Annotated

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, P, TaskKind
from a2e_async._core.tasks.task import Task
from a2e_async.kinds.actions import start_task_action
from a2e_async.kinds.namespace import R, TaskNamespace
from a2e_async.models import Record

PREFIX = "/api/v1/userCaptionRemoval"


@define(kw_only=True)
class CaptionRemovalInput(TaskInput):
    """Inputs of `a2e.caption_removal.start` (``POST /api/v1/userCaptionRemoval/start``)."""

    source_url: Annotated[MediaInput, AcceptedMedia("video"), FieldDoc("The video with captions.")]


@define(kw_only=True)
class CaptionRemovalRecord(Record):
    """A caption-removal task. Its output is the video without captions."""

    source_url: str | None = None
    """URL of the input file."""


CAPTION_REMOVAL = TaskKind(
    name="caption_removal",
    summary="A video without its captions",
    start_doc="Remove burnt-in captions from a video.",
    input=CaptionRemovalInput,
    record=CaptionRemovalRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    processing_list=Endpoint("GET", f"{PREFIX}/allProcessing"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    retry=Endpoint("POST", f"{PREFIX}/retry"),
    outputs=(OutputField("result_url", "video"),),
)


class CaptionRemoval(TaskNamespace[P, R]):
    """``a2e.caption_removal``: the tasks, and `retry` for failed ones."""

    async def retry(self, id: str) -> Task[R]:
        """Retry a failed task; return the task to wait for, which may be a new one.

        May cost coins. Raises `StartOutcomeUnknown` if no response arrived: the retry may have
        been charged and is not repeated; check ``get(id)`` and ``list()``. Raises the `ApiError`
        with which the service refused. The service does not document the body; the id is sent
        as ``_id``. ``POST /api/v1/userCaptionRemoval/retry``.
        """
        return await start_task_action(self._context, self.kind, self.kind.retry, "retry", id)
