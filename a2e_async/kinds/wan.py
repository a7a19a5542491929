"""Wan 2.5 to 2.7: a video from text, frames, a clip or references.

Generates videos from text, from a first and last frame, from references, or as the continuation
of a clip.

```python
record = await a2e.wan.run(
    image_url="portrait.png", prompt="snow begins to fall", duration=5, resolution="720p"
)
await record.output.save("snow.mp4")
```
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

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

PREFIX: Final = "/api/v1/userWan25"

_WAN_27: Final = "wan2.7-i2v"
_MODELS_BEFORE_27: Final = (None, "wan2.5-i2v-preview", "wan2.6-i2v", "wan2.6-i2v-flash")
"""Models before 2.7, which have no task_type; None is the service's default."""

_RULES: Final = {
    "text_to_video": InputRule(allows=("ratio",)),
    "first_frame": InputRule(requires=("image_url",), allows=("audio_url",)),
    "first_last_frame": InputRule(requires=("image_url", "last_frame_url"), allows=("audio_url",)),
    "reference_image": InputRule(
        requires=(("reference_media", "reference_image_urls"),), allows=("image_url", "ratio")
    ),
    "video_extend": InputRule(requires=("first_clip_url",), allows=("last_frame_url", "image_url")),
    "video_edit": InputRule(
        requires=("edit_video_url",), allows=("reference_image_urls", "image_url")
    ),
}
_WAN27_DURATIONS: Final[Mapping[str, Sequence[int]]] = {
    **dict.fromkeys(
        ("text_to_video", "first_frame", "first_last_frame", "video_extend"), (5, 10, 15)
    ),
    "video_edit": range(5, 11),
}
"""Lengths in seconds that Wan 2.7 supports, by task_type."""

_MAX_DURATION_WITH_VIDEO: Final = 10
"""Maximum length in seconds with a reference video."""


@define(kw_only=True)
class WanInput(TaskInput):
    """Inputs of `a2e.wan.start` (``POST /api/v1/userWan25/start``)."""

    prompt: Annotated[str, FieldDoc("Describes what happens in the video.")]
    image_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc(
            "The first frame; required for task_type first_frame (the default) or first_last_frame."
        ),
    ] = None
    negative_prompt: Annotated[str | None, FieldDoc("What the result must not show.")] = None
    duration: Annotated[
        int | None,
        Range(2, 15),
        SerializeAsString(),
        FieldDoc(
            "Length of the video in seconds, 5 by default. Wan 2.5 supports 5 and 10; "
            "Wan 2.7 supports 5, 10 and 15, for video_edit 5-10, for reference_image "
            "2-15 (2-10 with a reference video)."
        ),
    ] = None
    resolution: Annotated[
        Literal["480p", "720p", "1080p"] | None, FieldDoc("Resolution, 720p by default.")
    ] = None
    ratio: Annotated[
        Literal["16:9", "9:16", "1:1", "4:3", "3:4"] | None,
        FieldDoc("Aspect ratio, 16:9 by default; for text_to_video and reference_image only."),
    ] = None
    enable_prompt_expansion: Annotated[
        bool | None, FieldDoc("Let a language model rewrite the prompt; off by default.")
    ] = None
    multi_shots: Annotated[
        bool | None,
        FieldDoc("Make several shots in one video; requires enable_prompt_expansion=True."),
    ] = None
    model: Annotated[
        Literal["wan2.5-i2v-preview", "wan2.6-i2v", "wan2.6-i2v-flash", "wan2.7-i2v"] | str | None,
        FieldDoc(
            "The model, wan2.5-i2v-preview by default. wan2.6-i2v and wan2.7-i2v need "
            "a higher plan; wan2.6-i2v-flash does not."
        ),
    ] = None
    task_type: Annotated[
        Literal[
            "text_to_video",
            "first_frame",
            "first_last_frame",
            "reference_image",
            "video_extend",
            "video_edit",
        ]
        | None,
        FieldDoc(
            "What the video is made from, first_frame by default; all others need wan2.7-i2v."
        ),
    ] = None
    last_frame_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc("The last frame; required for first_last_frame, optional for video_extend."),
    ] = None
    first_clip_url: Annotated[
        MediaInput | None, AcceptedMedia("video"), FieldDoc("The clip that video_extend continues.")
    ] = None
    edit_video_url: Annotated[
        MediaInput | None, AcceptedMedia("video"), FieldDoc("The video that video_edit changes.")
    ] = None
    reference_image_urls: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("image"),
        ItemCount(1, 5),
        FieldDoc(
            "Reference images of the people or objects to show: up to 5 for "
            "reference_image, up to 3 for video_edit."
        ),
    ] = None
    reference_media: Annotated[
        Sequence[Mapping[str, Any]] | None,
        ItemCount(1, 5),
        FieldDoc(
            "Images and videos for reference_image, in order, in the form the service "
            "expects (its reference does not name the fields). Seconds of reference "
            "videos are charged, too."
        ),
    ] = None
    seed: Annotated[
        int | None,
        Range(0, 2147483647),
        FieldDoc("Random seed; the same seed gives similar videos."),
    ] = None
    audio: Annotated[bool | None, FieldDoc("Generate audio; on by default.")] = None
    audio_url: Annotated[
        MediaInput | None,
        AcceptedMedia("audio"),
        FieldDoc(
            "Audio for first_frame and first_last_frame: WAV or MP3, 3-30 s, at most "
            "15 MB; cut to the length of the video."
        ),
    ] = None

    def check(self) -> None:
        """Check the rules of task_type and the limits of the model."""
        if self.multi_shots and not self.enable_prompt_expansion:
            raise InvalidInput(
                "multi_shots requires enable_prompt_expansion=True.",
                field="enable_prompt_expansion",
            )
        if self.model in _MODELS_BEFORE_27:
            if self.task_type not in (None, "first_frame"):
                raise InvalidInput(
                    f"task_type={self.task_type!r:.60} requires model={_WAN_27!r}.", field="model"
                )
            check_rules(self, "task_type", _RULES, default="first_frame")
            if self.model in (None, "wan2.5-i2v-preview"):
                check_one_of(self, "duration", (5, 10), "with Wan 2.5")
        elif self.model == _WAN_27:
            check_rules(self, "task_type", _RULES, default="first_frame")
            task = self.task_type or "first_frame"
            if task in _WAN27_DURATIONS:
                check_one_of(self, "duration", _WAN27_DURATIONS[task], f"with Wan 2.7 and {task}")
            if task == "video_edit" and len(self.reference_image_urls or ()) > 3:
                raise InvalidInput(
                    "video_edit takes at most 3 reference_image_urls.", field="reference_image_urls"
                )
            if (self.duration or 0) > _MAX_DURATION_WITH_VIDEO and any(
                map(_is_video, self.reference_media or ())
            ):
                raise InvalidInput(
                    f"duration must be at most {_MAX_DURATION_WITH_VIDEO} s with a reference "
                    "video.",
                    field="duration",
                )


def _is_video(item: Mapping[str, Any]) -> bool:
    """Whether any value says so: the names of the fields are not documented."""
    return any(value == "video" for value in item.values())


@define(kw_only=True)
class WanRecord(Record):
    """A Wan 2.5-2.7 task. Its output is a video."""

    prompt: str | None = None
    """The prompt given to the start."""
    negative_prompt: str | None = None
    """The negative prompt given to the start."""
    model: str | None = None
    """The model that was used."""
    task_type: str | None = None
    """What the video was made from, as given to the start."""
    duration: Annotated[float | None, NumericString()] = None
    """Length of the video in seconds."""
    resolution: str | None = None
    """Resolution, such as 720p or 2K."""
    ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    image_url: str | None = None
    """URL of the input image."""
    last_frame_url: str | None = None
    """URL of the last frame."""
    first_clip_url: str | None = None
    """URL of the clip that was continued."""
    edit_video_url: str | None = None
    """URL of the video that was edited."""
    reference_image_urls: tuple[str, ...] = ()
    """URLs of the reference images, in order."""
    audio_url: str | None = None
    """URL of the input audio."""
    seed: int | None = None
    """The random seed."""


WAN = TaskKind(
    name="wan",
    summary="Videos by Wan 2.5 to 2.7",
    start_doc=(
        "Make a video from text, from frames, from a clip to extend or edit, or from "
        "references, with a Wan 2.5 to 2.7 model."
    ),
    input=WanInput,
    record=WanRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "video"),),
)
