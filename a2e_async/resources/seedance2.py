"""Seedance 2.0 and 2.5: a video from a text, from frames, or from references of all sorts."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from attrs import define, frozen

from a2e_async.errors import InvalidInput
from a2e_async.inputs import Between, Count, Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.resources.uses import Use, check_among, check_use, given
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

PREFIX: Final = "/api/v1/seedance2Video"

_RULES: Final = {
    "text-to-video": Use(),
    "image-to-video": Use(needs=("image_url",), takes=("last_frame_url",)),
    "first-last-frames": Use(needs=("first_frame_url", "last_frame_url")),
    "reference": Use(
        needs=(("reference_urls", "video_urls", "audio_urls"),),
        takes=("omni_reference_task_type", "input_video_duration"),
    ),
}


@frozen
class _ModelLimits:
    """What one model version takes; lengths in seconds."""

    resolutions: tuple[str, ...]
    max_seconds: int = 15
    max_images: int = 9
    max_videos: int = 3
    max_audios: int = 3
    audio_alone: bool = False

    @property
    def max_files(self) -> dict[str, int]:
        """How many files each list takes."""
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
    """What `a2e.seedance2.start` takes (``POST /api/v1/seedance2Video/start``)."""

    prompt: Annotated[str, Doc("What happens in the video.")]
    mode: Annotated[
        Literal["text-to-video", "image-to-video", "first-last-frames", "reference"] | None,
        Doc("What the video is made from, text-to-video by default; it decides which media fit."),
    ] = None
    model_version: Annotated[
        Literal["standard", "mini", "fast", "2.5"] | str | None,
        Doc("The model: three tiers of 2.0, standard by default, or 2.5, which takes more."),
    ] = None
    omni_reference_task_type: Annotated[
        Literal["reference", "edit", "extend"] | None,
        Doc(
            "What is done with the references, for 2.5. edit and extend need "
            "aspect_ratio='adaptive'; edit needs one video and duration=-1, too."
        ),
    ] = None
    image_url: Annotated[
        MediaInput | None, Media("image"), Doc("The first frame; needed for image-to-video.")
    ] = None
    first_frame_url: Annotated[
        MediaInput | None, Media("image"), Doc("The first frame; needed for first-last-frames.")
    ] = None
    last_frame_url: Annotated[
        MediaInput | None,
        Media("image"),
        Doc("The last frame; needed for first-last-frames, optional for image-to-video."),
    ] = None
    reference_urls: Annotated[
        Sequence[MediaInput] | None,
        Media("image"),
        Count(1, 30),
        Doc("Pictures for reference: at most 9, with 2.5 at most 30."),
    ] = None
    video_urls: Annotated[
        Sequence[MediaInput] | None,
        Media("video"),
        Count(1, 10),
        Doc(
            "MP4 or MOV for reference: at most 3 of 2-15 s each, with 2.5 at most 10 of 30 s "
            "together."
        ),
    ] = None
    audio_urls: Annotated[
        Sequence[MediaInput] | None,
        Media("audio"),
        Count(1, 10),
        Doc(
            "MP3 or WAV for reference: at most 3 of 2-15 s each and 15 s together, never alone; "
            "with 2.5 at most 10, alone if you like."
        ),
    ] = None
    input_video_duration: Annotated[
        float | None,
        Between(2, 45.5),
        Doc(
            "Length of all video_urls together in seconds, as you measured it. The longer of this "
            "and the service's own measurement is paid."
        ),
    ] = None
    duration: Annotated[
        int | None,
        Doc("Seconds, 5 by default; at most 15, with 2.5 at most 30, and -1 for edit."),
    ] = None
    aspect_ratio: Annotated[
        Literal["adaptive", "21:9", "16:9", "4:3", "1:1", "3:4", "9:16"] | None,
        Doc("Shape of the picture, 16:9 by default; adaptive follows the media."),
    ] = None
    resolution: Annotated[
        Literal["480p", "720p", "1080p", "4k"] | None,
        Doc(
            "Size of the picture, 720p by default; fast and mini end at 720p, 2.5 at 1080p, "
            "standard at 4k."
        ),
    ] = None
    generate_audio: Annotated[
        bool | None, Doc("Make sound, which is part of the price; on by default.")
    ] = None

    def check(self) -> None:
        """Check what the mode needs and takes, and the limits of the model version."""
        check_use(self, "mode", _RULES, usual="text-to-video")
        version = self.model_version or "standard"
        limits = _MODEL_LIMITS.get(version)
        if limits is None:
            return
        when = f"with model_version {version}"
        check_among(self, "resolution", limits.resolutions, when)
        for name, most in limits.max_files.items():
            if len(getattr(self, name) or ()) > most:
                raise InvalidInput(f"{name} takes at most {most} files {when}.", field=name)
        if self.duration not in (None, -1, *range(1, limits.max_seconds + 1)):
            raise InvalidInput(
                f"duration must be at most {limits.max_seconds} s {when}.", field="duration"
            )
        seen = given(self, "reference_urls") or given(self, "video_urls")
        if given(self, "audio_urls") and not seen and not limits.audio_alone:
            raise InvalidInput(
                f"audio_urls needs reference_urls or video_urls beside it {when}.",
                field="reference_urls",
            )
        self._check_reference(version)

    def _check_reference(self, version: str) -> None:
        """Check what hangs on the length of the reference videos and on what is done with them."""
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
                "omni_reference_task_type needs model_version='2.5'.", field="model_version"
            )
        if task in ("edit", "extend") and self.aspect_ratio != "adaptive":
            raise InvalidInput(f"{task} needs aspect_ratio='adaptive'.", field="aspect_ratio")
        if task == "edit" and self.duration != -1:
            raise InvalidInput("edit needs duration=-1.", field="duration")
        if task == "edit" and len(self.video_urls or ()) != 1:
            raise InvalidInput("edit needs exactly one of video_urls.", field="video_urls")


@define(kw_only=True)
class Seedance2Record(Record):
    """A Seedance 2.x task. Its output is a video; ``duration`` in seconds."""

    prompt: str | None = None
    mode: str | None = None
    model_version: str | None = None
    omni_reference_task_type: str | None = None
    image_url: str | None = None
    first_frame_url: str | None = None
    last_frame_url: str | None = None
    reference_urls: tuple[str, ...] = ()
    video_urls: tuple[str, ...] = ()
    audio_urls: tuple[str, ...] = ()
    input_video_duration: float | None = None
    duration: int | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    generate_audio: bool | None = None


SEEDANCE2 = TaskKind(
    name="seedance2",
    summary="Videos by Seedance 2.0 and 2.5",
    input=Seedance2Input,
    record=Seedance2Record,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    rename_at=Endpoint("PUT", f"{PREFIX}/{{id}}"),
    results=(Result("result_url", "video"),),
)
