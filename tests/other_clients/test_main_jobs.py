"""Clients that share nothing with this package, against the sandbox as it is by default.

Each of the five is written the way independent programs call the service: their requests, headers
and reading of responses. What they rely on is the usual behaviour, so every job must succeed.
"""

import asyncio
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from a2e_async.sandbox import Sandbox, media

from . import image_to_video, speech_to_avatar, text_to_image, twin_training, upload

JOBS = 30
PAUSE = 0.01


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(speed=20_000, make_results="stdlib") as running:
        yield running
        assert running.leaks == ()
        assert all(charge.refunded == 0 for charge in running.ledger.charges)


def test_text_to_image(sandbox: Sandbox) -> None:
    prompts = [f"a lake at dawn, number {number}" for number in range(JOBS)]
    images = text_to_image.run(sandbox.base_url, sandbox.api_key, prompts, PAUSE)
    assert len(set(images)) == JOBS
    assert all(image.startswith(b"\x89PNG\r\n") for image in images)
    assert len(sandbox.ledger.starts("text_to_image")) == JOBS


def test_image_to_video(sandbox: Sandbox) -> None:
    pictures = [f"https://media.example/{number}.png" for number in range(JOBS)]
    videos = asyncio.run(image_to_video.run(sandbox.base_url, sandbox.api_key, pictures, PAUSE))
    assert len(videos) == JOBS
    assert all(video[4:8] == b"ftyp" for video in videos)
    assert {charge.body["video_time"] for charge in sandbox.ledger.starts("image_to_video")} == {5}
    assert len(sandbox.ledger.starts("image_to_video")) == JOBS


def test_speech_to_avatar_video(sandbox: Sandbox) -> None:
    texts = [f"Welcome to part {number} of our tour." for number in range(JOBS)]
    videos = asyncio.run(speech_to_avatar.run(sandbox.base_url, sandbox.api_key, texts, PAUSE))
    assert len(videos) == JOBS
    assert all(video[4:8] == b"ftyp" for video in videos)
    kinds = [charge.kind for charge in sandbox.ledger.charges]
    assert (kinds.count("speech"), kinds.count("avatar_video")) == (JOBS, JOBS)


def test_twin_training(sandbox: Sandbox) -> None:
    pictures = [f"https://media.example/face-{number}.png" for number in range(JOBS)]
    anchors = twin_training.run(sandbox.base_url, sandbox.api_key, pictures, PAUSE)
    assert all(shown == found for shown, found in anchors)
    assert len(set(anchors)) == JOBS
    assert len(sandbox.ledger.starts("video_twin")) == JOBS


def test_upload(sandbox: Sandbox) -> None:
    files = [media.portrait().read_bytes() + bytes([number]) for number in range(JOBS)]
    urls = upload.run(sandbox.base_url, sandbox.api_key, files, "image/png", ".png")
    stored = []
    for url in urls:
        with urllib.request.urlopen(url, timeout=60) as answer:
            stored.append(answer.read())
    assert stored == files
    assert sandbox.transfers["upload"] == JOBS


def test_the_clients_do_not_use_this_package() -> None:
    modules = [text_to_image, image_to_video, speech_to_avatar, twin_training, upload]
    for module in modules:
        assert "a2e_async" not in Path(str(module.__file__)).read_text("utf-8")
