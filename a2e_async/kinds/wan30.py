"""Wan 3.0: a video from text, frames or references. Start only.

Wan 3.0: generates videos from text, frames or references. The service has no operation that
returns the status of these tasks, so they cannot be awaited. Store `task.ref` and check for the
result on the service's site.

```python
task = await a2e.wan30.start(
    model="wan3.0-video", prompt="a kite over the dunes", resolution="720P", duration=5
)
print(task.ref)
```
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, TaskInput, clean_url
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async._core.typeguards import is_mapping
from a2e_async.errors import InvalidInput
from a2e_async.kinds.input_rules import InputRule, check_min, check_rules
from a2e_async.models import Record

_MEDIA_TYPES: Final = {
    "first_frame_url": "first_frame",
    "last_frame_url": "last_frame",
    "reference_image_urls": "reference_image",
    "reference_video_urls": "reference_video",
    "reference_audio_urls": "reference_audio",
    "file_url": "file",
    "link_url": "link",
}
"""The type of each input in the body's list of media. The service's reference shows only
reference_image; the others are from the model provider's reference, which has the same body."""

_PARAMETERS: Final = (
    "resolution",
    "ratio",
    "duration",
    "audio",
    "prompt_extend",
    "seed",
    "watermark",
)
_PROMPT: Final = ("prompt",)
_RULES: Final = {
    "text-to-video": InputRule(requires=_PROMPT),
    "first-frame": InputRule(requires=("first_frame_url",), allows=_PROMPT),
    "first-last-frames": InputRule(requires=("first_frame_url", "last_frame_url"), allows=_PROMPT),
    "reference": InputRule(
        requires=(tuple(name for name in _MEDIA_TYPES if "frame" not in name),), allows=_PROMPT
    ),
}


@define(kw_only=True)
class Wan30Input(TaskInput):
    """Inputs of `a2e.wan30.start` (``POST /api/v1/userWan30/start``).

    The body nests these in ``input`` and ``parameters``. If the service has changed its names,
    ``extra={"input": …}`` replaces that whole part of the body.
    """

    model: Annotated[
        Literal["wan3.0-video", "wan3.0-video-prime"] | str,
        FieldDoc(
            "The model: prime costs more, has the same quality and is about seven times as fast."
        ),
    ]
    mode: Annotated[
        Literal["text-to-video", "first-frame", "first-last-frames", "reference"] | None,
        FieldDoc("What the video is made from, text-to-video by default."),
    ] = None
    prompt: Annotated[
        str | None, FieldDoc("Describes what happens; required for text-to-video.")
    ] = None
    first_frame_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc("The first frame, for first-frame and first-last-frames."),
    ] = None
    last_frame_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc("The last frame, for first-last-frames."),
    ] = None
    reference_image_urls: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("image"),
        FieldDoc("Reference images of the people or objects to show, for reference."),
    ] = None
    reference_video_urls: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("video"),
        FieldDoc(
            "Reference videos: 3-15 s each, at most 15 s in total, and at most 30 s "
            "together with the result."
        ),
    ] = None
    reference_video_seconds: Annotated[
        Sequence[float] | None,
        FieldDoc("Length of each reference video in seconds, in the same order."),
    ] = None
    reference_audio_urls: Annotated[
        Sequence[MediaInput] | None,
        AcceptedMedia("audio"),
        FieldDoc("Audio of sounds and voices, for reference."),
    ] = None
    file_url: Annotated[
        MediaInput | None,
        AcceptedMedia("file"),
        FieldDoc("A document that guides the video, for reference; excludes link_url."),
    ] = None
    link_url: Annotated[
        str | None,
        FieldDoc(
            "URL of a public web page that guides the video, for reference; excludes file_url."
        ),
    ] = None
    resolution: Annotated[
        Literal["480P", "720P", "1080P"] | str | None, FieldDoc("Resolution, such as 1080P.")
    ] = None
    ratio: Annotated[
        str | None,
        FieldDoc("Aspect ratio, such as 16:9; adaptive uses the aspect ratio of the media."),
    ] = None
    duration: Annotated[int | None, FieldDoc("Length of the video in seconds.")] = None
    audio: Annotated[bool | None, FieldDoc("Generate audio.")] = None
    prompt_extend: Annotated[
        bool | None, FieldDoc("Let the service extend the prompt; off by default.")
    ] = None
    seed: Annotated[int | None, FieldDoc("Random seed; the same seed gives similar videos.")] = None
    watermark: Annotated[bool | None, FieldDoc("Put a watermark into the video.")] = None

    def check(self) -> None:
        """Check the rules of the mode, and the references that exclude each other."""
        check_rules(self, "mode", _RULES, default="text-to-video")
        check_min(self, 1, "duration")
        for name in ("input", "parameters"):
            if not is_mapping((self.extra or {}).get(name, {})):
                raise InvalidInput(f"extra: {name!r:.60} must be a mapping.", field="extra")
        if self.link_url is not None:
            self.link_url = clean_url(self.link_url, "link_url")
            if self.file_url is not None:
                raise InvalidInput("Give file_url or link_url, not both.", field="link_url")
        lengths = self.reference_video_seconds
        if lengths is None:
            return
        if len(lengths) != len(self.reference_video_urls or ()):
            raise InvalidInput(
                "reference_video_seconds requires one number for each of reference_video_urls.",
                field="reference_video_seconds",
            )
        if not all(3 <= length <= 15 for length in lengths) or sum(lengths) > 15:
            raise InvalidInput(
                "Reference videos must last 3 to 15 s each and at most 15 s in total.",
                field="reference_video_seconds",
            )
        if sum(lengths) + (self.duration or 0) > 30:
            raise InvalidInput(
                "Reference videos and the result must last at most 30 s together.",
                field="duration",
            )

    def to_wire(self, urls: Mapping[tuple[str, int | None], str]) -> dict[str, Any]:
        """Return the JSON body, nested as the service expects it."""
        flat = super().to_wire(urls)
        input_part: dict[str, Any] = {"prompt": flat.pop("prompt")} if "prompt" in flat else {}
        if media := list(_media_of(flat)):
            input_part["media"] = media
        parameters = {name: flat.pop(name) for name in _PARAMETERS if name in flat}
        return {"input": input_part, "parameters": parameters, **flat}


def _media_of(flat: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Remove the media from a flat body and yield each as an item of the list of media."""
    lengths = flat.pop("reference_video_seconds", ())
    for name, media_type in _MEDIA_TYPES.items():
        urls = flat.pop(name, ())
        for index, url in enumerate([urls] if isinstance(urls, str) else urls):
            item = {"type": media_type, "url": url}
            timed = lengths and media_type == "reference_video"
            yield item | {"duration": lengths[index]} if timed else item


@define(kw_only=True)
class Wan30Record(Record):
    """A Wan 3.0 task as the start response reported it; the service reports no later status."""

    model: str | None = None
    """The model that was used."""
    mode: str | None = None
    """What the result was made from, as given to the start."""


WAN30 = TaskKind(
    name="wan30",
    summary="Videos by Wan 3.0 (start only)",
    start_doc=(
        "Make a video from text, frames or references, with Wan 3.0. The result is "
        "available on the service's website only."
    ),
    input=Wan30Input,
    record=Wan30Record,
    start=Endpoint("POST", "/api/v1/userWan30/start"),
    outputs=(OutputField("result_url", "video"),),
    typical_duration=(120.0, 840.0),
)
