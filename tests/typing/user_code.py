"""User code that type checkers must accept, with wrong calls that they must refuse.

Checked by mypy and pyright, never run. A line with an ignore is a call that must be refused:
both checkers report an ignore that is not needed.
"""

import asyncio
import io
import tempfile
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, assert_type

from aiohttp import BodyPartReader, web
from attrs import define
from starlette.datastructures import UploadFile

import a2e_async
from a2e_async import (
    A2E,
    BlockingA2E,
    BlockingTask,
    Job,
    Outcome,
    Output,
    Page,
    Record,
    RetryPolicy,
    Status,
    Task,
)
from a2e_async.errors import StartOutcomeUnknown, TaskFailed, TooBusy
from a2e_async.events import Attempt, Event
from a2e_async.kinds import (
    AcceptedMedia,
    DubbingRecord,
    Endpoint,
    ImageToVideoRecord,
    MediaInput,
    OutputField,
    TalkingVideoRecord,
    TaskInput,
    TaskKind,
    WireName,
)
from a2e_async.webhooks import WebhookReceiver


def on_event(event: Event) -> None:
    if isinstance(event, Attempt):
        print(event.path, event.duration)


def receivers(a2e: A2E) -> None:
    receiver = a2e.webhooks.app()
    assert_type(receiver, WebhookReceiver)
    app = web.Application()
    app.add_subapp("/a2e", a2e.webhooks.aiohttp_app())
    assert_type(a2e.webhooks.received + a2e.webhooks.refused, int)
    A2E(webhook_url="https://your-app.example/a2e")


async def good() -> None:
    async with A2E(rate=5, retry=RetryPolicy(max_elapsed=30), on_event=on_event) as a2e:
        task = await a2e.dubbing.start(source_url="talk.wav", target_lang="es", key="talk-17")
        assert_type(task, Task[DubbingRecord])
        assert_type(await task, DubbingRecord)
        record = await task.wait(timeout=1800)
        assert_type(record.duration, float | None)
        assert_type(record.status, Status)
        assert_type(record.output, Output)
        assert_type(await record.output.save(Path("talk.mp3")), Path)
        assert_type(await task.download("out/"), list[Path])
        async for update in task.updates():
            assert_type(update, DubbingRecord)
        async with record.output.open() as chunks:
            async for chunk in chunks:
                assert_type(chunk, bytes)

        moved = await a2e.image_to_video.run(
            image_url=Path("face.png"), prompt="wave", negative_prompt="blurry", video_time=10
        )
        assert_type(moved, ImageToVideoRecord)
        assert_type(moved.parts, tuple[ImageToVideoRecord, ...])
        assert_type(await a2e.image_to_video.avg_processing_time(), float | None)

        page = await a2e.talking_video.list(page=1, page_size=20)
        assert_type(page, Page[TalkingVideoRecord])
        async for one in a2e.talking_video.iter():
            assert_type(one, TalkingVideoRecord)
        assert_type(
            await a2e.talking_video.quote(video_url=moved.output, prompt="p", negative_prompt="n"),
            int | None,
        )
        await a2e.talking_video.start(video_url=b"...", prompt="p", negative_prompt="n", duration=5)
        assert_type((await a2e.credits.balance()).coins, int)
        assert_type(await a2e.files.upload("talk.wav"), str)
        typed = Job(a2e.dubbing.kind, {"source_url": "talk.wav", "target_lang": "es"}, key="t")
        assert_type(typed, Job[DubbingRecord])
        assert_type(a2e.dubbing.job(source_url="talk.wav", target_lang="es"), Job[DubbingRecord])
        assert_type(Job("dubbing", {}, "key", {"to": "es"}), Job[Record])
        async for outcome in a2e.batch([typed], limit=5, budget=500, dry_run=True):
            assert_type(outcome, Outcome[DubbingRecord])
            assert_type(outcome.record, DubbingRecord | None)
            if outcome.plan is not None:
                assert_type(outcome.plan.coins, int | None)
        quick = a2e.with_options(request_timeout=5)
        assert_type(quick, A2E)
        assert_type(a2e.for_caller("user-42", max_unfinished=3, max_wait=0), A2E)
        assert_type(await quick.dubbing.get("66ea4dd87db10c73fa29b570"), DubbingRecord)


async def uploads(
    a2e: A2E,
    form: UploadFile,
    field: web.FileField,
    part: BodyPartReader,
    body: asyncio.StreamReader,
    chunks: AsyncIterator[bytes],
    file: io.BufferedReader,
    member: zipfile.ZipExtFile,
    text: io.TextIOWrapper,
) -> None:
    for source in (file, member, io.BytesIO(), bytearray(), memoryview(b"")):
        await a2e.dubbing.start(source_url=source, target_lang="es")
    with tempfile.SpooledTemporaryFile() as spooled, tempfile.NamedTemporaryFile() as named:
        await a2e.dubbing.start(source_url=spooled, target_lang="es")
        await a2e.dubbing.start(source_url=named, target_lang="es")
        await a2e.files.upload(named)
    await a2e.dubbing.start(source_url=text, target_lang="es")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.dubbing.start(source_url=form, target_lang="es")
    await a2e.dubbing.start(source_url=field, target_lang="es")
    await a2e.dubbing.start(source_url=part, target_lang="es")
    await a2e.dubbing.start(source_url=body, target_lang="es")
    await a2e.dubbing.start(source_url=chunks, target_lang="es")


@define(kw_only=True)
class FilmInput(TaskInput):
    prompt: str
    first_frame: Annotated[MediaInput | None, WireName("image_url"), AcceptedMedia("image")] = None


@define(kw_only=True)
class FilmRecord(Record):
    prompt: str | None = None


UNTYPED = TaskKind(
    name="short_film",
    start=Endpoint("POST", "/api/v1/shortFilm/start"),
    outputs=(OutputField("result_url", "video"),),
    media={"image_urls": "image", "sound": ("audio", "video")},
)
TYPED = TaskKind(
    name="film",
    input=FilmInput,
    record=FilmRecord,
    start=Endpoint("POST", "/api/v1/film/start"),
    detail=Endpoint("GET", "/api/v1/film", id_parameter="film_id"),
)


async def own_kinds(a2e: A2E, blocking: BlockingA2E) -> None:
    A2E(kinds=[UNTYPED, TYPED])
    A2E(kinds=Path("kinds.toml"))
    assert_type(UNTYPED.record, type[Record])
    assert_type(await a2e.kind("short_film").run(prompt="x", image_urls=["a.png"]), Record)
    assert_type(await a2e.kind(UNTYPED).run(prompt="x", image_urls=["a.png"]), Record)
    assert_type(await a2e.kind(TYPED).start(prompt="x", first_frame=b"..."), Task[FilmRecord])
    assert_type(a2e.kind(TYPED).job(prompt="x"), Job[FilmRecord])
    assert_type(blocking.kind(TYPED).run(prompt="x"), FilmRecord)
    assert_type(Job(TYPED, FilmInput(prompt="x")), Job[FilmRecord])
    await a2e.kind(TYPED).start(prompt=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.kind(TYPED).start(first_frame="a.png")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def errors(a2e: A2E) -> None:
    try:
        await a2e.dubbing.run(source_url="talk.wav", target_lang="es")
    except TooBusy as busy:
        assert_type(busy.retry_after, float)
    except TaskFailed as error:
        print(error.record.failure)
    except StartOutcomeUnknown as error:
        print(error.recovery.to_dict())


async def refused(a2e: A2E) -> None:
    A2E(webhook_url=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    a2e.webhooks.app("/a2e")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.dubbing.start(target_lang="es")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.dubbing.start(source_url=1, target_lang="es")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.dubbing.start(source_url="a", target_lang="es", lang="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await a2e.image_to_video.run(image_url="a", video_time=7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await a2e.talking_video.quote(video_url="a", prompt="p")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    a2e.dubbing.job("talk.wav", "es")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    A2E(poll="fast")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def script() -> None:
    with a2e_async.blocking(journal="jobs.db", rate=5) as a2e:
        assert_type(a2e, BlockingA2E)
        assert_type(a2e.dubbing.run(source_url=b"...", target_lang="es"), DubbingRecord)
        task = a2e.dubbing.start(source_url="talk.wav", target_lang="es", key="talk-17")
        assert_type(task, BlockingTask[DubbingRecord])
        assert_type(task.wait(timeout=60).duration, float | None)
        for record in task.updates():
            assert_type(record, DubbingRecord)
        assert_type(task.download("out"), list[Path])
        assert_type(a2e.dubbing.list(page=2), Page[DubbingRecord])
        assert_type(a2e.files.download(task.wait().output, "talk.mp3"), Path)
        with a2e.files.open(task.wait().output) as chunks:
            assert_type(next(chunks), bytes)
        jobs = (a2e.dubbing.job(source_url=u, target_lang="fr") for u in ("a.wav", "b.wav"))
        for outcome in a2e.batch(jobs, limit=2):
            assert_type(outcome.unwrap(), DubbingRecord)
        for left in a2e.unfinished():
            print(left.ref, left.meta)
        assert_type(a2e.credits.balance().coins, int)
        assert_type(a2e.for_caller("user-42", max_unfinished=3), BlockingA2E)
        assert_type(a2e.with_options(request_timeout=5).attach("dubbing:x").ref, str)
        assert_type(a2e.veo.get_1080p("66ea4dd87db10c73fa29b570"), Output | None)
        speech = a2e.speech.say("Good morning.", tts_id="66ea4dd87db10c73fa29b570")
        assert_type(speech, Output)
        a2e.dubbing.run(source_url="talk.wav")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        a2e.dubbing.run(source_url="talk.wav", target_lang=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        a2e.voices.public(country=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    a2e_async.blocking(ratee=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
