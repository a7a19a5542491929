"""Seedance 1.5: a video from text, from an image, or between two images.

Seedance 1.5: generates videos from text, or from one or two images. The service has no detail
operation for this kind, so waits poll its list.

```python
record = await a2e.seedance.run(
    mode="text-to-video", prompt="a fox in tall grass", duration=5, aspect_ratio="16:9"
)
await record.output.save("fox.mp4")
```
"""

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

_RULES: Final = {
    "text-to-video": InputRule(),
    "image-to-video": InputRule(requires=("image_url",), allows=("end_image_url",)),
}


@define(kw_only=True)
class SeedanceInput(TaskInput):
    """Inputs of `a2e.seedance.start` (``POST /api/v1/seedanceVideo/start``)."""

    prompt: Annotated[str, FieldDoc("Describes what happens in the video.")]
    mode: Annotated[
        Literal["text-to-video", "image-to-video"] | None,
        FieldDoc(
            "What the video is made from, text-to-video by default; images need image-to-video."
        ),
    ] = None
    image_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc("The first frame; required for image-to-video."),
    ] = None
    end_image_url: Annotated[
        MediaInput | None, AcceptedMedia("image"), FieldDoc("The last frame, for image-to-video.")
    ] = None
    duration: Annotated[
        Literal[5, 10] | None,
        SerializeAsString(),
        FieldDoc("Length of the video in seconds, 5 by default."),
    ] = None
    aspect_ratio: Annotated[
        Literal["16:9", "9:16", "1:1"] | None, FieldDoc("Aspect ratio, 16:9 by default.")
    ] = None
    resolution: Annotated[
        Literal["480p", "720p"] | None, FieldDoc("Resolution, 720p by default.")
    ] = None
    camera_fixed: Annotated[bool | None, FieldDoc("Keep the camera still; off by default.")] = None
    generate_audio: Annotated[bool | None, FieldDoc("Generate audio; off by default.")] = None

    def check(self) -> None:
        """Check that the images match the mode."""
        check_rules(self, "mode", _RULES, default="text-to-video")


@define(kw_only=True)
class SeedanceRecord(Record):
    """A Seedance 1.5 task. Its output is a video."""

    prompt: str | None = None
    """The prompt given to the start."""
    mode: str | None = None
    """What the result was made from, as given to the start."""
    image_url: str | None = None
    """URL of the input image."""
    end_image_url: str | None = None
    """URL of the last frame."""
    duration: Annotated[float | None, NumericString()] = None
    """Length of the video in seconds."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    resolution: str | None = None
    """Resolution, such as 720p or 2K."""
    camera_fixed: bool | None = None
    """Whether the camera stays still."""
    generate_audio: bool | None = None
    """Whether the video has audio."""


SEEDANCE = TaskKind(
    name="seedance",
    summary="Videos by Seedance 1.5",
    start_doc=("Make a video from text, from an image, or between two images, with Seedance 1.5."),
    input=SeedanceInput,
    record=SeedanceRecord,
    start=Endpoint("POST", "/api/v1/seedanceVideo/start"),
    list=Endpoint("GET", "/api/v1/seedanceVideo/allRecords"),
    outputs=(OutputField("result_url", "video"),),
)
