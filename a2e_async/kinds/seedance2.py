"""Seedance 2.0 and 2.5: a video from text, from frames, or from references.

Seedance 2: generates videos from text, from a first and last frame, or from references (images,
videos, audio).

```python
record = await a2e.seedance2.run(
    mode="image-to-video",
    image_url="portrait.png",
    prompt="the camera circles slowly",
    duration=5,
)
await record.output.save("circle.mp4")
```
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from attrs import define, frozen

from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    ItemCount,
    MediaInput,
    Range,
    TaskInput,
)
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.errors import InvalidInput
from a2e_async.kinds.input_rules import InputRule, check_one_of, check_rules, is_given
from a2e_async.models import Record

PREFIX: Final = "/api/v1/seedance2Video"

_RULES: Final = {
    "text-to-video": InputRule(),
    "image-to-video": InputRule(requires=("image_url",), allows=("last_frame_url",)),
    "first-last-frames": InputRule(requires=("first_frame_url", "last_frame_url")),
    "reference": InputRule(
        requires=(("reference_urls", "video_urls", "audio_urls"),),
        allows=("omni_reference_task_type", "input_video_duration"),
    ),
}


@frozen
class _ModelLimits:
    """The limits of one model version; lengths in seconds."""

    resolutions: tuple[str, ...]
    max_seconds: int = 15
    max_images: int = 9
    max_videos: int = 3
    max_audios: int = 3
    audio_alone: bool = False

    @property
    def max_files(self) -> dict[str, int]:
        """Maximum number of files, by input."""
        return {
            "reference_urls": self.max_images,
            "video_urls": self.max_videos,
            "audio_urls": self.max_audios,
        }


_MODEL_LIMITS: Final = {
    "standard": _ModelLimits(("480p", "720p", "1080p", "4k")),
    "fast": _ModelLimits(("480p", "720p")),
    "mini": _ModelLimits(("480p", "720p")),
    "2.5": _ModelLimits(("480p", "720p", "1080p"), 30, 30, 10, 10, audio_alone=True),
}


@define(kw_only=True)
class Seedance2Input(TaskInput):
    """Inputs of `a2e.seedance2.start` (``POST /api/v1/seedance2Video/start``)."""

    prompt: Annotated[str, FieldDoc("Describes what happens in the video.")]
    mode: Annotated[
        Literal["text-to-video", "image-to-video", "first-last-frames", "reference"] | None,
        FieldDoc(
            "What the video is made from, text-to-video by default; it decides which "
            "media inputs are allowed."
        ),
    ] = None
    model_version: Annotated[
        Literal["standard", "mini", "fast", "2.5"] | str | None,
        FieldDoc(
            "The model: one of three tiers of 2.0 (standard by default), or 2.5, "
            "which has higher limits."
        ),
    ] = None
    omni_reference_task_type: Annotated[
        Literal["reference", "edit", "extend"] | None,
        FieldDoc(
            "How the references are used, for model_version 2.5. edit and extend need "
            "aspect_ratio='adaptive'; edit also needs exactly one video and "
            "duration=-1."
        ),
    ] = None
    image_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc("The first frame; required for image-to-video."),
    ] = None
    first_frame_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc("The first frame; required for first-last-frames."),
    ] = None
    last_frame_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc("The last frame; required for first-last-frames, optional for image-to-video."),
    ] = None
    reference_urls: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("image"),
        ItemCount(1, 30),
        FieldDoc("Reference images: at most 9; with 2.5 at most 30."),
    ] = None
    video_urls: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("video"),
        ItemCount(1, 10),
        FieldDoc(
            "Reference videos (MP4 or MOV): at most 3 of 2-15 s each; with 2.5 at "
            "most 10, 30 s in total."
        ),
    ] = None
    audio_urls: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("audio"),
        ItemCount(1, 10),
        FieldDoc(
            "Reference audio (MP3 or WAV): at most 3 of 2-15 s each and 15 s in "
            "total, only together with reference_urls or video_urls; with 2.5 at most "
            "10, also alone."
        ),
    ] = None
    input_video_duration: Annotated[
        float | None,
        Range(2, 45.5),
        FieldDoc(
            "Your measured total length of video_urls in seconds. The service charges "
            "for the longer of this and its own measurement."
        ),
    ] = None
    duration: Annotated[
        int | None,
        FieldDoc(
            "Length of the video in seconds, 5 by default; at most 15, with 2.5 at "
            "most 30; -1 for edit."
        ),
    ] = None
    aspect_ratio: Annotated[
        Literal["adaptive", "21:9", "16:9", "4:3", "1:1", "3:4", "9:16"] | None,
        FieldDoc("Aspect ratio, 16:9 by default; adaptive uses the aspect ratio of the media."),
    ] = None
    resolution: Annotated[
        Literal["480p", "720p", "1080p", "4k"] | None,
        FieldDoc(
            "Resolution, 720p by default; at most 720p with fast and mini, 1080p with "
            "2.5, 4k with standard."
        ),
    ] = None
    generate_audio: Annotated[
        bool | None, FieldDoc("Generate audio, which is part of the price; on by default.")
    ] = None

    def check(self) -> None:
        """Check the rules of the mode and the limits of the model version."""
        check_rules(self, "mode", _RULES, default="text-to-video")
        version = self.model_version or "standard"
        limits = _MODEL_LIMITS.get(version)
        if limits is None:
            return
        when = f"with model_version {version}"
        check_one_of(self, "resolution", limits.resolutions, when)
        for name, most in limits.max_files.items():
            if len(getattr(self, name) or ()) > most:
                raise InvalidInput(f"{name} takes at most {most} files {when}.", field=name)
        if self.duration not in (None, -1, *range(1, limits.max_seconds + 1)):
            raise InvalidInput(
                f"duration must be at most {limits.max_seconds} s {when}.", field="duration"
            )
        seen = is_given(self, "reference_urls") or is_given(self, "video_urls")
        if is_given(self, "audio_urls") and not seen and not limits.audio_alone:
            raise InvalidInput(
                f"audio_urls requires reference_urls or video_urls {when}.",
                field="reference_urls",
            )
        self._check_reference(version)

    def _check_reference(self, version: str) -> None:
        """Check the length and the use of the reference videos."""
        length = self.input_video_duration
        most = 30 if version == "2.5" else 15 * len(self.video_urls or ())
        if length is not None and length > most:
            raise InvalidInput(
                f"input_video_duration must be at most {most} s for these video_urls.",
                field="input_video_duration",
            )
        task = self.omni_reference_task_type
        if task is None:
            return
        if version != "2.5":
            raise InvalidInput(
                "omni_reference_task_type requires model_version='2.5'.", field="model_version"
            )
        if task in ("edit", "extend") and self.aspect_ratio != "adaptive":
            raise InvalidInput(f"{task} requires aspect_ratio='adaptive'.", field="aspect_ratio")
        if task == "edit" and self.duration != -1:
            raise InvalidInput("edit requires duration=-1.", field="duration")
        if task == "edit" and len(self.video_urls or ()) != 1:
            raise InvalidInput("edit requires exactly one of video_urls.", field="video_urls")


@define(kw_only=True)
class Seedance2Record(Record):
    """A Seedance 2.x task. Its output is a video."""

    prompt: str | None = None
    """The prompt given to the start."""
    mode: str | None = None
    """What the result was made from, as given to the start."""
    model_version: str | None = None
    """The version of the model."""
    omni_reference_task_type: str | None = None
    """How the references were used."""
    image_url: str | None = None
    """URL of the input image."""
    first_frame_url: str | None = None
    """URL of the first frame."""
    last_frame_url: str | None = None
    """URL of the last frame."""
    reference_urls: tuple[str, ...] = ()
    """URLs of the reference images, in order."""
    video_urls: tuple[str, ...] = ()
    """URLs of the reference videos, in order."""
    audio_urls: tuple[str, ...] = ()
    """URLs of the reference audio files, in order."""
    input_video_duration: float | None = None
    """Total length of the reference videos in seconds, as given to the start."""
    duration: int | None = None
    """Length of the video in seconds."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    resolution: str | None = None
    """Resolution, such as 720p or 2K."""
    generate_audio: bool | None = None
    """Whether the video has audio."""


SEEDANCE2 = TaskKind(
    name="seedance2",
    summary="Videos by Seedance 2.0 and 2.5",
    start_doc=(
        "Make a video from text, from frames, or from reference images, videos and "
        "audio, with Seedance 2.0 or 2.5."
    ),
    input=Seedance2Input,
    record=Seedance2Record,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    rename=Endpoint("PUT", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "video"),),
)
