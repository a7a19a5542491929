"""Avatar video: an avatar speaks given audio.

An avatar speaks the content of an audio file. [avatars](avatars.md) lists the avatars,
[speech](speech.md) creates audio from text. The service lists these videos only with an older
operation: `a2e.legacy.avatar_videos()`.

```python
avatar = (await a2e.avatars.list())[0]
record = await a2e.avatar_video.run(
    anchor_id=avatar.id, anchor_type=avatar.anchor_type or 0, audio_src="speech.wav"
)
await record.output.save("hello.mp4")
```
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from attrs import define

from a2e_async._core.namespace_helpers import check_id_input
from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, TaskInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, StatusVocabulary, TaskKind
from a2e_async.errors import InvalidInput
from a2e_async.kinds.input_rules import check_min
from a2e_async.models import Record, WireName

PREFIX: Final = "/api/v1/video"

_CANVAS: Final = ("web_bg_width", "web_bg_height", "web_people_width", "web_people_height")
_BACKGROUND_CROP: Final = ("web_dist_bg_width", "web_dist_bg_height")
_IDS: Final = ("anchor_id", "back_id", "custom_back_id", "face_swap_id")


@define(kw_only=True)
class AvatarVideoInput(TaskInput):
    """Inputs of `a2e.avatar_video.start` (``POST /api/v1/video/generate``).

    ``name`` is sent as ``title`` and has at most 40 characters.
    """

    common_wire_names: ClassVar[Mapping[str, str]] = {"name": "name", "title": "name"}

    anchor_id: Annotated[
        str,
        FieldDoc(
            "The avatar that speaks: an id from a2e.avatars.list(), or the anchor_id "
            "of a video twin."
        ),
    ]
    anchor_type: Annotated[
        Literal[0, 1], FieldDoc("0 for an avatar of the service, 1 for an avatar of the account.")
    ]
    audio_src: Annotated[
        MediaInput | None,
        AcceptedMedia("audio"),
        WireName("audioSrc"),
        FieldDoc("The speech, such as the Output of a2e.speech.say(). Give this or custom_voice."),
    ] = None
    custom_voice: Annotated[
        MediaInput | None,
        AcceptedMedia("audio"),
        FieldDoc("The speech as your own recording. Give this or audio_src."),
    ] = None
    anchor_background_img: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc(
            "Image of the avatar's own background; required to replace the background "
            "if the avatar has none saved."
        ),
    ] = None
    anchor_background_color: Annotated[
        str | None,
        FieldDoc(
            "The avatar's own background as an RGBA colour, instead of anchor_background_img."
        ),
    ] = None
    back_id: Annotated[
        str | None, FieldDoc("Id of a background of the service (a2e.backgrounds.all()).")
    ] = None
    custom_back_id: Annotated[
        str | None,
        FieldDoc("Id of a background of the account (a2e.backgrounds.add()); excludes back_id."),
    ] = None
    face_swap_id: Annotated[str | None, FieldDoc("Id of a face swap template.")] = None
    color: Annotated[str | None, FieldDoc("A plain background as an RGBA colour.")] = None
    web_bg_width: Annotated[
        int | None, FieldDoc("Width of the video in pixels; required with a new background.")
    ] = None
    web_bg_height: Annotated[
        int | None, FieldDoc("Height of the video in pixels; required with a new background.")
    ] = None
    web_people_width: Annotated[
        int | None,
        FieldDoc("Width of the avatar in the video in pixels; required with a new background."),
    ] = None
    web_people_height: Annotated[
        int | None,
        FieldDoc("Height of the avatar in the video in pixels; required with a new background."),
    ] = None
    web_people_x: Annotated[
        int | None, FieldDoc("Distance of the avatar from the left edge in pixels.")
    ] = None
    web_people_y: Annotated[
        int | None, FieldDoc("Distance of the avatar from the top edge in pixels.")
    ] = None
    web_dist_bg_width: Annotated[
        int | None,
        FieldDoc("Width of the used part of the background in pixels; -1 for the full width."),
    ] = None
    web_dist_bg_height: Annotated[
        int | None,
        FieldDoc("Height of the used part of the background in pixels; -1 for the full height."),
    ] = None
    web_dist_bg_x: Annotated[
        int | None, FieldDoc("Left edge of the used part of the background in pixels.")
    ] = None
    web_dist_bg_y: Annotated[
        int | None, FieldDoc("Top edge of the used part of the background in pixels.")
    ] = None
    resolution: Annotated[
        int | None, FieldDoc("Height of the video in pixels; 1080 by default.")
    ] = None
    msg: Annotated[str | None, FieldDoc("The spoken words as text.")] = None
    erode_factor: Annotated[
        float | None, FieldDoc("How much of the avatar's edge is removed when it is cut out.")
    ] = None
    is_skip_rs: Annotated[
        bool | None, WireName("isSkipRs"), FieldDoc("Skip the scaling of the resolution.")
    ] = None
    is_skip_gp: Annotated[
        bool | None, WireName("isSkipGp"), FieldDoc("Skip the green screen processing.")
    ] = None
    gp_model: Annotated[
        Mapping[str, Any] | None,
        FieldDoc("Green screen settings; the service does not document their names."),
    ] = None
    is_caption_enabled: Annotated[
        bool | None, WireName("isCaptionEnabled"), FieldDoc("Put captions into the video.")
    ] = None
    caption_align: Annotated[
        Mapping[str, Any] | None,
        WireName("captionAlign"),
        FieldDoc("Position and style of captions; the service does not document the names."),
    ] = None
    is_to_public_pool: Annotated[
        bool | None, WireName("isToPublicPool"), FieldDoc("Share the video in the public pool.")
    ] = None
    lip_model: Annotated[str | None, FieldDoc("The lip-sync model.")] = None
    wl_model: Annotated[str | None, FieldDoc("The watermark model.")] = None

    def check(self) -> None:
        """Check the inputs that depend on each other."""
        if (self.audio_src is None) == (self.custom_voice is None):
            raise InvalidInput("Give exactly one of audio_src and custom_voice.", field="audio_src")
        if self.back_id is not None and self.custom_back_id is not None:
            raise InvalidInput("Give back_id or custom_back_id, not both.", field="back_id")
        for name in _IDS:
            if getattr(self, name) is not None:
                check_id_input(getattr(self, name), name)
        if any(given is not None for given in (self.back_id, self.custom_back_id, self.color)):
            for name in _CANVAS:
                if not getattr(self, name):
                    raise InvalidInput(f"A new background requires {name}.", field=name)
        check_min(self, 1, *_CANVAS, "resolution")
        for name in _BACKGROUND_CROP:
            if getattr(self, name) != -1:
                check_min(self, 1, name)


@define(kw_only=True)
class AvatarVideoRecord(Record):
    """An avatar video. Its output is the video; the service reports its ``progress``."""

    anchor_id: str | None = None
    """Id of the avatar that speaks."""
    web_bg_width: int | None = None
    """Width of the video in pixels."""
    web_bg_height: int | None = None
    """Height of the video in pixels."""
    color: str | None = None
    """The plain background as an RGBA colour."""
    result_people_url: str | None = None
    """URL of the avatar without a background, if the service gives one."""
    result_bg_url: str | None = None
    """URL of the background, if the service gives one."""
    end_success_date: datetime | None = None
    """When the video was finished."""


AVATAR_VIDEO = TaskKind(
    name="avatar_video",
    summary="A speaking avatar",
    start_doc=(
        "Make a video of an avatar that speaks given audio, optionally on another background."
    ),
    input=AvatarVideoInput,
    record=AvatarVideoRecord,
    start=Endpoint("POST", f"{PREFIX}/generate"),
    detail=Endpoint("GET", f"{PREFIX}/detail", id_parameter="video_id"),
    statuses=StatusVocabulary(
        field="status",
        queued=frozenset({"init", "start", "pending"}),
        succeeded=frozenset({"success"}),
        failed=frozenset({"fail", "failed", "error"}),
        progress_field="process",
    ),
    outputs=(OutputField("result", "video"),),
    failure_message_fields=("error", "fail_reason", "msg"),
    name_field="title",
    max_name_length=40,
    typical_duration=(180, 900),
)
