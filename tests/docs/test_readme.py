"""Every Python block of the README and of docs/ runs, against the sandbox."""

import asyncio
import re
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.sandbox import Sandbox, media

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks() -> Iterator[Any]:
    """Yield each Python block with its page and number."""
    for page in PAGES:
        for number, code in enumerate(
            re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        ):
            yield pytest.param(code, id=f"{page.stem}-{number}")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that holds the files the examples name."""
    for name, source in (
        ("talk.wav", media.speech()),
        ("speech.wav", media.speech()),
        ("portrait.png", media.portrait()),
        ("clip.mp4", media.clip()),
    ):
        shutil.copy(source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_whole(code: str) -> None:
    """Run a block that is a program of its own."""
    exec(compile(code, "block", "exec"), {"__name__": "__main__"})


async def run_inside(code: str, sandbox: Sandbox) -> None:
    """Run a block as the inside of a program that has a client and a task."""
    async with A2E(sandbox.api_key, base_url=sandbox.base_url, poll_interval=0.1) as a2e:
        task = await a2e.talking_video.start(
            video_url="clip.mp4", prompt="smile", negative_prompt="blurry"
        )
        await task
        known = "talking_video:68c3e20ad54b2f0047dd3c4c"
        body = "async def block():\n" + textwrap.indent(code.replace(known, task.ref), "    ")
        names = {"a2e": a2e, "asyncio": asyncio, "task": task, "A2E": A2E}
        exec(compile(body, "block", "exec"), names)
        await names["block"]()  # type: ignore[operator]  # made by the line above


@pytest.mark.parametrize("code", list(blocks()))
def test_block_runs(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block of the documentation does what it says, as it stands there."""
    with Sandbox(speed=600) as sandbox:
        monkeypatch.setenv("A2E_API_KEY", sandbox.api_key)
        monkeypatch.setenv("A2E_BASE_URL", sandbox.base_url)
        if "asyncio.run(" in code:
            run_whole(code)
        else:
            asyncio.run(run_inside(code, sandbox))


def test_the_two_commands_are_there() -> None:
    """The README names the command that runs the main job and the one that runs the tests."""
    text = (ROOT / "README.md").read_text()
    for name in ("demo", "tests"):
        block = re.search(rf"<!-- {name} -->\n```sh\n(.+?)\n```\n<!-- /{name} -->", text, re.DOTALL)
        assert block is not None
        assert "\n" not in block[1]
