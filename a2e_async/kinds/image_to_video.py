"""Image to video: animates an image as a prompt describes.

Animates an image as the prompt describes; or, with `model_type="FLF2V"`, generates the transition
between two images.

```python
record = await a2e.image_to_video.run(
    image_url="portrait.png",
    prompt="she turns to the camera and smiles",
    negative_prompt="blurry, distorted",
    video_time=5,
)
await record.output.save("moving.mp4")
```
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NotRequired, TypedDict, Unpack

from attrs import define, frozen

from a2e_async._core.base_errors import drop_frames, hide_frames
from a2e_async._core.http.retry import RetrySafety
from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    MediaInput,
    MediaSource,
    Range,
    TaskInput,
    check_media,
)
from a2e_async._core.submission.budget import commit_on_exit
from a2e_async._core.submission.calls import ChargedCall
from a2e_async._core.tasks.kind import Endpoint, OutputField, P, TaskKind, check_task_id
from a2e_async._core.typeguards import is_mapping
from a2e_async.errors import DecodeError, InvalidInput, ServerError
from a2e_async.kinds.namespace import R, TaskNamespace
from a2e_async.models import Record

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiResponse

PREFIX = "/api/v1/userImage2Video"

_EXTEND_PROMPT: Final = "image_to_video.extend_prompt"


@define(kw_only=True)
class ImageToVideoInput(TaskInput):
    """Inputs of `a2e.image_to_video.start` (``POST /api/v1/userImage2Video/start``)."""

    image_url: Annotated[MediaInput, AcceptedMedia("image"), FieldDoc("The image to animate.")]
    prompt: Annotated[
        str | None, FieldDoc("Describes what happens; required unless lora is given.")
    ] = None
    negative_prompt: Annotated[
        str | None,
        FieldDoc(
            "What the result must not show. Recommended: it is reported that the service may "
            "refuse a start without it, unless lora is given."
        ),
    ] = None
    lora: Annotated[str | None, FieldDoc("Id of a LoRA preset, instead of the prompts.")] = None
    model_type: Annotated[
        Literal["GENERAL", "FLF2V"] | None,
        FieldDoc("FLF2V makes a video from the first image to end_image_url."),
    ] = None
    model_version: Annotated[
        Literal["a2e", "a2e-v2", "a2e-v2-flash"] | str | None,
        FieldDoc("The model. The price depends on it, the default on your plan."),
    ] = None
    end_image_url: Annotated[
        MediaInput | None,
        AcceptedMedia("image"),
        FieldDoc("The last frame; requires model_type FLF2V."),
    ] = None
    extend_prompt: Annotated[
        bool | None, FieldDoc("Let the service extend the prompt; on by default.")
    ] = None
    number_of_images: Annotated[
        int | None, Range(1, 8), FieldDoc("Number of videos to make (not images); each is charged.")
    ] = None
    video_time: Annotated[
        Literal[5, 10, 15, 20] | None, FieldDoc("Length of the video in seconds, 5 by default.")
    ] = None
    video_length: Annotated[
        int | None,
        Range(1, 1000),
        FieldDoc("Length of the video in frames; deprecated, use video_time."),
    ] = None
    skip_face_enhance: Annotated[
        bool | None, FieldDoc("Skip the step that improves the likeness of faces.")
    ] = None

    def check(self) -> None:
        """Check the inputs that depend on each other."""
        if not self.lora and not (self.prompt or "").strip():
            raise InvalidInput("prompt is required unless lora is given.", field="prompt")
        if self.model_type == "FLF2V" and self.end_image_url is None:
            raise InvalidInput("model_type FLF2V requires end_image_url.", field="end_image_url")
        if self.end_image_url is not None and self.model_type != "FLF2V":
            raise InvalidInput("end_image_url requires model_type='FLF2V'.", field="model_type")
        if self.video_time is not None and self.video_length is not None:
            raise InvalidInput("Give video_time or video_length, not both.", field="video_length")


@define(kw_only=True)
class ImageToVideoRecord(Record):
    """An image-to-video task. Its output is a video, or several if the start made several."""

    image_url: str | None = None
    """URL of the input image."""
    end_image_url: str | None = None
    """URL of the last frame."""
    prompt: str | None = None
    """The prompt given to the start."""
    negative_prompt: str | None = None
    """The negative prompt given to the start."""
    lora: str | None = None
    """Id of the LoRA preset."""
    model_type: str | None = None
    """The type of the model."""
    model_version: str | None = None
    """The version of the model."""
    video_time: int | None = None
    """Length of the video in seconds."""


def _task_count(inputs: TaskInput) -> int:
    count = inputs.number_of_images if isinstance(inputs, ImageToVideoInput) else None
    return count or 1


IMAGE_TO_VIDEO = TaskKind(
    name="image_to_video",
    summary="A video from an image",
    start_doc=(
        "Animate an image as a prompt describes. With number_of_images the start "
        "makes several videos; each is charged."
    ),
    input=ImageToVideoInput,
    record=ImageToVideoRecord,
    start=Endpoint("POST", f"{PREFIX}/start"),
    detail=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_detail=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    outputs=(OutputField("result_url", "video"),),
    expected_tasks=_task_count,
    typical_duration=(60, 600),
)


class PromptInputs(TypedDict):
    """Inputs of `ImageToVideo.extend_prompt`; None is not sent."""

    reference_id: str
    """Your id of the request; the service asks for one."""
    image_url: MediaInput
    """The first frame, as a URL, path, bytes or `Output`."""
    prompt: str
    """The prompt to rewrite."""
    negative_prompt: str
    """The negative prompt to rewrite."""
    end_image_url: NotRequired[MediaInput | None]
    """The last frame, for a video between two images; excludes the last three inputs."""
    lang: NotRequired[str | None]
    """Language of the rewritten prompt."""
    max_length: NotRequired[int | None]
    """Maximum length of the prompt in characters."""
    template: NotRequired[Literal["default", "cinematic"] | None]
    """Style of the rewriting."""
    shot_count: NotRequired[int | None]
    """Number of shots."""
    with_audio: NotRequired[bool | None]
    """Whether the prompt describes audio, too."""


@frozen(kw_only=True)
class ExtendedPrompt:
    """A prompt rewritten by the service."""

    prompt: str
    """The rewritten prompt."""
    negative_prompt: str | None = None
    """The rewritten negative prompt."""
    extra: Mapping[str, Any] = {}
    """Other fields of the response, by their wire names."""


@frozen(kw_only=True)
class PromptEvent:
    """One event of a streamed rewriting."""

    text: str = ""
    """The text so far; it grows with each event."""
    result: ExtendedPrompt | None = None
    """The rewritten prompt; set on the last event only."""


class ImageToVideo(TaskNamespace[P, R]):
    """``a2e.image_to_video``: the tasks, prompt rewriting and marks of the website."""

    async def avg_processing_time(self) -> float | None:
        """Return the service's average processing time in seconds, or None if it gives none.

        ``GET avgProcessingTime``. The response is undocumented; treat the number as a hint.
        """
        data = (await self._request("GET", f"{PREFIX}/avgProcessingTime")).data
        values = list(data.values()) if is_mapping(data) else [data]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        return float(numbers[0]) if numbers else None

    async def unlimited_queue_level(self) -> Any:
        """Return the service's value for the level of the unlimited queue (undocumented)."""
        return (await self._request("GET", f"{PREFIX}/unlimitedQueueLevel")).data

    async def mark_shared(self, id: str) -> None:
        """Mark a result as shared at the service (``POST {id}/markShared``)."""
        await self._request("POST", f"{PREFIX}/{check_task_id(id)}/markShared")

    async def mark_downloaded(self, id: str) -> None:
        """Mark a result as downloaded at the service (``POST {id}/markDownloaded``)."""
        await self._request("POST", f"{PREFIX}/{check_task_id(id)}/markDownloaded")

    async def mark_copied(self, id: str) -> None:
        """Mark a result as copied at the service (``POST {id}/markCopied``)."""
        await self._request("POST", f"{PREFIX}/{check_task_id(id)}/markCopied")

    @hide_frames
    async def extend_prompt(self, **inputs: Unpack[PromptInputs]) -> ExtendedPrompt:
        """Return prompt and negative prompt, rewritten by the service's language model.

        The inputs are those of `PromptInputs`. May cost coins: the request is not repeated if no
        response arrives (`StartOutcomeUnknown`), and a response that arrives after the caller
        was cancelled is listed by `unclaimed_prompts`. ``POST prompt_extension``, or
        ``POST flf2v_prompt_extension`` with ``end_image_url``.
        """
        path, body = await self._extension_request(inputs)
        context = self._context
        return await context.charged.call(
            ChargedCall(
                kind=_EXTEND_PROMPT,
                path=path,
                body=body,
                timeout=context.start_timeout,
                priority=context.priority,
                read_result=_read_prompt_response,
                keep_unclaimed=True,
            )
        )

    def unclaimed_prompts(self) -> tuple[ExtendedPrompt, ...]:
        """Return rewritten prompts whose callers were cancelled after the request was sent.

        Makes no request. The client keeps the last 100, oldest first.
        """
        return self._context.charged.unclaimed(_EXTEND_PROMPT)

    @asynccontextmanager
    async def stream_prompt(
        self, **inputs: Unpack[PromptInputs]
    ) -> AsyncGenerator[AsyncIterator[PromptEvent]]:
        """Stream a rewritten prompt: ``async with … as events: async for event in events``.

        Takes the inputs of `extend_prompt`. The last event has ``result`` set. Raises
        `ServerError` if the service ends the stream with an error event.
        """
        async with AsyncExitStack() as opened:
            try:
                path, body = await self._extension_request(inputs)
                events = await self._begin_stream(opened, path, {**body, "stream": True})
            except BaseException as error:
                del inputs  # URLs, which may be signed
                drop_frames(error)
                raise
            del inputs, body
            yield _prompt_events(events, path)

    async def _begin_stream(
        self, opened: AsyncExitStack, path: str, body: dict[str, Any]
    ) -> AsyncIterator[tuple[str, str]]:
        context = self._context
        # The stream is charged once it begins, so its price is reserved before the request.
        reservation = await context.charged.reserve(_EXTEND_PROMPT, path, body)
        call = context.session.new_call(
            "POST",
            path,
            json=body,
            retry_safety=RetrySafety.CHARGED,
            stream=True,
            **context.request_options(),
        )
        with commit_on_exit(reservation, _EXTEND_PROMPT, call):
            response = await context.session.send(call)
        return await opened.enter_async_context(context.session.events(response))

    @hide_frames
    async def _extension_request(self, inputs: PromptInputs) -> tuple[str, dict[str, Any]]:
        body: dict[str, Any] = {k: v for k, v in inputs.items() if v is not None}
        unknown = body.keys() - PromptInputs.__annotations__.keys()
        if unknown:
            raise InvalidInput(f"There is no input {min(unknown)!r:.60}.", field=min(unknown))
        for name in ("reference_id", "prompt", "negative_prompt"):
            if not isinstance(body.get(name), str):
                raise InvalidInput(f"{name} must be text.", field=name)
        length = body.get("max_length", 1)
        if isinstance(length, bool) or not isinstance(length, int) or length < 1:
            raise InvalidInput("max_length must be 1 or more characters.", field="max_length")
        if "image_url" not in body:
            raise InvalidInput("image_url is required.", field="image_url")
        flf2v = "end_image_url" in body
        for name in ("template", "shot_count", "with_audio"):
            if flf2v and name in body:
                raise InvalidInput(f"{name} cannot be combined with end_image_url.", field=name)
        names = ("image_url", "end_image_url") if flf2v else ("image_url",)
        sources: list[MediaSource] = []
        for name in names:
            check_media(name, body[name])
            sources.append((body[name], ("image",), name))
        body |= zip(names, await self._context.files.urls(*sources), strict=True)
        return f"{PREFIX}/{'flf2v_' if flf2v else ''}prompt_extension", body


def _read_prompt_response(response: "ApiResponse") -> ExtendedPrompt | None:
    return _read_prompt(response.data)


def _require_prompt(data: Any, path: str) -> ExtendedPrompt:
    found = _read_prompt(data)
    if found is None:
        raise DecodeError(f"The response of {path} has no prompt.", method="POST", path=path)
    return found


def _read_prompt(data: Any) -> ExtendedPrompt | None:
    if is_mapping(data) and isinstance(data.get("prompt"), str):
        negative = data.get("negative_prompt")
        return ExtendedPrompt(
            prompt=data["prompt"],
            negative_prompt=negative if isinstance(negative, str) else None,
            extra={k: v for k, v in data.items() if k not in ("prompt", "negative_prompt")},
        )
    return None


async def _prompt_events(
    events: AsyncIterator[tuple[str, str]], path: str
) -> AsyncIterator[PromptEvent]:
    text = ""
    async for name, data in events:
        try:
            value = json.loads(data) if data else None
        except ValueError:
            value = data
        if name == "delta":
            piece = value
            if is_mapping(value):
                piece = next((value[k] for k in ("delta", "text", "content") if k in value), "")
            text += piece if isinstance(piece, str) else ""
            yield PromptEvent(text=text)
        elif name == "result":
            yield PromptEvent(text=text, result=_require_prompt(value, path))
        elif name == "error":
            message = value.get("message") if is_mapping(value) else value
            raise ServerError(
                http_status=200,
                code=None,
                message=str(message or "the stream ended with an error"),
                trace_id=None,
                method="POST",
                path=path,
            )
        elif name == "done":
            return
