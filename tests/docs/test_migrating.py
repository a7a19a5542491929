"""The hand-written loop on the migration page has the faults that the page describes."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from a2e_async import A2E
from a2e_async.sandbox import Sandbox

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/migrating.md"
INPUTS = {"prompt": "she turns", "negative_prompt": "blurry"}
FACE = "https://media.example/face.png"


async def no_sleep(seconds: float) -> None:
    """Replace the loop's pauses."""


async def by_hand(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the names of the page's first block."""
    monkeypatch.setenv("A2E_API_KEY", sandbox.api_key)
    monkeypatch.setenv("A2E_BASE_URL", sandbox.base_url)
    block = re.search(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {}
    exec(compile(block[1], "block", "exec"), names)
    names["asyncio"] = SimpleNamespace(sleep=no_sleep)  # the sandbox sleeps as ever
    return names


async def test_it_pays_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lost answers: three charges by hand, one here."""
    async with Sandbox(speed=600) as sandbox:
        names = await by_hand(sandbox, monkeypatch)
        sandbox.faults.drop_after_accept("image_to_video", times=2)
        async with aiohttp.ClientSession(headers=names["HEAD"]) as http:
            assert await names["start"](http, {"image_url": FACE, **INPUTS})
        assert len(sandbox.ledger.starts()) == 3
        sandbox.faults.drop_after_accept("image_to_video")
        async with A2E(sandbox.api_key, base_url=sandbox.base_url) as a2e:
            assert await a2e.image_to_video.start(image_url=FACE, **INPUTS)
        assert len(sandbox.ledger.starts()) == 4


async def test_it_reads_the_wrong_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind's state is in current_status: the task is over, and the loop never sees it."""
    async with Sandbox(speed=1e6) as sandbox:
        names = await by_hand(sandbox, monkeypatch)
        async with aiohttp.ClientSession(headers=names["HEAD"]) as http:
            id = await names["start"](http, {"image_url": FACE, **INPUTS})
            with pytest.raises((KeyError, TimeoutError)):
                await names["wait"](http, id)
