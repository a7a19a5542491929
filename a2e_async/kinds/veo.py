"""Veo 3.1: a video from text, from first and last frames, or from reference images.

Google's Veo: generates videos from text or images. For 16:9, a 1080p file is available a little
later.

```python
record = await a2e.veo.run(
    prompt="a tram crosses a bridge in the rain", model="veo3_fast", aspect_ratio="16:9"
)
await record.output.save("tram.mp4")
larger = await a2e.veo.wait_1080p(record.id)
await larger.save("tram-1080p.mp4")
```
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from attrs import define

from a2e_async._core.namespace_helpers import check_number, output_from_url, response_fields
from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    ItemCount,
    MediaInput,
    Range,
    TaskInput,
)
from a2e_async._core.tasks.kind import (
    Endpoint,
    OutputField,
    P,
    StatusVocabulary,
    TaskKind,
    check_task_id,
)
from a2e_async._core.tasks.parsing import read_raw_records
from a2e_async.errors import DecodeError, InvalidInput, TaskTimeout
from a2e_async.kinds.input_rules import InputRule, check_rules
from a2e_async.kinds.namespace import R, TaskNamespace
from a2e_async.models import Output, Record, WireName

PREFIX: Final = "/api/v1/veoVideo"

MAX_1080P_POLL_INTERVAL: Final = 5.0
"""Seconds between two status requests for the 1080p file; the first intervals are shorter."""

_FIRST_1080P_POLL_INTERVAL: Final = 0.5
_NOT_READY: Final = 202
_URL_NAMES: Final = ("resultUrl", "url", "result_url", "video_output")

_RULES: Final = {
    "TEXT_2_VIDEO": InputRule(),
    "FIRST_AND_LAST_FRAMES_2_VIDEO": InputRule(requires=("image_urls",)),
    "REFERENCE_2_VIDEO": InputRule(requires=("image_urls",)),
}


@define(kw_only=True)
class VeoInput(TaskInput):
    """Inputs of `a2e.veo.start` (``POST /api/v1/veoVideo/start``)."""

    prompt: Annotated[str, FieldDoc("Describes what happens in the video.")]
    generation_type: Annotated[
        Literal["TEXT_2_VIDEO", "FIRST_AND_LAST_FRAMES_2_VIDEO", "REFERENCE_2_VIDEO"] | None,
        WireName("generationType"),
        FieldDoc(
            "What the video is made from, TEXT_2_VIDEO by default; the others need image_urls."
        ),
    ] = None
    image_urls: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("image"),
        ItemCount(1, 3),
        WireName("imageUrls"),
        FieldDoc("The first and optionally the last frame, or 1-3 reference images."),
    ] = None
    model: Annotated[
        Literal["veo3", "veo3_fast"] | str | None,
        FieldDoc("The model: veo3_fast is the default and faster, veo3 has the better quality."),
    ] = None
    aspect_ratio: Annotated[
        Literal["16:9", "9:16", "Auto"] | None,
        WireName("aspectRatio"),
        FieldDoc("Aspect ratio, Auto by default; a 1080p file is available for 16:9 only."),
    ] = None
    watermark: Annotated[str | None, FieldDoc("Text of a watermark in the video.")] = None
    seeds: Annotated[
        int | None,
        Range(10000, 99999),
        FieldDoc("Random seed; the same seed gives similar videos."),
    ] = None

    def check(self) -> None:
        """Check that the images match the generation_type."""
        check_rules(self, "generation_type", _RULES, default="TEXT_2_VIDEO")
        frames = self.generation_type == "FIRST_AND_LAST_FRAMES_2_VIDEO"
        if frames and len(self.image_urls or ()) > 2:
            raise InvalidInput(
                "FIRST_AND_LAST_FRAMES_2_VIDEO takes 1 or 2 image_urls.", field="image_urls"
            )


@define(kw_only=True)
class VeoRecord(Record):
    """A Veo task. Its output is a video; `Veo.wait_1080p` returns it in 1080p."""

    prompt: str | None = None
    """The prompt given to the start."""
    generation_type: Annotated[str | None, WireName("generationType")] = None
    """What the video was made from, as given to the start."""
    image_urls: Annotated[tuple[str, ...], WireName("imageUrls")] = ()
    """URLs of the input images, in order."""
    model: str | None = None
    """The model that was used."""
    aspect_ratio: Annotated[str | None, WireName("aspectRatio")] = None
    """Aspect ratio, such as 16:9."""
    watermark: str | None = None
    """Text of the watermark."""
    seeds: int | None = None
    """The random seed."""


VEO = TaskKind(
    name="veo",
    summary="Videos by Veo 3.1",
    start_doc=(
        "Make a video from text, from first and last frames, or from reference "
        "images, with Veo 3.1. `wait_1080p` returns a 16:9 result in 1080p."
    ),
    input=VeoInput,
    record=VeoRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    statuses=StatusVocabulary(
        field="state",
        fallback_fields=("current_status",),
        queued=StatusVocabulary().queued | {"waiting"},
        succeeded=frozenset({"success", "completed"}),
        failed=frozenset({"fail", "failed"}),
    ),
    outputs=(OutputField("video_output", "video"), OutputField("result_url", "video")),
    failure_message_fields=("fail_reason", "failed_message"),
)


class Veo(TaskNamespace[P, R]):
    """``a2e.veo``: the tasks, and the 1080p files of finished ones."""

    async def get_1080p(self, id: str) -> Output | None:
        """Return a finished 16:9 video in 1080p, or None while the service is making it.

        Free of charge. Call it again when the URL of the Output has expired. Raises
        `InvalidRequest` for videos with another aspect ratio, `NotFound`.
        ``GET /api/v1/veoVideo/{id}/1080p``.
        """
        path = f"{PREFIX}/{check_task_id(id)}/1080p"
        response = await self._request("GET", path)
        # The service reports 202 as the HTTP status or as the code in the body.
        if _NOT_READY in (response.http_status, response.code):
            return None
        data = {"url": response.data} if isinstance(response.data, str) else response.data
        found = (response_fields(raw).url(*_URL_NAMES) for raw in (data, *read_raw_records(data)))
        url = next(filter(None, found), None)
        if url is None:
            raise DecodeError(
                f"The response of {path} has no URL.",
                method="GET",
                path=path,
                http_status=response.http_status,
                trace_id=response.trace_id,
            )
        return output_from_url(url, "video", self._context.source)

    async def wait_1080p(self, id: str, *, timeout: float = 600.0) -> Output:
        """Wait for the 1080p file of a finished 16:9 video and return it.

        Polls at intervals of at most 5 s, for ``timeout`` seconds. Free of charge. Raises
        `TaskTimeout` (the service continues: call it again) and what `get_1080p` raises.
        """
        seconds = check_number(timeout, "timeout", 0, float("inf"))
        deadline = self._context.session.loop_time() + seconds
        interval = _FIRST_1080P_POLL_INTERVAL
        while (output := await self.get_1080p(id)) is None:
            remaining = deadline - self._context.session.loop_time()
            if remaining <= 0:
                task = self.attach(id)
                raise TaskTimeout(
                    f"The 1080p file of {task.ref} was not ready after {seconds:g} s. The service "
                    "is still making it; call wait_1080p again, free of charge.",
                    task=task,
                )
            await asyncio.sleep(min(interval, remaining))
            interval = min(2 * interval, MAX_1080P_POLL_INTERVAL)
        return output
