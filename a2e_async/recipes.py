"""``a2e.recipes``: results that take two paid steps, each paid once.

A client makes the namespace; import the classes here for annotations.
"""

import asyncio
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import frozen

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.context import RequestContext
from a2e_async._core.files.media_container import mp4_seconds
from a2e_async._core.files.open_file import held_files
from a2e_async._core.handle import NotCopyable
from a2e_async._core.journal.keys import call_key
from a2e_async._core.namespace_helpers import without_none
from a2e_async._core.schema.inputs import MediaInput, TaskInput, check_media, is_url
from a2e_async._core.submission.budget import Reservation
from a2e_async._core.submission.quotes import body_before_upload
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.task import Task
from a2e_async.account.speech import SPEECH_PATH, Speech
from a2e_async.errors import A2EError, BudgetExceeded, InvalidInput, InvalidRequest
from a2e_async.kinds.avatar_video import AVATAR_VIDEO, AvatarVideoRecord
from a2e_async.kinds.dubbing import DUBBING, DubbingRecord, SourceLanguage, TargetLanguage
from a2e_async.kinds.operations import request_quote
from a2e_async.kinds.talking_video import TALKING_VIDEO, TalkingVideoRecord
from a2e_async.models import Output, Record

__all__ = ["DubbedVideo", "Recipes", "SpokenVideo"]

R = TypeVar("R", bound=Record)

MAX_LIP_SYNC_SECONDS: Final = 20
"""Longest video of a talking_video task."""

_TOLERANCE: Final = 0.5
"""Seconds by which the lengths of sound and picture may differ."""

PROMPT: Final = "the person speaks naturally to the camera"
NEGATIVE_PROMPT: Final = "blurry, distorted"

_LATER: Final = "https://example.invalid/result-of-the-first-step"
"""Stands for the first step's result while the second step's inputs are checked and quoted."""


@frozen(kw_only=True)
class DubbedVideo:
    """A video whose speech is in another language, and the records of both steps."""

    dubbing: DubbingRecord
    """The record of the first step; its output is the dubbed sound."""
    lip_sync: TalkingVideoRecord
    """The record of the second step; its output is the video."""

    @property
    def output(self) -> Output:
        """The video."""
        return self.lip_sync.output

    @property
    def sound(self) -> Output:
        """The dubbed sound alone."""
        return self.dubbing.output


@frozen(kw_only=True)
class SpokenVideo:
    """A video of an avatar that speaks a text."""

    speech: Output
    """The speech alone. Its URL expires and cannot be renewed."""
    video: AvatarVideoRecord
    """The record of the second step; its output is the video."""

    @property
    def output(self) -> Output:
        """The video."""
        return self.video.output


class Recipes(NotCopyable):
    """``a2e.recipes``: results that take two paid steps.

    Give a ``key``: its steps have the keys ``KEY/…``, so that the same call after a failure or a
    restart (with a journal) continues and pays for nothing twice. The inputs of both steps are
    checked, and both prices compared with the client's budget, before the first step is paid.
    """

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    def __repr__(self) -> str:
        return "<a2e.recipes>"

    @hide_frames
    async def dub_video(
        self,
        *,
        video_url: MediaInput,
        target_lang: TargetLanguage | str,
        source_lang: SourceLanguage | str | None = None,
        num_speakers: int | None = None,
        drop_background_audio: bool | None = None,
        duration: int | None = None,
        prompt: str = PROMPT,
        negative_prompt: str = NEGATIVE_PROMPT,
        key: str | None = None,
    ) -> DubbedVideo:
        """Dub the speech of a video, and make the person in the video speak the dubbed words.

        Two tasks, each charged: dubbing (key ``KEY/dub``), whose result is sound alone, then
        talking_video (``KEY/sync``) with that sound. ``duration`` is the length of the result in
        seconds, at most 20; by default that of the source, rounded up. ``prompt`` and
        ``negative_prompt`` are those of the second task.

        Raises `InvalidInput` before anything is paid, also for a local MP4 file that is longer
        than 20 s without ``duration``; and what `TaskNamespace.run` raises. If the second step
        fails, the note of the error has the ref of the paid sound. Costs coins.
        ``POST /api/v1/userDubbing/startDubbing``, ``POST /api/v1/talkingVideo/start``.
        """
        video = check_media("video_url", video_url)
        with held_files((video,)):  # a stream can be read once, and both steps need it
            # Dubbing takes sound, too: only the second step would refuse it.
            await self._context.files.resolve(video, ("video",), "video_url")
            lip_sync = {
                "video_url": video,
                "prompt": prompt,
                "negative_prompt": negative_prompt,
                "key": _step_key(key, "sync"),
            }
            planned, measured = duration, None
            if duration is None:
                length = await _local_length(video_url)
                measured = None if length is None else _checked_duration(length)
                planned = measured or MAX_LIP_SYNC_SECONDS
            dub = DUBBING.build_input(
                without_none(
                    source_url=video,
                    target_lang=target_lang,
                    source_lang=source_lang,
                    num_speakers=num_speakers,
                    drop_background_audio=drop_background_audio,
                    key=_step_key(key, "dub"),
                )
            )
            later = TALKING_VIDEO.build_input(
                {**lip_sync, "audio_url": _LATER, "duration": planned}
            )
            await self._check_budget(
                (DUBBING.name, DUBBING.start.path, body_before_upload(DUBBING, dub)),
                (
                    TALKING_VIDEO.name,
                    TALKING_VIDEO.start.path,
                    body_before_upload(TALKING_VIDEO, later),
                ),
                first_key=dub.key,
            )
            task = await self._start(DUBBING, dub)
            dubbed: DubbingRecord = await self._finish(task)
            try:
                if duration is None:
                    reported = _checked_duration(dubbed.duration) if dubbed.duration else 0
                    # The service reports whole seconds, which may be rounded down.
                    duration = max(measured or 0, reported) or None
                inputs = without_none(**lip_sync, audio_url=dubbed.output, duration=duration)
                synced: TalkingVideoRecord = await self._run(TALKING_VIDEO, inputs)
            except A2EError as error:
                error.add_note(f"The dubbed sound is paid and kept: a2e.attach({task.ref!r}).")
                raise
            await task.ack()  # used: nothing of it is left to do
            return DubbedVideo(dubbing=dubbed, lip_sync=synced)

    @hide_frames
    async def speak_video(
        self,
        text: str,
        *,
        anchor_id: str,
        anchor_type: int = 0,
        tts_id: str | None = None,
        user_voice_id: str | None = None,
        country: str | None = None,
        region: str | None = None,
        speech_rate: float | None = None,
        resolution: int | None = None,
        key: str | None = None,
    ) -> SpokenVideo:
        """Turn a text into speech, and make a video of an avatar that speaks it.

        Two paid steps: `a2e.speech.say` (key ``KEY/speech``), then avatar_video (``KEY/video``).
        ``text``, ``tts_id``, ``user_voice_id``, ``country``, ``region`` and ``speech_rate`` are
        those of the first, the others those of the second.

        Raises what `Speech.say` and `TaskNamespace.run` raise. If the second step fails, the same
        call with the same key uses the paid speech again, while its URL is valid. Costs coins.
        ``POST /api/v1/video/send_tts``, ``POST /api/v1/video/generate``.
        """
        video = without_none(
            anchor_id=anchor_id,
            anchor_type=anchor_type,
            resolution=resolution,
            key=_step_key(key, "video"),
        )
        later = AVATAR_VIDEO.build_input({**video, "audio_src": _LATER})
        await self._check_budget(
            ("speech", SPEECH_PATH, {"msg": text}),
            (AVATAR_VIDEO.name, AVATAR_VIDEO.start.path, body_before_upload(AVATAR_VIDEO, later)),
            first_key=None if key is None else call_key(f"{key}/speech"),
        )
        speech = await Speech(self._context).say(
            text,
            tts_id=tts_id,
            user_voice_id=user_voice_id,
            country=country,
            region=region,
            speech_rate=speech_rate,
            key=_step_key(key, "speech"),
        )
        spoken: AvatarVideoRecord = await self._run(AVATAR_VIDEO, {**video, "audio_src": speech})
        return SpokenVideo(speech=speech, video=spoken)

    # -- inside ----------------------------------------------------------------------------

    async def _run(self, kind: TaskKind[..., R], inputs: Mapping[str, Any]) -> R:
        return await self._finish(await self._start(kind, kind.build_input(inputs)))

    async def _start(self, kind: TaskKind[..., R], inputs: TaskInput) -> Task[R]:
        context = self._context
        return await context.starter.start(
            kind, inputs, timeout=context.start_timeout, services=context.tasks
        )

    async def _finish(self, task: Task[R]) -> R:
        try:
            return await task.wait()
        except asyncio.CancelledError:
            self._context.starter.add_unclaimed(task)  # the caller has no handle of it
            raise

    async def _check_budget(
        self, *calls: tuple[str, str, Mapping[str, Any]], first_key: str | None
    ) -> None:
        """Raise `BudgetExceeded` if the client's budget has no room for both steps.

        ``calls`` are kind, path and body of the steps. Nothing is checked if the first step was
        started before, by its journal key ``first_key``: what is left is checked when it is sent.
        """
        context = self._context
        if not context.budgets or (first_key and await context.starter.has_key(first_key)):
            return
        prices: list[tuple[str, int | None]] = []
        for kind, path, body in calls:
            with suppress(InvalidRequest):  # some kinds are only quoted with the files' URLs
                prices.append((kind, await request_quote(context, path, body)))
        try:
            Reservation(context.budgets).check_room(prices)
        except BudgetExceeded as error:
            if not error.pending:  # else paid calls in flight may make room, and a start waits
                raise


def _step_key(key: Any, step: str) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not key.strip():
        raise InvalidInput("key must be non-blank text.", field="key")
    return f"{key}/{step}"


def _checked_duration(seconds: float) -> int:
    """Return the duration of a lip sync for a video of this length. Raises `InvalidInput`."""
    if seconds > MAX_LIP_SYNC_SECONDS + _TOLERANCE:
        raise InvalidInput(
            f"The video is {seconds:.0f} s long, and the service makes at most "
            f"{MAX_LIP_SYNC_SECONDS} s speak at a time. Cut it, or pass duration=20 for the "
            "beginning alone; dubbing alone makes the sound of longer videos.",
            field="duration",
        )
    return min(max(1, math.ceil(seconds)), MAX_LIP_SYNC_SECONDS)


async def _local_length(source: MediaInput) -> float | None:
    """Return the length of a local MP4 file in seconds; None if it is not known."""
    if not isinstance(source, str | os.PathLike) or is_url(str(source)):
        return None
    return await asyncio.to_thread(_mp4_file_seconds, Path(source))


def _mp4_file_seconds(path: Path) -> float | None:
    try:
        with path.open("rb") as file:

            def read_at(position: int, count: int) -> bytes:
                file.seek(position)
                return file.read(count)

            if read_at(4, 4) != b"ftyp":
                return None
            return mp4_seconds(read_at, path.stat().st_size)
    except (OSError, ValueError):
        return None  # the check of the input reports it
