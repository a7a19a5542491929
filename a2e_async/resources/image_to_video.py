"""Image to video: a picture moves as a prompt says."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NotRequired, TypedDict, Unpack

from attrs import define, frozen

from a2e_async.errors import DecodeError, InvalidInput, ServerError
from a2e_async.inputs import Between, Doc, Media, MediaInput, TaskInput, check_media
from a2e_async.models import Record
from a2e_async.narrow import is_map
from a2e_async.resources.base import R, TaskNamespace
from a2e_async.resources.files import Source
from a2e_async.tasks.budget import spending
from a2e_async.tasks.charged import ChargedCall
from a2e_async.tasks.kind import Endpoint, P, Result, TaskKind, check_id
from a2e_async.transport.retry import Repeat

if TYPE_CHECKING:
    from a2e_async.transport.session import Answer

PREFIX = "/api/v1/userImage2Video"

_EXTEND_PROMPT: Final = "image_to_video.extend_prompt"


@define(kw_only=True)
class ImageToVideoInput(TaskInput):
    """What `a2e.image_to_video.start` takes (``POST /api/v1/userImage2Video/start``)."""

    image_url: Annotated[MediaInput, Media("image"), Doc("The picture that moves.")]
    prompt: Annotated[str | None, Doc("What happens; needed unless lora is given.")] = None
    negative_prompt: Annotated[
        str | None, Doc("What must not be seen; needed unless lora is given.")
    ] = None
    lora: Annotated[str | None, Doc("Id of a preset; it replaces the prompts.")] = None
    model_type: Annotated[
        Literal["GENERAL", "FLF2V"] | None,
        Doc("FLF2V goes from a first to a last picture and needs end_image_url."),
    ] = None
    model_version: Annotated[
        Literal["a2e", "a2e-v2", "a2e-v2-flash"] | str | None,
        Doc("The model; price and default depend on it and on your plan."),
    ] = None
    end_image_url: Annotated[MediaInput | None, Media("image"), Doc("The last picture.")] = None
    extend_prompt: Annotated[
        bool | None, Doc("Let the service extend the prompt (it does unless told not to).")
    ] = None
    number_of_images: Annotated[
        int | None, Between(1, 8), Doc("How many videos to make, each paid; despite its name.")
    ] = None
    video_time: Annotated[
        Literal[5, 10, 15, 20] | None, Doc("Length in seconds; the service takes 5.")
    ] = None
    video_length: Annotated[
        int | None, Between(1, 1000), Doc("Length in frames; deprecated, use video_time.")
    ] = None
    skip_face_enhance: Annotated[bool | None, Doc("Do not improve the likeness of faces.")] = None

    def check(self) -> None:
        """Check what the service demands of several inputs together."""
        if not self.lora:
            for name in ("prompt", "negative_prompt"):
                if not (getattr(self, name) or "").strip():
                    raise InvalidInput(f"{name} is needed unless lora is given.", field=name)
        if self.model_type == "FLF2V" and self.end_image_url is None:
            raise InvalidInput("model_type FLF2V needs end_image_url.", field="end_image_url")
        if self.end_image_url is not None and self.model_type != "FLF2V":
            raise InvalidInput("end_image_url needs model_type='FLF2V'.", field="model_type")
        if self.video_time is not None and self.video_length is not None:
            raise InvalidInput("Give video_time or video_length, not both.", field="video_length")


@define(kw_only=True)
class ImageToVideoRecord(Record):
    """An image-to-video task. Its output is a video; several when the start made several."""

    image_url: str | None = None
    end_image_url: str | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    lora: str | None = None
    model_type: str | None = None
    model_version: str | None = None
    video_time: int | None = None


def _task_count(inputs: TaskInput) -> int:
    count = inputs.number_of_images if isinstance(inputs, ImageToVideoInput) else None
    return count or 1


IMAGE_TO_VIDEO = TaskKind(
    name="image_to_video",
    summary="A picture that moves",
    input=ImageToVideoInput,
    record=ImageToVideoRecord,
    start_at=Endpoint("POST", f"{PREFIX}/start"),
    detail_at=Endpoint("GET", f"{PREFIX}/{{id}}"),
    list_at=Endpoint("GET", f"{PREFIX}/allRecords"),
    batch_at=Endpoint("POST", f"{PREFIX}/batchDetail"),
    delete_at=Endpoint("DELETE", f"{PREFIX}/{{id}}"),
    results=(Result("result_url", "video"),),
    expected=_task_count,
    usual=(60, 600),
)


class PromptInputs(TypedDict):
    """What `ImageToVideo.extend_prompt` takes; None means not sent."""

    reference_id: str
    image_url: MediaInput
    prompt: str
    negative_prompt: str
    end_image_url: NotRequired[MediaInput | None]
    """For a video between two pictures; it excludes the last three inputs."""
    lang: NotRequired[str | None]
    max_length: NotRequired[int | None]
    """Characters."""
    template: NotRequired[Literal["default", "cinematic"] | None]
    shot_count: NotRequired[int | None]
    with_audio: NotRequired[bool | None]


@frozen(kw_only=True)
class ExtendedPrompt:
    """A prompt rewritten by the service. ``extra`` holds what else it said."""

    prompt: str
    negative_prompt: str | None = None
    extra: Mapping[str, Any] = {}


@frozen(kw_only=True)
class PromptEvent:
    """A step of a streamed rewriting: ``text`` grows; ``result`` is set on the last one."""

    text: str = ""
    result: ExtendedPrompt | None = None


class ImageToVideo(TaskNamespace[P, R]):
    """``a2e.image_to_video``: the tasks, and the helpers around them."""

    async def avg_processing_time(self) -> float | None:
        """Return the service's average processing time in seconds, None if it gives none.

        ``GET avgProcessingTime``; a hint, its answer is undocumented.
        """
        data = (await self._call("GET", f"{PREFIX}/avgProcessingTime")).data
        values = list(data.values()) if is_map(data) else [data]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        return float(numbers[0]) if numbers else None

    async def unlimited_queue_level(self) -> Any:
        """Return the level of the unlimited queue, as the service gives it (undocumented)."""
        return (await self._call("GET", f"{PREFIX}/unlimitedQueueLevel")).data

    async def mark_shared(self, id: str) -> None:
        """Note at the service that a result was shared (``POST {id}/markShared``)."""
        await self._call("POST", f"{PREFIX}/{check_id(id)}/markShared")

    async def mark_downloaded(self, id: str) -> None:
        """Note at the service that a result was downloaded (``POST {id}/markDownloaded``)."""
        await self._call("POST", f"{PREFIX}/{check_id(id)}/markDownloaded")

    async def mark_copied(self, id: str) -> None:
        """Note at the service that a result was copied (``POST {id}/markCopied``)."""
        await self._call("POST", f"{PREFIX}/{check_id(id)}/markCopied")

    async def extend_prompt(self, **inputs: Unpack[PromptInputs]) -> ExtendedPrompt:
        """Return prompt and negative prompt rewritten by the service's language model.

        The inputs are those of `PromptInputs`. It may cost: an answer that is lost is not asked
        for again (`StartOutcomeUnknown`), and what comes after its caller was cancelled goes to
        `unclaimed_prompts`. ``POST prompt_extension``, or ``flf2v_prompt_extension`` with
        ``end_image_url``.
        """
        path, body = await self._extension_request(inputs)
        context = self._room
        return await context.charged.call(
            ChargedCall(
                kind=_EXTEND_PROMPT,
                path=path,
                body=body,
                timeout=context.start_timeout,
                priority=context.priority,
                read=_read_prompt_response,
                keep=True,
            )
        )

    def unclaimed_prompts(self) -> tuple[ExtendedPrompt, ...]:
        """Return rewritten prompts whose callers were cancelled after they were sent.

        No request. The last 100 are kept while the client lives, oldest first.
        """
        return self._room.charged.unclaimed(_EXTEND_PROMPT)

    @asynccontextmanager
    async def stream_prompt(
        self, **inputs: Unpack[PromptInputs]
    ) -> AsyncGenerator[AsyncIterator[PromptEvent]]:
        """As `extend_prompt`, word by word: ``async with … as events: async for event in events``.

        The last event carries ``result``. Raises `ServerError` when the service ends with an
        error event.
        """
        path, body = await self._extension_request(inputs)
        context, body = self._room, {**body, "stream": True}
        held = await context.charged.set_aside(_EXTEND_PROMPT, path, body)
        async with AsyncExitStack() as opened:
            with spending(held, _EXTEND_PROMPT) as (sent, refused):
                stream = context.session.stream(
                    "POST",
                    path,
                    json=body,
                    repeat=Repeat.CHARGED,
                    on_sent=sent,
                    on_refused=refused,
                    **context.options(),
                )
                events = await opened.enter_async_context(stream)
            yield _prompt_events(events, path)

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
            raise InvalidInput("image_url must be given.", field="image_url")
        flf2v = "end_image_url" in body
        for name in ("template", "shot_count", "with_audio"):
            if flf2v and name in body:
                raise InvalidInput(f"{name} does not go with end_image_url.", field=name)
        names = ("image_url", "end_image_url") if flf2v else ("image_url",)
        sources: list[Source] = []
        for name in names:
            check_media(name, body[name])
            sources.append((body[name], ("image",), name))
        body |= zip(names, await self._room.files.urls(*sources), strict=True)
        return f"{PREFIX}/{'flf2v_' if flf2v else ''}prompt_extension", body


def _read_prompt_response(answer: "Answer") -> ExtendedPrompt | None:
    return _read_prompt(answer.data)


def _require_prompt(data: Any, path: str) -> ExtendedPrompt:
    found = _read_prompt(data)
    if found is None:
        raise DecodeError(f"{path} gave no prompt.", method="POST", path=path)
    return found


def _read_prompt(data: Any) -> ExtendedPrompt | None:
    if is_map(data) and isinstance(data.get("prompt"), str):
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
            if is_map(value):
                piece = next((value[k] for k in ("delta", "text", "content") if k in value), "")
            text += piece if isinstance(piece, str) else ""
            yield PromptEvent(text=text)
        elif name == "result":
            yield PromptEvent(text=text, result=_require_prompt(value, path))
        elif name == "error":
            message = value.get("message") if is_map(value) else value
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
