"""HappyHorse: a video from text, an image or references, or another video edited.

Generates videos from text, an image or references, or edits a video; `mode` selects which.

```python
record = await a2e.happyhorse.run(
    mode="t2v", prompt="waves against a pier", duration=5, resolution="720P", watermark=False
)
await record.output.save("waves.mp4")
```
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from attrs import define

from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    ItemCount,
    MediaInput,
    Range,
    SerializeAsString,
    TaskInput,
)
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.errors import InvalidInput
from a2e_async.kinds.input_rules import InputRule, check_one_of, check_rules
from a2e_async.models import NumericString, Record

PREFIX: Final = "/api/v1/userHappyhorseVideo"

_RULES: Final = {
    "t2v": InputRule(requires=("prompt",), allows=("ratio",)),
    "i2v": InputRule(requires=("image_url",), allows=("prompt",)),
    "r2v": InputRule(requires=("prompt", "reference_image_urls"), allows=("ratio",)),
    "video-edit": InputRule(
        requires=("prompt", "edit_video_url"),
        allows=("reference_image_urls", "input_video_seconds", "audio_setting"),
    ),
}


@define(kw_only=True)
class HappyhorseInput(TaskInput):
    """Inputs of `a2e.happyhorse.start` (``POST /api/v1/userHappyhorseVideo/start``)."""

    mode: Annotated[
        Literal["t2v", "i2v", "r2v", "video-edit"],
        FieldDoc(
            "What the video is made from: text (t2v), an image (i2v), references "
            "(r2v) or another video (video-edit)."
        ),
    ]
    model_version: Annotated[
        Literal["1.0", "1.1"] | str | None,
        FieldDoc("The model, 1.0 by default; video-edit always uses 1.0."),
    ] = None
    prompt: Annotated[
        str | None, FieldDoc("Describes what happens; required for all modes but i2v.")
    ] = None
    image_url: Annotated[
        MediaInput | None, AcceptedMedia("image"), FieldDoc("The first frame; required for i2v.")
    ] = None
    reference_image_urls: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("image"),
        ItemCount(1, 9),
        FieldDoc(
            "Reference images of the people or objects to show: 1-9 for r2v, "
            "at most 5 for video-edit."
        ),
    ] = None
    edit_video_url: Annotated[
        MediaInput | None,
        AcceptedMedia("video"),
        FieldDoc("The video to change; required for video-edit."),
    ] = None
    input_video_seconds: Annotated[
        float | None,
        FieldDoc("Your measured length of edit_video_url in seconds, for the price estimate."),
    ] = None
    duration: Annotated[
        int | None,
        Range(3, 15),
        SerializeAsString(),
        FieldDoc(
            "Length of the video in seconds, 5 by default: 5, 10 or 15 with "
            "model_version 1.0, 3-15 with 1.1; video-edit uses the length of its "
            "input."
        ),
    ] = None
    resolution: Annotated[
        Literal["480P", "720P", "1080P"] | None,
        FieldDoc("Resolution, 720P by default; 480P needs model_version 1.1."),
    ] = None
    ratio: Annotated[
        Literal["16:9", "9:16", "1:1", "4:3", "3:4", "4:5", "5:4", "9:21", "21:9"] | None,
        FieldDoc(
            "Aspect ratio, 16:9 by default; for t2v and r2v. 4:5, 5:4, 9:21 and 21:9 need "
            "model_version 1.1."
        ),
    ] = None
    audio_setting: Annotated[
        Literal["auto", "origin"] | None,
        FieldDoc("Audio of video-edit, auto by default; origin keeps the audio of the input."),
    ] = None
    seed: Annotated[
        int | None,
        Range(0, 2147483647),
        FieldDoc("Random seed; the same seed gives similar videos."),
    ] = None
    watermark: Annotated[
        bool | None, FieldDoc("Whether the model provider adds its watermark.")
    ] = None

    def check(self) -> None:
        """Check the rules of the mode and the limits of version 1.0."""
        check_rules(self, "mode", _RULES)
        edits = self.mode == "video-edit"
        if edits:
            check_one_of(self, "resolution", ("720P", "1080P"), "with video-edit")
            if len(self.reference_image_urls or ()) > 5:
                raise InvalidInput(
                    "video-edit takes at most 5 reference_image_urls.", field="reference_image_urls"
                )
        elif self.model_version in (None, "1.0"):
            when = "with model_version 1.0"
            check_one_of(self, "duration", (5, 10, 15), when)
            check_one_of(self, "resolution", ("720P", "1080P"), when)
            check_one_of(self, "ratio", ("16:9", "9:16", "1:1", "4:3", "3:4"), when)


@define(kw_only=True)
class HappyhorseRecord(Record):
    """A HappyHorse task. Its output is a video."""

    mode: str | None = None
    """What the result was made from, as given to the start."""
    model_version: str | None = None
    """The version of the model."""
    prompt: str | None = None
    """The prompt given to the start."""
    image_url: str | None = None
    """URL of the input image."""
    reference_image_urls: tuple[str, ...] = ()
    """URLs of the reference images, in order."""
    edit_video_url: str | None = None
    """URL of the video that was edited."""
    input_video_seconds: float | None = None
    """Length of the edited video in seconds, as given to the start."""
    duration: Annotated[float | None, NumericString()] = None
    """Length of the video in seconds."""
    resolution: str | None = None
    """Resolution, such as 720p or 2K."""
    ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    audio_setting: str | None = None
    """Audio of an edited video: auto or origin."""
    seed: int | None = None
    """The random seed."""
    watermark: bool | None = None
    """Whether the video has a watermark."""


HAPPYHORSE = TaskKind(
    name="happyhorse",
    summary="Videos made or edited by HappyHorse",
    start_doc=("Make a video from text, an image or references, or edit a video, with HappyHorse."),
    input=HappyhorseInput,
    record=HappyhorseRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "video"),),
)
