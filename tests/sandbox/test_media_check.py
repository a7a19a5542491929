"""The media checks accept complete files and reject truncated ones, with and without PyAV."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from a2e_async.sandbox import media
from a2e_async.sandbox._core.media_check import check_media
from a2e_async.sandbox._core.media_structure import BrokenMedia, read_media_structure
from a2e_async.sandbox._core.results import samples

from .conftest import HOW, needs_av

FILES = {"speech": media.speech, "portrait": media.portrait, "clip": media.clip}


@pytest.mark.parametrize("name", FILES)
def test_sample_media_are_whole_and_small(name: str) -> None:
    path = FILES[name]()
    checked = check_media(path)
    assert checked.ok
    assert checked.how == HOW
    assert checked.kind == {"speech": "audio", "portrait": "image", "clip": "video"}[name]
    assert sum(make().stat().st_size for make in FILES.values()) <= 350_000


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_cut_files_are_found(name: str, share: float, tmp_path: Path) -> None:
    data = FILES[name]().read_bytes()
    path = tmp_path / "cut"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BrokenMedia):
        read_media_structure(path)
    checked = check_media(path)
    assert not checked.ok
    assert checked.detail


@needs_av
def test_mp3_is_walked_frame_by_frame(tmp_path: Path) -> None:
    from a2e_async.sandbox._core.results import pyav_media

    path = tmp_path / "a.mp3"
    assert pyav_media.write_pitch_shifted(path, media.speech()) == "audio/mpeg"
    whole = read_media_structure(path)
    assert whole.seconds == pytest.approx(check_media(media.speech()).seconds, abs=0.1)
    data = path.read_bytes()
    path.write_bytes(data[:-20])
    with pytest.raises(BrokenMedia):
        read_media_structure(path)
    path.write_bytes(data[:5000] + b"\0" * 200 + data[5200:])
    with pytest.raises(BrokenMedia):
        read_media_structure(path)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for data in (b"", b"<html>", b"RIFF", b"\x89PNG\r\n\x1a\n", b"\0\0\0\x18ftyp"):
        path.write_bytes(data)
        assert not check_media(path).ok
    with pytest.raises(FileNotFoundError):
        check_media(tmp_path / "missing")


@needs_av
@pytest.mark.parametrize("seconds", [0.1, 1, 2.5, 20])
def test_a_clip_of_any_length_decodes_without_a_complaint(seconds: float, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    samples.write_clip(path, seconds, b"\0\0\0\0")
    checked = check_media(path)
    assert checked.ok
    assert checked.seconds == pytest.approx(seconds, rel=0.01)
    assert checked.detail == "30 video frames"


def test_files_of_different_tasks_differ(tmp_path: Path) -> None:
    seeds = (b"0000aaaa", b"0001aaaa", b"0000bbbb")
    for name, write in (
        ("a.png", samples.write_image),
        ("a.wav", partial(samples.write_speech, seconds=2)),
        ("a.mp4", partial(samples.write_clip, seconds=2)),
    ):
        files: set[bytes] = set()
        for seed in seeds:
            write(tmp_path / name, seed=seed)
            checked = check_media(tmp_path / name)
            assert checked.ok, checked
            assert checked.seconds in (None, pytest.approx(2, abs=0.01))
            files.add((tmp_path / name).read_bytes())
        assert len(files) >= 2


def test_without_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    for make in FILES.values():
        checked = check_media(make())
        assert (checked.ok, checked.how) == (True, "structure")
