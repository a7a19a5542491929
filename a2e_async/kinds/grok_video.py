"""Grok Imagine: a video from text or from images.

Generates videos from text or images.

```python
record = await a2e.grok_video.run(
    model_type="text-to-video", prompt="an origami boat on a pond", duration=6
)
await record.output.save("boat.mp4")
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
from a2e_async.errors import InvalidInput
from a2e_async.kinds.input_rules import InputRule, check_one_of, check_rules
from a2e_async.models import NumericString, Record

PREFIX: Final = "/api/v1/grokVideo"

_RULES: Final = {
    "text-to-video": InputRule(requires=("prompt",)),
    "image-to-video": InputRule(requires=(("image_urls", "image_url"),), allows=("prompt",)),
}
_TEXT_RATIOS: Final = ("1:1", "16:9", "9:16")
_RATIOS: Final = {
    "text-to-video": _TEXT_RATIOS,
    "image-to-video": (*_TEXT_RATIOS, "4:3", "3:4", "3:2", "2:3"),
}
"""Aspect ratios of the legacy model; 1.5 supports all."""


@define(kw_only=True)
class GrokVideoInput(TaskInput):
    """Inputs of `a2e.grok_video.start` (``POST /api/v1/grokVideo/start``)."""

    model_type: Annotated[
        Literal["text-to-video", "image-to-video"] | None,
        FieldDoc("What the video is made from, text-to-video by default."),
    ] = None
    model_version: Annotated[
        Literal["legacy", "1.5"] | str | None,
        FieldDoc("The model, legacy by default; 1.5 supports image-to-video only."),
    ] = None
    prompt: Annotated[
        str | None,
        FieldDoc(
            "Describes what happens; required for text-to-video, optional for image-to-video."
        ),
    ] = None
    mode: Annotated[
        Literal["fun", "normal", "spicy"] | None,
        FieldDoc("The style, normal by default; the service may change it for image-to-video."),
    ] = None
    image_urls: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("image"),
        FieldDoc("The images; image-to-video needs at least one here or in image_url."),
    ] = None
    image_url: Annotated[
        MediaInput | None, AcceptedMedia("image"), FieldDoc("An image placed before image_urls.")
    ] = None
    aspect_ratio: Annotated[
        Literal["auto", "1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"] | None,
        FieldDoc(
            "Aspect ratio, 16:9 by default; auto needs model_version 1.5; 4:3, 3:4, "
            "3:2 and 2:3 need images."
        ),
    ] = None
    duration: Annotated[
        Literal[6, 10, 15] | None,
        SerializeAsString(),
        FieldDoc("Length of the video in seconds, 6 by default."),
    ] = None
    nsfw_checker: Annotated[
        bool | None,
        FieldDoc("An additional check for adult content, for model_version 1.5; off by default."),
    ] = None

    def check(self) -> None:
        """Check that the inputs are supported by the model."""
        kind = self.model_type or "text-to-video"
        if self.model_version == "1.5" and kind != "image-to-video":
            raise InvalidInput(
                "model_version 1.5 needs model_type='image-to-video'.", field="model_type"
            )
        check_rules(self, "model_type", _RULES, default="text-to-video")
        if self.model_version in (None, "legacy"):
            check_one_of(self, "aspect_ratio", _RATIOS[kind], f"with the legacy model and {kind}")
            if self.nsfw_checker:
                raise InvalidInput("nsfw_checker needs model_version='1.5'.", field="model_version")


@define(kw_only=True)
class GrokVideoRecord(Record):
    """A Grok Imagine task. Its output is a video."""

    model_type: str | None = None
    """What the video was made from: text-to-video or image-to-video."""
    model_version: str | None = None
    """The version of the model."""
    prompt: str | None = None
    """The prompt given to the start."""
    mode: str | None = None
    """The style: fun, normal or spicy."""
    image_urls: tuple[str, ...] = ()
    """URLs of the input images, in order."""
    image_url: str | None = None
    """URL of the input image."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    duration: Annotated[float | None, NumericString()] = None
    """Length of the video in seconds."""
    nsfw_checker: bool | None = None
    """Whether the additional check for adult content was on."""


GROK_VIDEO = TaskKind(
    name="grok_video",
    summary="Videos by Grok Imagine",
    start_doc="Make a video from text or from images, with Grok Imagine.",
    input=GrokVideoInput,
    record=GrokVideoRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "video"),),
)
