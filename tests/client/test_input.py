"""Invalid input raises before anything is charged or sent."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from a2e_async import A2E
from a2e_async.errors import InvalidInput, NotFound
from a2e_async.models import Output
from a2e_async.sandbox import Sandbox, media

from .conftest import DUB, MOVE, TALK, nothing_charged


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Return local media that must all be refused."""
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.png").write_text("this is no picture")
    (tmp_path / "dir.wav").mkdir()
    huge = tmp_path / "huge.wav"
    huge.write_bytes(media.speech().read_bytes())
    os.truncate(huge, 6 * 1024**3)  # sparse
    return {
        "directory": tmp_path / "dir.wav",
        "missing": tmp_path / "none.wav",
        "missing str": str(tmp_path / "none.wav"),
        "empty": tmp_path / "empty.wav",
        "text": tmp_path / "text.png",
        "huge": huge,
        "image for audio": media.portrait(),
        "no bytes": b"",
        "text bytes": b"hello",
        "image bytes": media.portrait().read_bytes(),
        "blank": " ",
        "ftp": "ftp://x.example/a.wav",
        "data": "data:audio/wav;base64,AAAA",
        "file url": "file:///etc/passwd",
        "no host": "https://",
        "credentials": "https://u:p@x.example/a.wav",
        "line break": "https://x.example/a\nb.wav",
        "NUL": "a\0b.wav",
        "number": 7,
        "list": [DUB["source_url"]],
        "None": None,
        "foreign output": Output(url="nonsense"),
    }


BAD_FILES = [
    *("directory", "missing", "missing str", "empty", "text", "huge", "image for audio"),
    *("no bytes", "text bytes", "image bytes", "blank", "ftp", "data", "file url", "no host"),
    *("credentials", "line break", "NUL", "number", "list", "None", "foreign output"),
]


@pytest.mark.parametrize("what", BAD_FILES)
async def test_bad_medium(a2e: A2E, sandbox: Sandbox, files: dict[str, Any], what: str) -> None:
    """An unusable medium raises InvalidInput naming the field; nothing is sent."""
    with pytest.raises(InvalidInput) as caught:
        await a2e.dubbing.start(source_url=files[what], target_lang="es", key="k")
    assert caught.value.field == "source_url"
    assert sandbox.calls_total == 0
    # The key stays free.
    await a2e.dubbing.start(**DUB, key="k")


async def test_one_bad_of_two(a2e: A2E, sandbox: Sandbox, tmp_path: Path) -> None:
    """When the second medium is bad the first is not uploaded."""
    with pytest.raises(InvalidInput) as caught:
        await a2e.talking_video.start(
            video_url=media.clip(),
            audio_url=tmp_path / "none.wav",
            prompt="a",
            negative_prompt="b",
        )
    assert caught.value.field == "audio_url"
    assert nothing_charged(sandbox)


PAST = datetime.now(UTC) - timedelta(days=1)
SOUND = Output(url="https://r.example/a.wav?Signature=1", media="audio")
PICTURE = Output(url="https://r.example/a.png?Signature=1", media="image")
GONE = Output(url="https://r.example/b", media="image", expires_at=PAST)


@pytest.mark.parametrize(
    ("kind", "inputs", "field"),
    [
        ("image_to_video", {**MOVE, "image_url": SOUND}, "image_url"),
        ("image_to_video", {**MOVE, "image_url": GONE}, "image_url"),
        ("dubbing", {**DUB, "source_url": PICTURE}, "source_url"),
        ("nano_banana", {"prompt": "a", "input_images": [PICTURE, SOUND]}, "input_images"),
        ("face_swap", {"video_url": SOUND, "face_url": PICTURE}, "video_url"),
    ],
)
async def test_an_output_of_no_use(
    a2e: A2E, sandbox: Sandbox, kind: str, inputs: dict[str, Any], field: str
) -> None:
    """Media of the wrong type or with an expired URL are refused without a charge."""
    with pytest.raises(InvalidInput) as caught:
        await a2e.kind(kind).start(**inputs)
    assert caught.value.field == field
    assert sandbox.calls_total == 0


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("image_to_video", {**MOVE, "image_url": Output(url="https://r.example/a")}),
        ("image_to_video", {**MOVE, "image_url": Output(url=PICTURE.url, media="video")}),
        ("face_swap", {"video_url": PICTURE, "face_url": PICTURE}),
        (
            "face_swap",
            {"video_url": Output(url="https://r.example/a", media="video"), "face_url": PICTURE},
        ),
        ("wan30", {"model": "wan3.0-video", "mode": "reference", "file_url": PICTURE}),
    ],
)
async def test_an_output_that_may_do(a2e: A2E, kind: str, inputs: dict[str, Any]) -> None:
    """Unknown file types pass, as do results with an unexpected file name."""
    assert (await a2e.kind(kind).start(**inputs)).ref


async def test_the_last_minute_of_an_output(a2e: A2E) -> None:
    """An output whose URL is still valid is sent even if it cannot be renewed."""
    soon = datetime.now(UTC) + timedelta(seconds=30)
    last = Output(url="https://r.example/b", media="image", expires_at=soon)
    assert (await a2e.image_to_video.start(**{**MOVE, "image_url": last})).ref


async def test_an_output_of_a_deleted_task(a2e: A2E, sandbox: Sandbox) -> None:
    """The service's error on renewing a URL is raised; nothing else is sent."""
    made = await a2e.text_to_image.run(prompt="a")
    old = evolve(made.output, expires_at=PAST)
    await a2e.text_to_image.delete(made.id)
    with pytest.raises(NotFound):
        await a2e.image_to_video.start(**{**MOVE, "image_url": old})
    assert [charge.kind for charge in sandbox.ledger.charges] == ["text_to_image"]
    assert sandbox.calls["start", "image_to_video"] == 0


async def test_an_output_of_no_use_elsewhere(a2e: A2E, sandbox: Sandbox) -> None:
    """Calls that start no task check their inputs the same way."""
    for call in (
        a2e.backgrounds.add(SOUND),
        a2e.face_swap.save_face(GONE),
        a2e.legacy.watermark(SOUND, text="mine"),
        a2e.legacy.copy_to_storage(GONE),
    ):
        with pytest.raises(InvalidInput):
            await call
    assert sandbox.calls_total == 0


BAD_VALUES: list[tuple[str, dict[str, Any]]] = [
    ("dubbing", {}),
    ("dubbing", {"source_url": "https://x.example/a.wav"}),
    ("dubbing", {**DUB, "target_lang": ""}),
    ("dubbing", {**DUB, "target_lang": 5}),
    ("dubbing", {**DUB, "num_speakers": 0}),
    ("dubbing", {**DUB, "num_speakers": "2"}),
    ("dubbing", {**DUB, "num_speakers": True}),
    ("dubbing", {**DUB, "drop_background_audio": "yes"}),
    ("dubbing", {**DUB, "sourceUrl": "x"}),
    ("dubbing", {**DUB, "name": 7}),
    ("dubbing", {**DUB, "name": "x" * 201}),
    ("dubbing", {**DUB, "meta": {"x": object()}}),
    ("dubbing", {**DUB, "meta": [1]}),
    ("dubbing", {**DUB, "extra": {"target_lang": "fr"}}),
    ("dubbing", {**DUB, "extra": {"name": "x"}}),
    ("dubbing", {**DUB, "extra": {"x": float("nan")}}),
    ("dubbing", {**DUB, "extra": {"force_generate": True}}),
    ("dubbing", {**DUB, "extra": {"a": [{"skipMinorCheck": True}]}}),
    ("dubbing", {**DUB, "extra": {1: 2}}),
    ("talking_video", {**TALK, "duration": 21}),
    ("talking_video", {**TALK, "duration": 2.5}),
    ("talking_video", {**TALK, "prompt": " "}),
    ("talking_video", {**TALK, "prompt": "x" * 20_001}),
    ("talking_video", {k: v for k, v in TALK.items() if k != "negative_prompt"}),
    ("image_to_video", {**MOVE, "prompt": None}),
    ("image_to_video", {**MOVE, "video_time": 7}),
    ("image_to_video", {**MOVE, "video_time": 5, "video_length": 5}),
    ("image_to_video", {**MOVE, "number_of_images": 9}),
    ("image_to_video", {**MOVE, "number_of_images": 0}),
    ("image_to_video", {**MOVE, "model_type": "OTHER"}),
    ("image_to_video", {**MOVE, "model_type": "FLF2V"}),
    ("image_to_video", {**MOVE, "end_image_url": MOVE["image_url"]}),
]


@pytest.mark.parametrize("way", ["start", "run", "quote", "job"])
@pytest.mark.parametrize(("kind", "inputs"), BAD_VALUES)
async def test_bad_value(
    a2e: A2E, sandbox: Sandbox, kind: str, inputs: dict[str, Any], way: str
) -> None:
    """Every invalid value is refused locally, by every method that takes inputs."""

    async def call() -> None:
        made = getattr(a2e.kind(kind), way)(**inputs)
        if way != "job":
            await made

    with pytest.raises(InvalidInput):
        await call()
    assert sandbox.calls_total == 0


async def test_positional(a2e: A2E, sandbox: Sandbox) -> None:
    """Positional inputs are refused."""
    with pytest.raises(InvalidInput, match="by name"):
        await a2e.dubbing.start("https://x.example/a.wav", "es")  # type: ignore[misc]
    assert sandbox.calls_total == 0


CALLS: dict[str, Any] = {
    "get": lambda c: c.dubbing.get("a/b"),
    "get number": lambda c: c.dubbing.get(5),
    "delete": lambda c: c.dubbing.delete("../x"),
    "get_many": lambda c: c.talking_video.get_many(["a b"]),
    "get_many text": lambda c: c.talking_video.get_many("5f" * 12),
    "get_many of lists": lambda c: c.talking_video.get_many([["5f" * 12]]),
    "get_many none": lambda c: c.talking_video.get_many(None),
    "get_many number": lambda c: c.talking_video.get_many(5),
    "get_many mapping": lambda c: c.talking_video.get_many({"5f" * 12: 1}),
    "list page": lambda c: c.dubbing.list(page=0),
    "list size": lambda c: c.dubbing.list(page_size=101),
    "list text": lambda c: c.dubbing.list(page="1"),
    "iter size": lambda c: anext(c.dubbing.iter(page_size=0)),
    "iter text": lambda c: anext(c.dubbing.iter(page_size="x")),
    "history page": lambda c: c.credits.history(page=0),
    "history text": lambda c: c.credits.history(page="1"),
    "history huge": lambda c: c.credits.history(page=10**5000),
    "quote none": lambda c: c.credits.quote("/x", None),
    "quote text": lambda c: c.credits.quote("/x", "ab"),
    "quote path": lambda c: c.credits.quote(None, {}),
    "quote unsafe": lambda c: c.credits.quote("/x", {"a": {"force_generate": True}}),
    "quote set": lambda c: c.credits.quote("/x", {"a": {1}}),
    "history since": lambda c: c.credits.history(since="2026-01-01"),
    "mark": lambda c: c.image_to_video.mark_shared("a/b"),
    "download number": lambda c: c.files.download(5, "out"),
    "download path": lambda c: c.files.download("out.mp4", "out"),
    "download nowhere": lambda c: c.files.download("https://x.example/a.mp4", None),
    "download blank": lambda c: c.files.download("https://x.example/a.mp4", ""),
    "upload number": lambda c: c.files.upload(5),
    "upload type": lambda c: c.files.upload(media.portrait(), media=["audio", "video"]),
    "upload media": lambda c: c.files.upload(media.portrait(), media="image"),
    "max_length": lambda c: c.image_to_video.extend_prompt(
        reference_id="r", image_url=media.portrait(), prompt="a", negative_prompt="b", max_length=0
    ),
    "max_length text": lambda c: c.image_to_video.extend_prompt(
        reference_id="r",
        image_url=media.portrait(),
        prompt="a",
        negative_prompt="b",
        max_length="5",
    ),
    "extension end": lambda c: c.image_to_video.extend_prompt(
        reference_id="r",
        image_url=media.portrait(),
        end_image_url=media.speech(),
        prompt="a",
        negative_prompt="b",
    ),
    "extension no image": lambda c: c.image_to_video.extend_prompt(
        reference_id="r", image_url=5, prompt="a", negative_prompt="b"
    ),
    "extension image": lambda c: c.image_to_video.extend_prompt(
        reference_id="r", image_url=media.speech(), prompt="a", negative_prompt="b"
    ),
}


@pytest.mark.parametrize("call", CALLS)
async def test_bad_call(a2e: A2E, sandbox: Sandbox, call: str) -> None:
    """Invalid arguments of free calls raise InvalidInput as well, and nothing is sent."""
    with pytest.raises(InvalidInput):
        await CALLS[call](a2e)
    assert sandbox.calls_total == 0


@pytest.mark.parametrize("directory", [5, None, "", b""])
async def test_bad_directory(a2e: A2E, sandbox: Sandbox, directory: Any) -> None:
    """An invalid directory is refused before the task is awaited."""
    task = await a2e.dubbing.start(**DUB)
    calls = sandbox.calls_total
    with pytest.raises(InvalidInput, match="directory"):
        await task.download(directory)
    assert sandbox.calls_total == calls
