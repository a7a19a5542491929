"""Recordings of phones and browsers: sound or video by their tracks, whatever their names say."""

import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from a2e_async._core.files.local_file import check_local_file, prepare_upload
from a2e_async._core.files.media_container import has_sound_only
from a2e_async.errors import InvalidInput
from a2e_async.models import MediaType

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


def box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return (8 + len(data)).to_bytes(4, "big") + kind + data


def large_box(kind: bytes, *content: bytes) -> bytes:
    data = b"".join(content)
    return b"\0\0\0\1" + kind + (16 + len(data)).to_bytes(8, "big") + data


def track(handler: bytes) -> bytes:
    hdlr = box(b"hdlr", bytes(8) + handler + bytes(12))
    media = box(b"mdia", box(b"mdhd", bytes(24)), hdlr, box(b"minf", bytes(90)))
    return box(b"trak", box(b"tkhd", bytes(84)), media)


def mp4(brand: bytes, *handlers: bytes, media_first: bool = False) -> bytes:
    """Return an MP4 file; phones write the index behind the media."""
    index = box(b"moov", box(b"mvhd", bytes(100)), *(track(each) for each in handlers))
    media = large_box(b"mdat", b"hdlrsoun" * 9000)
    start = box(b"ftyp", brand + bytes(4) + brand)
    return start + (media + index if media_first else index + media)


def element(identity: str, *content: bytes, unknown_size: bool = False) -> bytes:
    data = b"".join(content)
    size = b"\x01" + (b"\xff" * 7 if unknown_size else len(data).to_bytes(7, "big"))
    return bytes.fromhex(identity) + size + data


def webm(*types: int, doctype: bytes = b"webm", live: bool = True) -> bytes:
    """Return a WebM file as MediaRecorder of a browser writes it: of unknown length."""
    entries = (element("ae", element("d7", b"\1"), element("83", bytes([n]))) for n in types)
    segment = [
        element("ec", bytes(300)),
        element("1549a966", element("2ad7b1", b"\x0f\x42\x40")),
        element("1654ae6b", *entries),
        element("1f43b675", element("e7", b"\0"), b"\xae\x83\x01" * 90, unknown_size=live),
    ]
    head = element("1a45dfa3", element("4282", doctype))
    return head + element("18538067", *segment, unknown_size=live)


BRANDS = (b"3gp4", b"3gp5", b"qt  ", b"mp42", b"isom", b"M4V ")
SOUND = {
    **{f"{brand!r} {first}": mp4(brand, b"soun", media_first=first)
       for brand in BRANDS for first in (False, True)},
    "with captions": mp4(b"mp42", b"text", b"soun"),
    "bare QuickTime": mp4(b"qt  ", b"soun")[20:],
    "WebM": webm(2),
    "WebM of known length": webm(2, live=False),
    "Matroska": webm(2, doctype=b"matroska"),
}  # fmt: skip
PICTURES = {
    **{f"{brand!r} {first}": mp4(brand, b"soun", b"vide", media_first=first)
       for brand in BRANDS for first in (False, True)},
    "video only": mp4(b"isom", b"vide"),
    "WebM": webm(2, 1),
    "WebM of known length": webm(1, 2, live=False),
}  # fmt: skip
UNKNOWN = {
    "no tracks": mp4(b"isom"),
    "no index": mp4(b"isom", b"soun", media_first=True)[:4000],
    "index cut": mp4(b"isom", b"soun", b"vide")[:460],
    "WebM without tracks": webm(),
    "WebM cut": webm(2, 1)[:372],
    "a box of no size": box(b"ftyp", b"isom") + bytes(99),
    "an element of no size": webm(2)[:40] + bytes(99),
}


async def prepared(source: Any, *allowed: MediaType) -> tuple[MediaType, str]:
    made = await prepare_upload(source, allowed=allowed, field="f", max_bytes=None)
    return made.media, made.content_type


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 50_000):
        yield data[start : start + 50_000]


@pytest.mark.parametrize("name", SOUND)
async def test_sound_only(name: str, tmp_path: Path) -> None:
    data = SOUND[name]
    path = tmp_path / ("voice.webm" if "WebM" in name else "voice.mp4")
    path.write_bytes(data)
    check_local_file(str(path), allowed=("audio",), field="f", max_bytes=None)
    for source in (path, data, io.BytesIO(data), stream(data)):
        media, mime = await prepared(source, "audio")
        assert media == "audio"
        assert mime.startswith("audio/")
    with pytest.raises(InvalidInput, match="is audio/"):
        await prepared(data, "video")


@pytest.mark.parametrize("name", PICTURES)
async def test_pictures_and_sound(name: str) -> None:
    data = PICTURES[name]
    for source in (data, io.BytesIO(data), stream(data)):
        assert (await prepared(source, "video", "audio"))[0] == "video"
    with pytest.raises(InvalidInput, match="is video/"):
        await prepared(data, "audio")


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_certain_stays_video(name: str) -> None:
    data, mime = UNKNOWN[name], "video/webm" if "WebM" in name else "video/mp4"
    assert not has_sound_only(mime, reader(data))


def reader(data: bytes) -> Callable[[int, int], bytes]:
    return lambda position, size: data[position : position + size]


def test_every_cut_of_a_file_is_read_to_an_end() -> None:
    for mime, data in (("video/mp4", mp4(b"isom", b"soun")[:900]), ("video/webm", webm(2))):
        for end in range(len(data)):
            has_sound_only(mime, reader(data[:end]))


def test_a_file_of_countless_boxes_is_given_up() -> None:
    reads = 0

    def endless(position: int, size: int) -> bytes:
        nonlocal reads
        reads += 1
        return box(b"free", bytes(8192 - 8))[:size]

    assert not has_sound_only("video/mp4", endless)
    assert reads <= 2000


@pytest.mark.parametrize(
    ("name", "head", "what"),
    [
        ("a.wma", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(99), "a Windows Media file"),
        ("a.wmv", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + bytes(99), "a Windows Media file"),
        ("a.caf", b"caff\0\1\0\0" + bytes(99), "a Core Audio file"),
        ("a.flv", b"FLV\x01\x05" + bytes(99), "a Flash video"),
        ("a.ts", (b"G" + bytes(187)) * 4, "an MPEG transport stream"),
        ("a.m2ts", (bytes(4) + b"G" + bytes(187)) * 4, "an MPEG transport stream"),
    ],
)
async def test_other_formats_are_named(name: str, head: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(head)
    for source in (path, head, stream(head)):
        with pytest.raises(InvalidInput, match="the service may take it by URL") as caught:
            await prepared(source, "audio", "video")
        assert what in str(caught.value)
    assert (await prepared(path, "file"))[0] == "file"
    renamed = tmp_path / "voice.mp3"
    renamed.write_bytes(head)
    with pytest.raises(InvalidInput, match=f"does not match its file extension: it is {what}"):
        await prepared(renamed, "audio")


async def test_recordings_of_a_real_encoder() -> None:
    """The samples above are made by hand; those of FFmpeg must be read in the same way."""
    av = pytest.importorskip("av")
    for container, codec, options in (
        ("mp4", "aac", {}),
        ("mp4", "aac", {"brand": "3gp5"}),
        ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
        ("ipod", "aac", {}),
        ("mov", "aac", {}),
        ("3gp", "aac", {}),
        ("webm", "libopus", {}),
        ("webm", "libopus", {"live": "1"}),
        ("matroska", "aac", {}),
    ):
        for with_video in (False, True):
            if with_video and (container == "ipod" or "live" in options):
                continue
            made = io.BytesIO()
            with av.open(made, "w", format=container, options=options) as file:
                sound = file.add_stream(codec, rate=48000)
                pictures = None
                if with_video:
                    pictures = file.add_stream("libvpx" if container == "webm" else "mpeg4", 5)
                    pictures.width = pictures.height = 64
                    pictures.pix_fmt = "yuv420p"
                frame = av.AudioFrame(format="s16", layout="stereo", samples=960)
                frame.sample_rate = 48000
                for plane in frame.planes:
                    plane.update(bytes(plane.buffer_size))
                for count in range(20):
                    frame.pts = count * 960
                    for packet in sound.encode(frame):
                        file.mux(packet)
                if pictures is not None:
                    for packet in pictures.encode(av.VideoFrame(64, 64, "yuv420p")):
                        file.mux(packet)
                    for packet in pictures.encode(None):
                        file.mux(packet)
                for packet in sound.encode(None):
                    file.mux(packet)
            found = await prepared(made.getvalue(), "video", "audio")
            assert found[0] == ("video" if with_video else "audio"), (container, options, found)
