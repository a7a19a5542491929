"""Sora: a video from images or text. The service makes it with Kling 3.0.

Generates videos from text or images. Text without an image needs `model_type="text-to-video"`.

```python
record = await a2e.sora.run(
    model_type="text-to-video", prompt="a market at noon", duration_seconds=5
)
await record.output.save("market.mp4")
```
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from attrs import define

from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    MediaInput,
    SerializeAsString,
    TaskInput,
)
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.kinds.input_rules import InputRule, check_rules
from a2e_async.models import NumericString, Record

PREFIX: Final = "/api/v1/soraVideo"

_RULES: Final = {
    "text-to-video": InputRule(),
    "image-to-video": InputRule(requires=("image_urls",)),
}


@define(kw_only=True)
class SoraInput(TaskInput):
    """Inputs of `a2e.sora.start` (``POST /api/v1/soraVideo/start``)."""

    prompt: Annotated[str, FieldDoc("Describes what happens in the video.")]
    model_type: Annotated[
        Literal["text-to-video", "image-to-video"] | None,
        FieldDoc("What the video is made from, image-to-video by default."),
    ] = None
    image_urls: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("image"),
        FieldDoc("The images; required unless model_type is text-to-video."),
    ] = None
    aspect_ratio: Annotated[
        Literal["portrait", "landscape"] | None, FieldDoc("Aspect ratio, landscape by default.")
    ] = None
    duration_seconds: Annotated[
        Literal[5, 10, 15] | None,
        SerializeAsString(),
        FieldDoc("Length of the video in seconds, 5 by default."),
    ] = None
    quality: Annotated[
        Literal["standard", "high"] | None, FieldDoc("Quality and price, standard by default.")
    ] = None

    def check(self) -> None:
        """Check that the images match the model_type."""
        check_rules(self, "model_type", _RULES, default="image-to-video")


@define(kw_only=True)
class SoraRecord(Record):
    """A Sora task. Its output is a video."""

    prompt: str | None = None
    """The prompt given to the start."""
    model_type: str | None = None
    """What the video was made from: text-to-video or image-to-video."""
    image_urls: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    duration_seconds: Annotated[float | None, NumericString()] = None
    """Length given to the start, in seconds."""
    quality: str | None = None
    """The quality given to the start."""


SORA = TaskKind(
    name="sora",
    summary="Videos named Sora, made by Kling 3.0",
    start_doc=(
        "Make a video from images or text. The service names it Sora and makes it with Kling 3.0."
    ),
    input=SoraInput,
    record=SoraRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "video"),),
)
