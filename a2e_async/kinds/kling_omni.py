"""Kling Omni: a video from text and reference images, in one or several shots.

Generates videos from a prompt that refers to given images, in one shot or several.

```python
record = await a2e.kling_omni.run(
    prompt="<<<image_1>>> walks along the shore", image_list=["portrait.png"], duration=5
)
await record.output.save("shore.mp4")
```
"""

import re
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
from a2e_async.kinds.input_rules import is_given
from a2e_async.models import NumericString, Record

PREFIX: Final = "/api/v1/klingOmni"

_DEFAULT_DURATION: Final = 5

_IMAGE_REFERENCE: Final = re.compile(r"<<<image_([0-9]+)>>>")


@define(kw_only=True)
class KlingOmniInput(TaskInput):
    """Inputs of `a2e.kling_omni.start` (``POST /api/v1/klingOmni/start``)."""

    prompt: Annotated[
        str | None,
        FieldDoc(
            "Describes what happens; refers to images as <<<image_1>>>. Required "
            "without multi_prompt."
        ),
    ] = None
    image_list: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("image"),
        ItemCount(1, 7),
        FieldDoc("Reference images: JPEG or PNG of at most 10 MB each."),
    ] = None
    mode: Annotated[
        Literal["std", "pro"] | None, FieldDoc("Quality: std (720p, the default) or pro (1080p).")
    ] = None
    duration: Annotated[
        int | None,
        Range(3, 15),
        SerializeAsString(),
        FieldDoc("Length of the video in seconds, 5 by default."),
    ] = None
    aspect_ratio: Annotated[
        Literal["16:9", "9:16", "1:1"] | None, FieldDoc("Aspect ratio, 16:9 by default.")
    ] = None
    sound: Annotated[bool | None, FieldDoc("Generate audio; off by default.")] = None
    multi_shot: Annotated[
        bool | None, FieldDoc("Make several shots; off by default; requires shot_type.")
    ] = None
    shot_type: Annotated[
        Literal["intelligence", "customize"] | None,
        FieldDoc(
            "How the shots are chosen: by the model (intelligence) or by multi_prompt (customize)."
        ),
    ] = None
    multi_prompt: Annotated[
        Sequence[Mapping[str, Any]] | None,
        ItemCount(1, 6),
        FieldDoc(
            "The storyboard for customize: mappings with prompt and duration "
            "(seconds); the durations add up to the duration of the video."
        ),
    ] = None

    def check(self) -> None:
        """Check prompt and storyboard, and that the images they refer to exist."""
        if self.multi_shot and self.shot_type is None:
            raise InvalidInput("multi_shot requires shot_type.", field="shot_type")
        if self.shot_type is not None and not self.multi_shot:
            raise InvalidInput("shot_type requires multi_shot=True.", field="multi_shot")
        if self.multi_prompt is not None and self.shot_type != "customize":
            raise InvalidInput("multi_prompt requires shot_type='customize'.", field="shot_type")
        if self.shot_type == "customize":
            self._check_storyboard(self.multi_prompt or ())
        elif not is_given(self, "prompt"):
            raise InvalidInput("prompt is required without multi_prompt.", field="prompt")
        self._check_image_references("prompt", self.prompt)
        for shot in self.multi_prompt or ():
            self._check_image_references("multi_prompt", shot.get("prompt"))

    def _check_image_references(self, field: str, text: Any) -> None:
        count = len(self.image_list or ())
        for number in _IMAGE_REFERENCE.findall(text) if isinstance(text, str) else ():
            # Only nine digits are converted: int() raises for very long numbers.
            if not 1 <= int(number[-9:]) <= count or len(number) > 9:
                raise InvalidInput(
                    f"{field} refers to <<<image_{number[:9]}>>>, but image_list has {count} "
                    "images.",
                    field=field,
                )

    def _check_storyboard(self, shots: Sequence[Mapping[str, Any]]) -> None:
        lengths = [_seconds(shot.get("duration")) for shot in shots]
        described = all(str(shot.get("prompt") or "").strip() for shot in shots)
        if not shots or not described or None in lengths:
            raise InvalidInput(
                "shot_type 'customize' requires multi_prompt: shots with prompt and duration "
                "(seconds).",
                field="multi_prompt",
            )
        total, wanted = sum(filter(None, lengths)), self.duration or _DEFAULT_DURATION
        if total != wanted:
            raise InvalidInput(
                f"The durations in multi_prompt add up to {total:g} s, but duration is {wanted} s.",
                field="multi_prompt",
            )


def _seconds(value: Any) -> float | None:
    """Return a length given as a number or a numeric string; None for anything else."""
    try:
        seconds = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


@define(kw_only=True)
class KlingOmniRecord(Record):
    """A Kling Omni task. Its output is a video."""

    prompt: str | None = None
    """The prompt given to the start."""
    image_list: tuple[str, ...] = ()
    """URLs of the reference images, in order."""
    mode: str | None = None
    """Quality: std or pro."""
    duration: Annotated[float | None, NumericString()] = None
    """Length of the video in seconds."""
    aspect_ratio: str | None = None
    """Aspect ratio, such as 16:9."""
    sound: bool | None = None
    """Whether the video has audio."""
    multi_shot: bool | None = None
    """Whether the video has several shots."""
    shot_type: str | None = None
    """How the shots were chosen: intelligence or customize."""


KLING_OMNI = TaskKind(
    name="kling_omni",
    summary="Videos by Kling Omni in one or several shots",
    start_doc=(
        "Make a video from text and reference images, in one or several shots, with Kling Omni."
    ),
    input=KlingOmniInput,
    record=KlingOmniRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    rename=Endpoint("PUT", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "video"),),
)
