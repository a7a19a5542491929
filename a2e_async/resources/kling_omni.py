"""Kling Omni: a video from a text and reference pictures, in one shot or several."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from attrs import define

from a2e_async.errors import InvalidInput
from a2e_async.inputs import AsText, Between, Count, Doc, Media, MediaInput, TaskInput
from a2e_async.models import FromText, Record
from a2e_async.resources.uses import given
from a2e_async.tasks.kind import Endpoint, Result, TaskKind

PREFIX: Final = "/api/v1/klingOmni"

_DEFAULT_DURATION: Final = 5

_IMAGE_REFERENCE: Final = re.compile(r"<<<image_([0-9]+)>>>")


@define(kw_only=True)
class KlingOmniInput(TaskInput):
    """What `a2e.kling_omni.start` takes (``POST /api/v1/klingOmni/start``)."""

    prompt: Annotated[
        str | None,
        Doc("What happens; cite pictures as <<<image_1>>>. Needed without a storyboard."),
    ] = None
    image_list: Annotated[
        Sequence[MediaInput] | None,
        Media("image"),
        Count(1, 7),
        Doc("Reference pictures: JPEG or PNG of at most 10 MB."),
    ] = None
    mode: Annotated[
        Literal["std", "pro"] | None, Doc("Quality: std (720p, the default) or pro (1080p).")
    ] = None
    duration: Annotated[
        int | None, Between(3, 15), AsText(), Doc("Length of the video in seconds, 5 by default.")
    ] = None
    aspect_ratio: Annotated[
        Literal["16:9", "9:16", "1:1"] | None, Doc("Shape of the picture, 16:9 by default.")
    ] = None
    sound: Annotated[bool | None, Doc("Make sound; off by default.")] = None
    multi_shot: Annotated[bool | None, Doc("Several shots, off by default; needs shot_type.")] = (
        None
    )
    shot_type: Annotated[
        Literal["intelligence", "customize"] | None,
        Doc("Who directs the shots: the model (intelligence) or your multi_prompt (customize)."),
    ] = None
    multi_prompt: Annotated[
        Sequence[Mapping[str, Any]] | None,
        Count(1, 6),
        Doc(
            "The storyboard for customize: shots with prompt and duration (seconds), whose "
            "durations sum up to that of the video."
        ),
    ] = None

    def check(self) -> None:
        """Check prompt and storyboard, and that the pictures they cite are there."""
        if self.multi_shot and self.shot_type is None:
            raise InvalidInput("multi_shot needs shot_type.", field="shot_type")
        if self.shot_type is not None and not self.multi_shot:
            raise InvalidInput("shot_type needs multi_shot=True.", field="multi_shot")
        if self.multi_prompt is not None and self.shot_type != "customize":
            raise InvalidInput("multi_prompt needs shot_type='customize'.", field="shot_type")
        if self.shot_type == "customize":
            self._check_storyboard(self.multi_prompt or ())
        elif not given(self, "prompt"):
            raise InvalidInput("prompt is needed without multi_prompt.", field="prompt")
        self._check_image_references("prompt", self.prompt)
        for shot in self.multi_prompt or ():
            self._check_image_references("multi_prompt", shot.get("prompt"))

    def _check_image_references(self, field: str, text: Any) -> None:
        count = len(self.image_list or ())
        for number in _IMAGE_REFERENCE.findall(text) if isinstance(text, str) else ():
            if not 1 <= int(number[-9:]) <= count or len(number) > 9:
                raise InvalidInput(
                    f"{field} cites <<<image_{number[:9]}>>>, and image_list has {count} pictures.",
                    field=field,
                )

    def _check_storyboard(self, shots: Sequence[Mapping[str, Any]]) -> None:
        lengths = [_seconds(shot.get("duration")) for shot in shots]
        described = all(str(shot.get("prompt") or "").strip() for shot in shots)
        if not shots or not described or None in lengths:
            raise InvalidInput(
                "shot_type 'customize' needs multi_prompt: shots with prompt and duration "
                "(seconds).",
                field="multi_prompt",
            )
        total, wanted = sum(filter(None, lengths)), self.duration or _DEFAULT_DURATION
        if total != wanted:
            raise InvalidInput(
                f"The durations in multi_prompt sum up to {total:g} s, duration is {wanted} s.",
                field="multi_prompt",
            )


def _seconds(value: Any) -> float | None:
    """Return a length given as a number or as the text of one, None for anything else."""
    try:
        seconds = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


@define(kw_only=True)
class KlingOmniRecord(Record):
    """A Kling Omni task. Its output is a video; ``duration`` in seconds."""

    prompt: str | None = None
    image_list: tuple[str, ...] = ()
    mode: str | None = None
    duration: Annotated[float | None, FromText()] = None
    aspect_ratio: str | None = None
    sound: bool | None = None
    multi_shot: bool | None = None
    shot_type: str | None = None


KLING_OMNI = TaskKind(
    name="kling_omni",
    summary="Videos by Kling Omni, also of several shots",
    input=KlingOmniInput,
    record=KlingOmniRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    rename_at=Endpoint("PUT", f"{PREFIX}/{{id}}"),
    results=(Result("result_url", "video"),),
)
