"""Avatar video: an avatar speaks given audio."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Final, Literal

from attrs import define

from a2e_async.errors import InvalidInput
from a2e_async.inputs import Doc, Media, MediaInput, TaskInput
from a2e_async.models import Record, Wire
from a2e_async.resources.plain import check_id_in
from a2e_async.resources.uses import check_least
from a2e_async.tasks.kind import Endpoint, Result, TaskKind, Words

PREFIX: Final = "/api/v1/video"

_CANVAS: Final = ("web_bg_width", "web_bg_height", "web_people_width", "web_people_height")
_BACKGROUND_CROP: Final = ("web_dist_bg_width", "web_dist_bg_height")
_IDS: Final = ("anchor_id", "back_id", "custom_back_id", "face_swap_id")


@define(kw_only=True)
class AvatarVideoInput(TaskInput):
    """What `a2e.avatar_video.start` takes (``POST /api/v1/video/generate``).

    ``name`` goes out as ``title`` and has at most 40 characters.
    """

    given_as: ClassVar[Mapping[str, str]] = {"name": "name", "title": "name"}

    anchor_id: Annotated[
        str, Doc("Who speaks: an id of a2e.avatars.list(), or the anchor_id of a video twin.")
    ]
    anchor_type: Annotated[
        Literal[0, 1], Doc("0 for an avatar of the service, 1 for one of your own.")
    ]
    audio_src: Annotated[
        MediaInput | None,
        Media("audio"),
        Wire("audioSrc"),
        Doc("What is said, such as the Output of a2e.speech.say(); or give custom_voice."),
    ] = None
    custom_voice: Annotated[
        MediaInput | None, Media("audio"), Doc("What is said, as your own recording.")
    ] = None
    anchor_background_img: Annotated[
        MediaInput | None,
        Media("image"),
        Doc("The avatar's own background, needed to replace it where the avatar has none saved."),
    ] = None
    anchor_background_color: Annotated[
        str | None, Doc("The same as an RGBA colour; one of the two is enough.")
    ] = None
    back_id: Annotated[str | None, Doc("A background of the service (a2e.backgrounds.all()).")] = (
        None
    )
    custom_back_id: Annotated[
        str | None, Doc("A background of your own (a2e.backgrounds.add()); excludes back_id.")
    ] = None
    face_swap_id: Annotated[str | None, Doc("A face swap template.")] = None
    color: Annotated[str | None, Doc("A plain background, as an RGBA colour.")] = None
    web_bg_width: Annotated[
        int | None, Doc("Width of the picture in pixels; needed with a new background.")
    ] = None
    web_bg_height: Annotated[
        int | None, Doc("Height of the picture in pixels; needed with a new background.")
    ] = None
    web_people_width: Annotated[
        int | None, Doc("Width of the avatar in the picture; needed with a new background.")
    ] = None
    web_people_height: Annotated[
        int | None, Doc("Height of the avatar in the picture; needed with a new background.")
    ] = None
    web_people_x: Annotated[int | None, Doc("Where the avatar stands, from the left.")] = None
    web_people_y: Annotated[int | None, Doc("Where the avatar stands, from the top.")] = None
    web_dist_bg_width: Annotated[
        int | None, Doc("Width of the background's part that is used; -1 for all of it.")
    ] = None
    web_dist_bg_height: Annotated[
        int | None, Doc("Height of the background's part that is used; -1 for all of it.")
    ] = None
    web_dist_bg_x: Annotated[int | None, Doc("Where that part begins, from the left.")] = None
    web_dist_bg_y: Annotated[int | None, Doc("Where that part begins, from the top.")] = None
    resolution: Annotated[int | None, Doc("Height in pixels; the service takes 1080.")] = None
    msg: Annotated[str | None, Doc("The words that are said, as text.")] = None
    erode_factor: Annotated[
        float | None, Doc("How much is taken off the avatar's edge when it is cut out.")
    ] = None
    is_skip_rs: Annotated[bool | None, Wire("isSkipRs"), Doc("Do not scale the resolution.")] = None
    is_skip_gp: Annotated[bool | None, Wire("isSkipGp"), Doc("Do not treat a green screen.")] = None
    gp_model: Annotated[
        Mapping[str, Any] | None, Doc("Green screen settings; the service does not name them.")
    ] = None
    is_caption_enabled: Annotated[
        bool | None, Wire("isCaptionEnabled"), Doc("Put captions into the video.")
    ] = None
    caption_align: Annotated[
        Mapping[str, Any] | None,
        Wire("captionAlign"),
        Doc("Place and style of captions; the service does not name the settings."),
    ] = None
    is_to_public_pool: Annotated[
        bool | None, Wire("isToPublicPool"), Doc("Share the video in the public pool.")
    ] = None
    lip_model: Annotated[str | None, Doc("The lip-sync model.")] = None
    wl_model: Annotated[str | None, Doc("The watermark model.")] = None

    def check(self) -> None:
        """Check what the service demands of several inputs together."""
        if (self.audio_src is None) == (self.custom_voice is None):
            raise InvalidInput("Give audio_src or custom_voice: one of them.", field="audio_src")
        if self.back_id is not None and self.custom_back_id is not None:
            raise InvalidInput("Give back_id or custom_back_id, not both.", field="back_id")
        for name in _IDS:
            if getattr(self, name) is not None:
                check_id_in(getattr(self, name), name)
        if any(given is not None for given in (self.back_id, self.custom_back_id, self.color)):
            for name in _CANVAS:
                if not getattr(self, name):
                    raise InvalidInput(f"A new background needs {name}.", field=name)
        check_least(self, 1, *_CANVAS, "resolution")
        for name in _BACKGROUND_CROP:
            if getattr(self, name) != -1:
                check_least(self, 1, name)


@define(kw_only=True)
class AvatarVideoRecord(Record):
    """An avatar video. Its output is the video; ``progress`` is told."""

    anchor_id: str | None = None
    web_bg_width: int | None = None
    web_bg_height: int | None = None
    color: str | None = None
    result_people_url: str | None = None
    result_bg_url: str | None = None
    end_success_date: datetime | None = None


AVATAR_VIDEO = TaskKind(
    name="avatar_video",
    summary="An avatar that speaks",
    input=AvatarVideoInput,
    record=AvatarVideoRecord,
    start_at=Endpoint("POST", f"{PREFIX}/generate"),
    detail_at=Endpoint("GET", f"{PREFIX}/detail", query="video_id"),
    words=Words(
        field="status",
        queued=frozenset({"init", "start", "pending"}),
        succeeded=frozenset({"success"}),
        failed=frozenset({"fail", "failed", "error"}),
        progress="process",
    ),
    results=(Result("result", "video"),),
    failure_texts=("error", "fail_reason", "msg"),
    name_wire="title",
    name_most=40,
    usual=(180, 900),
)
