"""Reads the structure of media files: format, completeness, length. Decodes nothing."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"

_BITRATES: Final = {
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Layer III bitrates in kbit/s by index: MPEG 1, and MPEG 2 / 2.5."""

_SAMPLE_RATES: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""Samples per second by the version bits of a frame header."""


class BrokenMedia(Exception):
    """The file is incomplete or not what it claims to be; the text says where."""


@attrs.frozen(slots=True)
class MediaStructure:
    """What the structure says: ``image``, ``audio`` or ``video``, and the length in seconds."""

    kind: str
    seconds: float | None
    detail: str


def read_media_structure(path: Path) -> MediaStructure:
    """Return what a PNG, JPEG, WAV, MP3 or MP4 file is, after checking that it is complete.

    Raises:
        BrokenMedia: the file is truncated, empty, or of another format.
        OSError: the file cannot be read.
    """
    data = path.read_bytes()
    try:
        if data.startswith(PNG_SIGNATURE):
            return _read_png(data)
        if data.startswith(b"\xff\xd8\xff"):
            return _read_jpeg(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
            return _read_wav(data)
        if data[4:8] == b"ftyp":
            return _read_mp4(data)
        if data[:3] == b"ID3" or (len(data) > 4 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0):
            return _read_mp3(data)
    except (struct.error, IndexError, zlib.error) as error:
        msg = "the file ends in the middle of a structure"
        raise BrokenMedia(msg) from error
    msg = "empty file" if not data else "not a PNG, JPEG, WAV, MP3 or MP4 file"
    raise BrokenMedia(msg)


def _read_png(data: bytes) -> MediaStructure:
    at, pixels, size = len(PNG_SIGNATURE), b"", (0, 0)
    while True:
        length, name = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        (crc,) = struct.unpack_from(">I", data, at + 8 + length)
        if crc != zlib.crc32(name + body):
            msg = f"the PNG chunk {name.decode('latin-1')} has a wrong checksum"
            raise BrokenMedia(msg)
        if name == b"IHDR":
            size = struct.unpack_from(">II", body)
        elif name == b"IDAT":
            pixels += body
        elif name == b"IEND":
            break
        at += 12 + length
    zlib.decompress(pixels)
    return MediaStructure("image", None, f"PNG {size[0]}x{size[1]}")


def _read_jpeg(data: bytes) -> MediaStructure:
    if not data.rstrip(b"\x00").endswith(b"\xff\xd9"):
        msg = "the JPEG has no end marker"
        raise BrokenMedia(msg)
    return MediaStructure("image", None, "JPEG")


def _read_wav(data: bytes) -> MediaStructure:
    (total,) = struct.unpack_from("<I", data, 4)
    if total + 8 > len(data):
        msg = f"the RIFF header states {total + 8} bytes, the file has {len(data)}"
        raise BrokenMedia(msg)
    at, per_second = 12, 0
    while at + 8 <= total + 8:
        name, length = struct.unpack_from("<4sI", data, at)
        if name == b"fmt ":
            (per_second,) = struct.unpack_from("<I", data, at + 16)
        elif name == b"data" and per_second:
            if at + 8 + length > len(data):
                msg = "the WAV samples are truncated"
                raise BrokenMedia(msg)
            return MediaStructure("audio", length / per_second, "WAV")
        at += 8 + length + length % 2
    msg = "the WAV file has no samples"
    raise BrokenMedia(msg)


def _read_mp3(data: bytes) -> MediaStructure:
    at, frames, seconds = 0, 0, 0.0
    if data[:3] == b"ID3":
        sizes = data[6:10]
        at = 10 + (sizes[0] << 21 | sizes[1] << 14 | sizes[2] << 7 | sizes[3])
    end = len(data) - 128 if data[-128:-125] == b"TAG" else len(data)
    while at + 4 <= end:
        length, frame_seconds = _measure_mp3_frame(data, at)
        if at + length > end:
            msg = f"the MP3 frame {frames} is truncated"
            raise BrokenMedia(msg)
        at, frames, seconds = at + length, frames + 1, seconds + frame_seconds
    if not frames:
        msg = "the MP3 file has no frames"
        raise BrokenMedia(msg)
    return MediaStructure("audio", seconds, f"MP3, {frames} frames")


def _measure_mp3_frame(data: bytes, at: int) -> tuple[int, float]:
    """Return the length of the frame at this offset, in bytes and in seconds."""
    word = int.from_bytes(data[at : at + 4], "big")
    version, layer, bitrate, rate = word >> 19 & 3, word >> 17 & 3, word >> 12 & 15, word >> 10 & 3
    if word >> 21 != 0x7FF or version == 1 or layer != 1 or bitrate in {0, 15} or rate == 3:
        msg = f"no MP3 frame at byte {at}"
        raise BrokenMedia(msg)
    samples = 1152 if version == 3 else 576
    per_second = _SAMPLE_RATES[version][rate]
    kbits = _BITRATES[1 if version == 3 else 2][bitrate]
    return samples // 8 * kbits * 1000 // per_second + (word >> 9 & 1), samples / per_second


def _read_mp4(data: bytes) -> MediaStructure:
    top = {name: (at, end) for name, at, end in _iter_boxes(data, 0, len(data))}
    if b"moov" not in top or b"mdat" not in top:
        msg = "the MP4 file lacks " + ("moov" if b"moov" not in top else "mdat")
        raise BrokenMedia(msg)
    seconds, handlers, samples = 0.0, set[bytes](), 0
    for name, at, end in _iter_boxes(data, *top[b"moov"]):
        if name == b"mvhd":
            seconds = _movie_seconds(data, at)
        elif name == b"trak":
            handler, size = _read_track(data, at, end)
            handlers.add(handler)
            samples += size
    space = sum(end - at for name, at, end in _iter_boxes(data, 0, len(data)) if name == b"mdat")
    if not samples or samples > space:
        msg = f"the MP4 tracks state {samples} bytes of media, the file has {space}"
        raise BrokenMedia(msg)
    kind = "video" if b"vide" in handlers else "audio"
    return MediaStructure(kind, seconds, f"MP4, {len(handlers)} track(s)")


def _iter_boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each box, and the start and end of its content."""
    while at < end:
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        elif size == 0:
            size = end - at
        if size < head or at + size > end:
            msg = f"the MP4 box {name.decode('latin-1')} is truncated"
            raise BrokenMedia(msg)
        yield name, at + head, at + size
        at += size


def _movie_seconds(data: bytes, at: int) -> float:
    form = ">IQ" if data[at] else ">II"
    scale, length = struct.unpack_from(form, data, at + (20 if data[at] else 12))
    return float(length / scale) if scale else 0.0


def _read_track(data: bytes, at: int, end: int) -> tuple[bytes, int]:
    """Return the handler type of a track and the total size of its samples in bytes."""
    handler, size = b"", 0
    for name, inner, stop in _iter_boxes(data, at, end):
        if name in {b"mdia", b"minf", b"stbl"}:
            found, more = _read_track(data, inner, stop)
            handler, size = handler or found, size + more
        elif name == b"hdlr" and not handler:
            handler = data[inner + 8 : inner + 12]
        elif name == b"stsz":
            each, count = struct.unpack_from(">II", data, inner + 4)
            size += each * count or sum(struct.unpack_from(f">{count}I", data, inner + 12))
    return handler, size
