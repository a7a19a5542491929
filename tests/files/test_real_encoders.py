"""Files as FFmpeg's encoders and muxers write them: recordings, exports, screen captures."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from a2e_async._core.files.local_file import prepare_upload
from a2e_async.errors import InvalidInput
from a2e_async.models import MediaType

av = pytest.importorskip("av", reason="needs the extra sandbox")
pytestmark = pytest.mark.anyio

SOUND: Mapping[str, tuple[str, str]] = {
    "voice.wav": ("wav", "pcm_s16le"),
    "voice.mp3": ("mp3", "libmp3lame"),
    "voice.m4a": ("ipod", "aac"),
    "memo.m4a": ("ipod", "alac"),
    "voice.aac": ("adts", "aac"),
    "voice.flac": ("flac", "flac"),
    "telegram.ogg": ("ogg", "libopus"),
    "voice.opus": ("opus", "libopus"),
    "android.3gp": ("3gp", "aac"),
    "iphone.mov": ("mov", "aac"),
    "sound.mp4": ("mp4", "aac"),
    "chrome.webm": ("webm", "libopus"),
    "sound.mkv": ("matroska", "libopus"),
    "studio.aiff": ("aiff", "pcm_s16be"),
}
"""Container and encoder of files that have sound only."""

VIDEO: Mapping[str, tuple[str, str, str]] = {
    "clip.mp4": ("mp4", "libx264", "aac"),
    "hevc.mp4": ("mp4", "libx265", "aac"),
    "iphone.mov": ("mov", "libx265", "aac"),
    "android.3gp": ("3gp", "mpeg4", "aac"),
    "chrome.webm": ("webm", "libvpx-vp9", "libopus"),
    "obs.mkv": ("matroska", "libx264", "aac"),
    "old.avi": ("avi", "mpeg4", "libmp3lame"),
}
"""Container and encoders of files that have pictures and sound."""

NOT_CHECKED: Mapping[str, tuple[str, Sequence[str]]] = {
    "old.wma": ("asf", ("wmav2",)),
    "old.wmv": ("asf", ("wmv2", "wmav2")),
    "apple.caf": ("caf", ("pcm_s16le",)),
    "broadcast.ts": ("mpegts", ("libx264", "aac")),
    "stream.flv": ("flv", ("flv", "aac")),
}
"""Files of types that the service may take by URL, but that cannot be checked here."""


def encode(path: Path, container: str, *codecs: str, **options: str) -> Path:
    """Write half a second of a tone, a moving picture or both, as ``codecs`` say."""
    with av.open(str(path), "w", format=container, container_options=options) as file:
        streams = [_add_stream(file, name) for name in codecs]
        for stream in streams:
            frames = _pictures() if stream.type == "video" else _sound(stream)
            for frame in frames:
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
    return path


def _add_stream(file: Any, codec: str) -> Any:
    is_sound = av.codec.Codec(codec, "w").type == "audio"
    if is_sound:
        return file.add_stream(codec, rate=48000, layout="mono", bit_rate=64_000)
    return file.add_stream(codec, rate=10, width=128, height=96, pix_fmt="yuv420p")


def _pictures() -> list[Any]:
    frames = []
    for n in range(5):
        frame = av.VideoFrame(128, 96, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes((n * 40 + i) % 256 for i in range(plane.buffer_size)))
        frame.pts = n
        frames.append(frame)
    return frames


def _sound(stream: Any) -> list[Any]:
    resampler = av.AudioResampler(
        stream.format.name, "mono", stream.rate, frame_size=stream.codec_context.frame_size or None
    )
    frames = []
    for n in range(5):
        frame = av.AudioFrame("s16", "mono", stream.rate // 10)
        frame.planes[0].update(bytes(i * 5 % 256 for i in range(frame.planes[0].buffer_size)))
        frame.rate, frame.pts = stream.rate, n * stream.rate // 10
        frames += resampler.resample(frame)
    return frames


async def media_of(source: Any, *allowed: MediaType) -> tuple[MediaType, str]:
    made = await prepare_upload(source, allowed=allowed, field="source_url", max_bytes=None)
    return made.media, made.content_type


@pytest.mark.parametrize("name", SOUND)
async def test_sound(name: str, tmp_path: Path) -> None:
    path = encode(tmp_path / name, *SOUND[name])
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        media, mime = await media_of(source, "audio")
        assert (media, mime.split("/")[0]) == ("audio", "audio")
    with pytest.raises(InvalidInput, match="video is required"):
        await media_of(path, "video")


@pytest.mark.parametrize("name", VIDEO)
async def test_video(name: str, tmp_path: Path) -> None:
    path = encode(tmp_path / name, *VIDEO[name])
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        media, mime = await media_of(source, "video", "audio")
        assert (media, mime.split("/")[0]) == ("video", "video")
    with pytest.raises(InvalidInput, match="audio is required"):
        await media_of(path, "audio")


@pytest.mark.parametrize("name", NOT_CHECKED)
async def test_types_that_cannot_be_checked(name: str, tmp_path: Path) -> None:
    container, codecs = NOT_CHECKED[name]
    path = encode(tmp_path / name, container, *codecs)
    for source in (path, path.read_bytes()):
        with pytest.raises(InvalidInput, match="may take it by URL"):
            await media_of(source, "video", "audio")


@pytest.mark.parametrize("flags", ["", "faststart", "frag_keyframe+empty_moov"])
async def test_layouts_of_mp4(flags: str, tmp_path: Path) -> None:
    """The index at the end, at the beginning, and in fragments as browsers record."""
    options = {"movflags": flags} if flags else {}
    both = encode(tmp_path / "both.mp4", "mp4", "libx264", "aac", **options)
    assert (await media_of(both, "video"))[0] == "video"
    sound = encode(tmp_path / "sound.mp4", "mp4", "aac", **options)
    assert (await media_of(sound, "audio"))[0] == "audio"


async def test_a_cut_recording_is_refused(tmp_path: Path) -> None:
    """Before it is paid for: the index of a recording that was interrupted is missing."""
    whole = encode(tmp_path / "clip.mp4", "mp4", "libx264", "aac").read_bytes()
    with pytest.raises(InvalidInput, match="truncated"):
        await media_of(whole[: len(whole) // 2], "video")
