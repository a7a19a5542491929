"""The kinds that make videos: what each takes, sends and gives."""

import asyncio
from typing import Any, Literal

import pytest

from a2e_async import A2E
from a2e_async._core.schema.inputs import TaskInput
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.parsing import read_record
from a2e_async.errors import DecodeError, InvalidInput, InvalidRequest, NotFound, TaskTimeout
from a2e_async.kinds.registry import kind_named
from a2e_async.models import Status
from a2e_async.sandbox import Sandbox, media
from tests.samples import CLIP as VIDEO
from tests.samples import FACE as PICTURE
from tests.samples import OTHER
from tests.samples import TALK as SOUND

from .conftest import assert_no_secrets, nothing_charged, until
from .video_inputs import FIT, FITS, REFUSED


def given(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of a start, with a prompt unless they say otherwise."""
    model = {"model": "wan3.0-video"} if name == "wan30" else {}
    return {"prompt": "a fox in the snow", **model, **inputs}


def wire(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the body that these inputs become."""
    cls: Any = kind_named(name).input
    made: TaskInput = cls(**given(name, inputs))
    return made.to_wire({(f.name, place): str(value) for f, place, value in made.media()})


@pytest.mark.parametrize(("name", "inputs", "field"), REFUSED)
async def test_refused(
    a2e: A2E, sandbox: Sandbox, name: str, inputs: dict[str, Any], field: str
) -> None:
    """Inputs that the service's notes rule out raise InvalidInput; nothing is sent."""
    with pytest.raises(InvalidInput) as caught:
        await getattr(a2e, name).start(**given(name, inputs))
    assert caught.value.field == field
    assert nothing_charged(sandbox)


@pytest.mark.parametrize(("name", "inputs"), FIT)
async def test_fits(a2e: A2E, sandbox: Sandbox, name: str, inputs: dict[str, Any]) -> None:
    """Allowed inputs are accepted and sent under the service's names."""
    job = getattr(a2e, name).job(**given(name, inputs), key="k")
    assert job.key == "k"
    body = wire(name, inputs)
    assert None not in body.values()
    assert nothing_charged(sandbox)
    if "wan9.9" not in body.values() and body.get("model_version") != "3.0":
        await getattr(a2e, name).start(**given(name, inputs))
        (charge,) = sandbox.ledger.starts()
        assert charge.kind == name
        assert {key: charge.body[key] for key in body} == body


async def test_a_negative_prompt_is_not_required(a2e: A2E, sandbox: Sandbox) -> None:
    """Whether the service requires it is contradictory: it decides."""
    record = await a2e.image_to_video.run(image_url=PICTURE, prompt="wave")
    assert record.output
    (charge,) = sandbox.ledger.starts()
    assert "negative_prompt" not in charge.body


def test_an_unknown_mode_is_left_to_the_service(a2e: A2E) -> None:
    """MiniMax H3 makes videos from references too; how that mode is named is unknown."""
    extra = {"reference_urls": [PICTURE]}
    assert a2e.minimax_h3.job(mode="reference-to-video", extra=extra).input.extra == extra
    assert a2e.minimax_h3.job(mode="reference-to-video", prompt="a fox", first_frame_url=PICTURE)


async def test_media_are_uploaded(a2e: A2E, sandbox: Sandbox) -> None:
    """Local files and Outputs work wherever URLs do, in lists as well."""
    made = await a2e.sora.run(image_urls=[media.portrait()], prompt="wave")
    await a2e.happyhorse.start(
        mode="video-edit",
        prompt="at night",
        edit_video_url=made.output,
        reference_image_urls=[media.portrait(), PICTURE],
    )
    first, second = sandbox.ledger.starts()
    portrait = first.body["image_urls"][0]
    assert portrait.startswith(sandbox.base_url.rsplit(":", 1)[0])
    assert second.body["reference_image_urls"] == [portrait, PICTURE]
    assert second.body["edit_video_url"] == made.output.url


# -- on the wire -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "inputs", "body"),
    [
        ("wan", FITS["wan"][0], {"duration": "10"}),
        ("happyhorse", FITS["happyhorse"][0], {"duration": "15"}),
        ("seedance", {"duration": 10}, {"duration": "10"}),
        ("seedance2", {"duration": 10}, {"duration": 10}),
        ("grok_video", {"duration": 15}, {"duration": "15"}),
        ("kling_video", FITS["kling_video"][0], {"duration": "10"}),
        ("kling_omni", {"duration": 10}, {"duration": "10"}),
        ("sora", FITS["sora"][1], {"duration_seconds": "15"}),
        (
            "veo",
            {
                "generation_type": "REFERENCE_2_VIDEO",
                "image_urls": [PICTURE],
                "aspect_ratio": "16:9",
            },
            {
                "generationType": "REFERENCE_2_VIDEO",
                "imageUrls": [PICTURE],
                "aspectRatio": "16:9",
            },
        ),
    ],
)
def test_wire(name: str, inputs: dict[str, Any], body: dict[str, Any]) -> None:
    """Durations are strings where the service expects strings; Veo's names are camel case."""
    sent = wire(name, inputs)
    assert {key: sent.get(key) for key in body} == body
    if name == "veo":
        assert sent.keys() == {"prompt", *body}


def test_wan30_nests() -> None:
    """Wan 3.0 nests its settings; its media are one list in order."""
    assert wire("wan30", {}) == {
        "model": "wan3.0-video",
        "input": {"prompt": "a fox in the snow"},
        "parameters": {},
    }
    assert wire(
        "wan30",
        {
            "mode": "reference",
            "reference_image_urls": [PICTURE, OTHER],
            "reference_video_urls": [VIDEO],
            "reference_video_seconds": [4],
            "reference_audio_urls": [SOUND],
            "link_url": "https://page.example/",
            "resolution": "1080P",
            "ratio": "adaptive",
            "duration": 5,
            "audio": True,
            "prompt_extend": False,
            "seed": 0,
            "watermark": False,
            "extra": {"newer": 1},
        },
    ) == {
        "model": "wan3.0-video",
        "mode": "reference",
        "input": {
            "prompt": "a fox in the snow",
            "media": [
                {"type": "reference_image", "url": PICTURE},
                {"type": "reference_image", "url": OTHER},
                {"type": "reference_video", "url": VIDEO, "duration": 4},
                {"type": "reference_audio", "url": SOUND},
                {"type": "link", "url": "https://page.example/"},
            ],
        },
        "parameters": {
            "resolution": "1080P",
            "ratio": "adaptive",
            "duration": 5,
            "audio": True,
            "prompt_extend": False,
            "seed": 0,
            "watermark": False,
        },
        "newer": 1,
    }
    mine = {"prompt": "x", "media": [{"type": "newer", "url": PICTURE}]}
    assert wire("wan30", {"extra": {"input": mine}})["input"] == mine


# -- oddities ----------------------------------------------------------------------------------


async def test_wan30_can_only_be_started(a2e: A2E, sandbox: Sandbox) -> None:
    """Its media are uploaded, too; what would need another operation is refused, unspent."""
    with pytest.raises(InvalidInput, match="cannot wait for it"):
        await a2e.wan30.run(model="wan3.0-video", prompt="a fox")
    assert nothing_charged(sandbox)
    task = await a2e.wan30.start(
        model="wan3.0-video-prime", mode="first-frame", first_frame_url=media.portrait()
    )
    (charge,) = sandbox.ledger.starts()
    (item,) = charge.body["input"]["media"]
    assert item["type"] == "first_frame"
    assert item["url"].startswith("http")
    assert charge.body["name"].startswith("a2e-")
    assert task.ref == f"wan30:{charge.ids[0]}"
    with pytest.raises(InvalidInput, match="cannot wait for it"):
        await task.wait()
    for refused in (a2e.wan30.list(), a2e.wan30.get(task.ids[0]), a2e.wan30.delete(task.ids[0])):
        with pytest.raises(InvalidInput):
            await refused


async def test_seedance_is_read_from_its_list(a2e: A2E, sandbox: Sandbox) -> None:
    """Seedance 1.5 has a start and a list, and nothing else is called."""
    tasks = [await a2e.seedance.start(prompt=f"fox {n}") for n in range(3)]
    records = await asyncio.gather(*(task.wait(timeout=30) for task in tasks))
    assert [record.id for record in records] == [task.ids[0] for task in tasks]
    roles = {role for role, kind in sandbox.calls if kind == "seedance"}
    assert roles == {"start", "list"}
    with pytest.raises(NotFound):
        await a2e.seedance.get("a" * 24)
    with pytest.raises(InvalidInput, match="delete"):
        await a2e.seedance.delete(tasks[0].ids[0])


@pytest.mark.parametrize(
    ("said", "read"),
    [("5", 5.0), (" 7.5 ", 7.5), (10, 10.0), ("auto", None), ("nan", None), ("", None)],
)
@pytest.mark.parametrize(
    "name",
    ["wan", "happyhorse", "seedance", "grok_video", "kling_video", "kling_omni", "sora"],
)
def test_lengths_are_numbers(name: str, said: object, read: float | None) -> None:
    """Durations sent as strings become numbers; other values are kept unchanged."""
    field = "duration_seconds" if name == "sora" else "duration"
    record = read_record(kind_named(name), {"_id": "a" * 24, field: said})
    assert getattr(record, field) == read
    assert (field in record.extra) == (read is None)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"state": "waiting"}, Status.QUEUED),
        ({"state": "running"}, Status.RUNNING),
        ({"state": "success"}, Status.SUCCEEDED),
        ({"current_status": "completed"}, Status.SUCCEEDED),
        ({"state": "fail", "fail_reason": "no", "failed_code": "7"}, Status.FAILED),
        ({"state": "failed", "failed_message": "no", "failed_code": 7}, Status.FAILED),
        ({"state": "", "current_status": "pendding"}, Status.QUEUED),
    ],
)
def test_words_of_veo(said: dict[str, Any], status: Status) -> None:
    """Veo has its own status words, under one of two field names."""
    kind: TaskKind[..., Any] = kind_named("veo")
    record = read_record(kind, {"_id": "a" * 24, "video_output": VIDEO, **said})
    assert record.status is status
    assert record.output.url == VIDEO
    if status is Status.FAILED:
        assert (record.failure.message, record.failure.code) == ("no", "7")


WIDE: dict[str, Any] = {"prompt": "a fox", "aspect_ratio": "16:9"}


@pytest.mark.parametrize("name", ["seedance2", "kling_video", "kling_omni"])
async def test_rename(a2e: A2E, name: str) -> None:
    """A task of these kinds can be renamed."""
    namespace = getattr(a2e, name)
    task = await namespace.start(**given(name, FITS[name][0]), name="before")
    await namespace.rename(task.ids[0], "after")
    assert (await namespace.get(task.ids[0])).name == "after"


@pytest.mark.parametrize("sandbox_options", [{"durations": {"veo": 1.0}}], ids=["quick"])
async def test_1080p(a2e: A2E, sandbox: Sandbox) -> None:
    """The 1080p file is ready after the task's end, free of charge."""
    record = await a2e.veo.run(**WIDE)
    larger = await a2e.veo.wait_1080p(record.id)
    assert larger.media == "video"
    assert larger.url != record.output.url
    assert len(await larger.read()) > 1000
    assert len(sandbox.ledger.charges) == 1


@pytest.mark.parametrize(
    "sandbox_options", [{"durations": {"veo": 3600.0}, "speed": 1}], ids=["slow"]
)
async def test_1080p_not_yet(a2e: A2E, sandbox: Sandbox) -> None:
    """Until then it is None; a wait ends with TaskTimeout and can be repeated."""
    task = await a2e.veo.start(**WIDE)
    assert await a2e.veo.get_1080p(task.ids[0]) is None
    with pytest.raises(TaskTimeout) as caught:
        await a2e.veo.wait_1080p(task.ids[0], timeout=0)
    assert caught.value.ref == task.ref
    waiting = asyncio.create_task(a2e.veo.wait_1080p(task.ids[0], timeout=60))
    await until(lambda: sandbox.calls["query", "veo"] >= 3)
    assert not waiting.done()
    sandbox.advance(3700)
    assert (await waiting).url


@pytest.mark.parametrize("shape", ["list", "nested"])
async def test_1080p_in_another_shape(
    a2e: A2E, sandbox: Sandbox, shape: Literal["list", "nested"]
) -> None:
    """The file is found anywhere in the response; a response without one is a DecodeError."""
    record = await a2e.veo.run(**WIDE)
    plain = await a2e.veo.wait_1080p(record.id)
    sandbox.faults.data_shape(shape, role="query", kind="veo")
    assert await a2e.veo.get_1080p(record.id) == plain
    sandbox.faults.data_shape("text", role="query", kind="veo")
    with pytest.raises(DecodeError, match="has no URL") as caught:
        await a2e.veo.get_1080p(record.id)
    assert_no_secrets(caught.value)


async def test_1080p_refused(a2e: A2E, sandbox: Sandbox) -> None:
    """Other shapes have no 1080p file; bad ids and times are refused here."""
    task = await a2e.veo.start(prompt="a fox", aspect_ratio="9:16")
    with pytest.raises(InvalidRequest, match="16:9"):
        await a2e.veo.wait_1080p(task.ids[0])
    with pytest.raises(NotFound):
        await a2e.veo.get_1080p("a" * 24)
    calls_before = sandbox.calls_total
    with pytest.raises(InvalidInput) as caught:
        await a2e.veo.get_1080p("../x")
    assert caught.value.field == "id"
    for bad in (-1, True, float("nan")):
        with pytest.raises(InvalidInput) as caught:
            await a2e.veo.wait_1080p(task.ids[0], timeout=bad)
        assert caught.value.field == "timeout"
    assert sandbox.calls_total == calls_before
