"""MiniMax H3: a video from text or a first frame.

Generates videos of 4 to 15 seconds from a prompt, or from a first frame; `mode` selects which.

The package knows this kind from public clients, not from the service's own reference: its start,
detail, list and batchDetail, and its inputs. Status and result fields, webhooks and the deletion
are inferred from similar kinds. The service also makes videos from references; the mode for that
is unknown.

```python
record = await a2e.minimax_h3.run(
    mode="text-to-video", prompt="a tram in the snow", resolution="768P", duration=5
)
await record.output.save("tram.mp4")
```
"""

from typing import Annotated, Final, Literal

from attrs import define

from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    MediaInput,
    Range,
    SerializeAsString,
    TaskInput,
)
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.kinds.input_rules import InputRule, check_any_given, check_rules
from a2e_async.models import NumericString, Record

PREFIX: Final = "/api/v1/minimaxH3Video"

_RULES: Final = {
    "text-to-video": InputRule(requires=("prompt",)),
    "image-to-video": InputRule(requires=("first_frame_url",), allows=("prompt",)),
}


@define(kw_only=True)
class MinimaxH3Input(TaskInput):
    """Inputs of `a2e.minimax_h3.start` (``POST /api/v1/minimaxH3Video/start``)."""

    mode: Annotated[
        Literal["text-to-video", "image-to-video"] | str | None,
        FieldDoc("What the video is made from."),
    ] = None
    prompt: Annotated[
        str | None, FieldDoc("Describes what happens; required for text-to-video.")
    ] = None
    first_frame_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc("The first frame; required for image-to-video."),
    ] = None
    resolution: Annotated[Literal["768P", "2K"] | None, FieldDoc("Resolution.")] = None
    duration: Annotated[
        int | None,
        Range(4, 15),
        SerializeAsString(),
        FieldDoc("Length of the video in seconds."),
    ] = None
    aspect_ratio: Annotated[
        Literal["16:9", "9:16"] | str | None,
        FieldDoc("Aspect ratio; others are possible."),
    ] = None

    def check(self) -> None:
        """Check that the prompt and the first frame match the mode."""
        check_rules(self, "mode", _RULES)
        check_any_given(self, "prompt", "first_frame_url")


@define(kw_only=True)
class MinimaxH3Record(Record):
    """A MiniMax H3 task. Its output is a video."""

    mode: str | None = None
    """What the video was made from, as given to the start."""
    prompt: str | None = None
    """The prompt given to the start."""
    first_frame_url: str | None = None
    """URL of the first frame."""
    resolution: str | None = None
    """Resolution, such as 768P or 2K."""
    duration: Annotated[float | None, NumericString()] = None
    """Length of the video in seconds."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""


MINIMAX_H3 = TaskKind(
    name="minimax_h3",
    summary="Videos from text or an image (MiniMax H3)",
    start_doc="Make a video from text or from a first frame, with MiniMax H3.",
    input=MinimaxH3Input,
    record=MinimaxH3Record,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "video"),),
)
