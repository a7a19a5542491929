"""Common chains: each in at most five lines, without a poll, a copy or a wasted coin."""

import ast
import inspect
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.sandbox import Sandbox, check_media, media

from .conftest import paid

FACE = media.portrait()
COAT = "https://media.example/coat.png"
ME = media.clip()
WORDS = "Good morning."

Recipe = Callable[[A2E, Path], Awaitable[Path]]


async def speech_to_avatar_video(a2e: A2E, directory: Path) -> Path:
    voice = (await a2e.voices.public(country="en", region="US"))[0]
    avatar = next(one for one in await a2e.avatars.list() if one.anchor_type == 0)
    audio = await a2e.speech.say(WORDS, tts_id=voice.id)
    video = await a2e.avatar_video.run(anchor_id=avatar.id, anchor_type=0, audio_src=audio)
    return await video.output.save(directory)


async def text_to_image_to_video(a2e: A2E, directory: Path) -> Path:
    picture = await a2e.text_to_image.run(prompt="a fox in the snow")
    video = await a2e.image_to_video.run(
        image_url=picture.output, prompt="it runs", negative_prompt="blurry"
    )
    return await video.output.save(directory)


async def image_edit_to_video(a2e: A2E, directory: Path) -> Path:
    dressed = await a2e.image_edit.run(edit_type="clothing", image_urls=[FACE, COAT])
    video = await a2e.image_to_video.run(
        image_url=dressed.output, prompt="she turns", negative_prompt="blurry"
    )
    return await video.output.save(directory)


async def twin_to_avatar_video(a2e: A2E, directory: Path) -> Path:
    twin = await a2e.video_twin.run(video_url=ME, name="me")
    audio = await a2e.speech.say(WORDS, tts_id=(await a2e.voices.public())[0].id)
    video = await a2e.avatar_video.run(anchor_id=twin.anchor_id, anchor_type=1, audio_src=audio)
    return await video.output.save(directory)


RECIPES: list[tuple[Recipe, list[tuple[str, dict[str, Any]]]]] = [
    (speech_to_avatar_video, [("avatar_video", {"anchor_type": 0})]),
    (text_to_image_to_video, [("text_to_image", {}), ("image_to_video", {})]),
    (image_edit_to_video, [("image_edit", {}), ("image_to_video", {})]),
    (twin_to_avatar_video, [("video_twin", {"name": "me"}), ("avatar_video", {"anchor_type": 1})]),
]
"""Each recipe with the tasks that it starts and some of their inputs."""


@pytest.fixture
def sandbox_options() -> dict[str, Any]:
    kinds = ("avatar_video", "text_to_image", "image_to_video", "image_edit", "video_twin")
    return {"durations": dict.fromkeys(kinds, 60.0)}


@pytest.mark.parametrize(("recipe", "tasks"), RECIPES, ids=[r.__name__ for r, _ in RECIPES])
async def test_recipe(
    a2e: A2E, sandbox: Sandbox, tmp_path: Path, recipe: Recipe, tasks: list[tuple[str, Any]]
) -> None:
    """It ends with a video on disk; each step is charged once and uses the previous result."""
    path = await recipe(a2e, tmp_path)
    assert path.parent == tmp_path
    assert path.suffix == ".mp4"
    assert check_media(path).ok
    starts = paid(sandbox)
    assert [charge.kind for charge in starts] == [kind for kind, _ in tasks]
    for charge, (_, some) in zip(starts, tasks, strict=True):
        assert {name: charge.body[name] for name in some} == some
    speeches = [charge for charge in sandbox.ledger.charges if charge.kind == "speech"]
    assert [charge.body["msg"] for charge in speeches] == [WORDS] * ("audioSrc" in starts[-1].body)
    assert sandbox.transfers["result"] == 1  # nothing is fetched but what is saved
    assert a2e.unclaimed() == ()
    assert a2e.unknown() == ()


async def test_steps_work_on_one_another(a2e: A2E, sandbox: Sandbox, tmp_path: Path) -> None:
    """The result of a step is the input of the next one: a URL of the service, or an id."""
    await text_to_image_to_video(a2e, tmp_path)
    made = await a2e.text_to_image.get(paid(sandbox)[0].ids[0])
    given = paid(sandbox)[1].body["image_url"]
    assert given.partition("?")[0] == made.output.url.partition("?")[0]
    await twin_to_avatar_video(a2e, tmp_path)
    twin = await a2e.video_twin.get(paid(sandbox)[2].ids[0])
    assert paid(sandbox)[3].body["anchor_id"] == twin.anchor_id
    assert paid(sandbox)[3].body["audioSrc"].startswith(sandbox.storage_url)


@pytest.mark.parametrize("recipe", [r for r, _ in RECIPES])
def test_five_lines(recipe: Recipe) -> None:
    """Not more is needed."""
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(recipe))).body
    assert isinstance(function, ast.AsyncFunctionDef)
    last = function.body[-1].end_lineno
    assert last is not None
    assert last - function.lineno <= 5
