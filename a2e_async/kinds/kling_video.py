"""Kling 2.6 and 3.0: a video from text or an image, or an image animated by a video.

Generates videos from text or an image; `motion-control` applies the motion of a video to an
image.

```python
record = await a2e.kling_video.run(
    mode="motion-control",
    image_url="portrait.png",
    video_url="clip.mp4",
    prompt="the person nods",
    version="3.0",
)
await record.output.save("nod.mp4")
```
"""

from collections.abc import Iterator
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
from a2e_async.errors import InvalidInput
from a2e_async.kinds.input_rules import InputRule, check_one_of, check_rules
from a2e_async.models import NumericString, Record

PREFIX: Final = "/api/v1/klingVideo"

_RULES: Final = {
    "text-to-video": InputRule(allows=("aspect_ratio",)),
    "image-to-video": InputRule(requires=("image_url",), allows=("end_image_url",)),
    "motion-control": InputRule(
        requires=("image_url", "video_url"), allows=("character_orientation",)
    ),
}


@define(kw_only=True)
class KlingVideoInput(TaskInput):
    """Inputs of `a2e.kling_video.start` (``POST /api/v1/klingVideo/start``)."""

    mode: Annotated[
        Literal["text-to-video", "image-to-video", "motion-control"],
        FieldDoc(
            "What the video is made from; motion-control animates image_url with the "
            "motion of video_url."
        ),
    ]
    prompt: Annotated[str, FieldDoc("Describes what happens in the video.")]
    version: Annotated[
        Literal["2.6", "3.0"] | str | None, FieldDoc("The version of Kling, 2.6 by default.")
    ] = None
    model_version: Annotated[
        Literal["standard", "fast"] | str | None,
        FieldDoc(
            "The variant of version 3.0, standard by default; fast does not support motion-control."
        ),
    ] = None
    resolution: Annotated[
        Literal["720p", "1080p"] | None,
        FieldDoc("Resolution for model_version fast, 720p by default."),
    ] = None
    quality_mode: Annotated[
        Literal["std", "pro", "4k"] | None,
        FieldDoc(
            "Quality and price, std by default; 4k needs version 3.0 and does not "
            "support motion-control."
        ),
    ] = None
    duration: Annotated[
        int | None,
        Range(3, 15),
        SerializeAsString(),
        FieldDoc(
            "Length of the video in seconds, 5 by default: 5 or 10 with version 2.6, 3-15 with 3.0."
        ),
    ] = None
    image_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc("The image; required for image-to-video and motion-control."),
    ] = None
    video_url: Annotated[
        MediaInput | None,
        AcceptedMedia("video"),
        FieldDoc("The video whose motion is used; required for motion-control."),
    ] = None
    aspect_ratio: Annotated[
        Literal["16:9", "9:16", "1:1"] | None,
        FieldDoc("Aspect ratio, 16:9 by default; for text-to-video only."),
    ] = None
    sound: Annotated[
        bool | None,
        FieldDoc("Generate audio; off by default; version 2.6 supports it with pro only."),
    ] = None
    end_image_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc(
            "The last frame, for image-to-video with pro; version 2.6 does not "
            "support it with sound."
        ),
    ] = None
    character_orientation: Annotated[
        Literal["video", "image"] | None,
        FieldDoc(
            "Orientation of the figure for motion-control: as in the video (default, "
            "3-30 s) or as in the image (3-10 s)."
        ),
    ] = None
    negative_prompt: Annotated[str | None, FieldDoc("What the result must not show.")] = None
    seed: Annotated[int | None, FieldDoc("Random seed; the same seed gives similar videos.")] = None

    def check(self) -> None:
        """Check that mode, version and quality support the inputs."""
        check_rules(self, "mode", _RULES)
        old = self.version in (None, "2.6")
        for is_conflict, name, message in self._conflicts(
            old, motion_control=self.mode == "motion-control"
        ):
            if is_conflict:
                raise InvalidInput(message, field=name)
        if old and self.mode != "motion-control":
            check_one_of(self, "duration", (5, 10), "with version 2.6")

    def _conflicts(self, old: bool, *, motion_control: bool) -> Iterator[tuple[bool, str, str]]:
        """Yield possible conflicts: whether it occurs, the input to change, and the message."""
        if self.model_version == "fast":
            yield old, "version", "model_version 'fast' requires version='3.0'."
            yield motion_control, "mode", "model_version 'fast' does not support motion-control."
            yield (
                self.quality_mode == "4k",
                "quality_mode",
                "model_version 'fast' does not support 4k.",
            )
        elif self.model_version in (None, "standard"):
            sized = self.resolution is not None
            yield sized, "model_version", "resolution requires model_version='fast'."
        if self.quality_mode == "4k":
            yield old, "version", "quality_mode '4k' requires version='3.0'."
            yield motion_control, "mode", "quality_mode '4k' does not support motion-control."
        not_pro = self.quality_mode != "pro"
        if self.end_image_url is not None:
            yield not_pro, "quality_mode", "end_image_url requires quality_mode='pro'."
            both = old and bool(self.sound)
            yield both, "sound", "version 2.6 does not support sound with end_image_url."
        if self.sound:
            yield (
                old and not_pro,
                "quality_mode",
                "sound requires quality_mode='pro' or version 3.0.",
            )


@define(kw_only=True)
class KlingVideoRecord(Record):
    """A Kling task. Its output is a video."""

    mode: str | None = None
    """What the result was made from, as given to the start."""
    prompt: str | None = None
    """The prompt given to the start."""
    version: str | None = None
    """The version of the model."""
    model_version: str | None = None
    """The variant of version 3.0: standard or fast."""
    resolution: str | None = None
    """Resolution, such as 720p or 2K."""
    quality_mode: str | None = None
    """Quality: std, pro or 4k."""
    duration: Annotated[float | None, NumericString()] = None
    """Length of the video in seconds."""
    image_url: str | None = None
    """URL of the input image."""
    video_url: str | None = None
    """URL of the input video."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    sound: bool | None = None
    """Whether the video has audio."""
    end_image_url: str | None = None
    """URL of the last frame."""
    character_orientation: str | None = None
    """Orientation of the figure for motion-control: video or image."""
    negative_prompt: str | None = None
    """The negative prompt given to the start."""
    seed: int | None = None
    """The random seed."""


KLING_VIDEO = TaskKind(
    name="kling_video",
    summary="Videos by Kling 2.6 and 3.0",
    start_doc=(
        "Make a video from text or an image, or animate an image with the motion of a "
        "video, with Kling 2.6 or 3.0."
    ),
    input=KlingVideoInput,
    record=KlingVideoRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    rename=Endpoint("PUT", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "video"),),
)
