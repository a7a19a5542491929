"""Small valid result files made with the standard library, different for each input."""

from __future__ import annotations

import math
import struct
import wave
import zlib
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from .h264 import (
    YCbCr,
    encode_changed_picture,
    encode_full_picture,
    picture_parameter_set,
    sequence_parameter_set,
)

MACROBLOCK_COLUMNS: Final = 10
MACROBLOCK_ROWS: Final = 6
"""The clip is 160x96 pixels."""

FRAMES_PER_SECOND: Final = 6


def write_tone(path: Path, seconds: float, seed: bytes, rate: int = 16000) -> None:
    """Write a soft tone as WAV (mono, 16 bit); the seed determines its pitch."""
    pitch = 180 + seed[0]
    period = max(2, rate // pitch)
    cycle = array("h", (round(4000 * math.sin(2 * math.pi * i / period)) for i in range(period)))
    count = max(1, round(seconds * rate))
    samples = (cycle * (count // period + 1))[:count]
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())


def write_quieter_copy(path: Path, source: Path) -> bool:
    """Write a WAV of the same length as the source WAV, at half its loudness.

    Return whether the source could be read; if not, nothing is written.
    """
    try:
        with wave.open(str(source), "rb") as file:
            form, frames = file.getparams(), file.readframes(file.getnframes())
    except (wave.Error, EOFError):
        return False
    if form.sampwidth != 2:
        return False
    samples = array("h", frames[: len(frames) // 2 * 2])
    with wave.open(str(path), "wb") as file:
        file.setparams(form)
        file.writeframes(array("h", (value // 2 for value in samples)).tobytes())
    return True


def write_striped_png(path: Path, seed: bytes) -> None:
    """Write a small PNG of stripes; the seed determines their colours."""
    row = b"".join(seed[at : at + 3] for at in range(8) for _ in range(8))
    path.write_bytes(encode_png(64, 64, [row] * 64))


def encode_png(width: int, height: int, rows: Iterable[bytes]) -> bytes:
    """Return a PNG file; each row holds three bytes (red, green, blue) for each pixel."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 6)
    chunks = ((b"IHDR", head), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def write_clip(path: Path, seconds: float, seed: bytes, *, is_large: bool = False) -> None:
    """Write an MP4 of this many seconds: a block that moves over a flat background.

    With ``is_large`` every picture is a full one, which takes more bytes.
    """
    total = MACROBLOCK_COLUMNS * MACROBLOCK_ROWS
    background: YCbCr = (60 + seed[0] // 2, 64 + seed[1] // 2, 64 + seed[2] // 2)
    block_colour: YCbCr = (255 - background[0] // 2, 128, 64 + seed[3] // 2)
    count = max(2, round(seconds * FRAMES_PER_SECOND))
    first = [background] * total
    first[0] = block_colour
    samples = [encode_full_picture(first)]
    for number in range(1, count):
        blocks = {(number - 1) * 7 % total: background, number * 7 % total: block_colour}
        if is_large:
            blocks = dict.fromkeys(range(total), background) | blocks
        samples.append(encode_changed_picture(number, blocks, total))
    path.write_bytes(encode_mp4(samples))


def encode_mp4(samples: Sequence[bytes]) -> bytes:
    """Return an MP4 file with one video track; the first sample must be a full picture."""
    parameters = (
        sequence_parameter_set(MACROBLOCK_COLUMNS, MACROBLOCK_ROWS)[4:],
        picture_parameter_set()[4:],
    )
    timescale, frame_ticks = 600, 600 // FRAMES_PER_SECOND
    total_ticks, media = frame_ticks * len(samples), b"".join(samples)
    head = _box(b"ftyp", b"isom\0\0\2\0isomavc1mp41")
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    size = struct.pack(">II", MACROBLOCK_COLUMNS * 16 << 16, MACROBLOCK_ROWS * 16 << 16)

    def build_moov(offset: int) -> bytes:
        table = _box(
            b"stbl",
            _full_box(b"stsd", struct.pack(">I", 1) + _avc1_sample_entry(*parameters))
            + _full_box(b"stts", struct.pack(">III", 1, len(samples), frame_ticks))
            + _full_box(b"stss", struct.pack(">II", 1, 1))
            + _full_box(b"stsc", struct.pack(">IIII", 1, 1, len(samples), 1))
            + _full_box(
                b"stsz", struct.pack(f">II{len(samples)}I", 0, len(samples), *map(len, samples))
            )
            + _full_box(b"stco", struct.pack(">II", 1, offset)),
        )
        info = _box(
            b"minf",
            _full_box(b"vmhd", bytes(8), flags=1)
            + _box(
                b"dinf", _full_box(b"dref", struct.pack(">I", 1) + _full_box(b"url ", b"", flags=1))
            )
            + table,
        )
        mdia = _box(
            b"mdia",
            _full_box(b"mdhd", struct.pack(">IIIIHH", 0, 0, timescale, total_ticks, 0x55C4, 0))
            + _full_box(b"hdlr", b"\0\0\0\0vide" + bytes(12) + b"video\0")
            + info,
        )
        tkhd = struct.pack(">IIIII", 0, 0, 1, 0, total_ticks) + bytes(16) + matrix + size
        trak = _box(b"trak", _full_box(b"tkhd", tkhd, flags=3) + mdia)
        mvhd = (
            struct.pack(">IIIIIH", 0, 0, timescale, total_ticks, 0x10000, 0x100)
            + bytes(10)
            + matrix
        )
        return _box(b"moov", _full_box(b"mvhd", mvhd + bytes(24) + struct.pack(">I", 2)) + trak)

    offset = len(head) + len(build_moov(0)) + 8
    return head + build_moov(offset) + _box(b"mdat", media)


def _avc1_sample_entry(sequence: bytes, picture: bytes) -> bytes:
    form = struct.pack(">BBBBBB", 1, *sequence[1:4], 0xFF, 0xE1)
    form += struct.pack(">H", len(sequence)) + sequence
    form += struct.pack(">BH", 1, len(picture)) + picture
    entry = bytes(6) + struct.pack(">H", 1) + bytes(16)
    entry += struct.pack(
        ">HHIIIH", MACROBLOCK_COLUMNS * 16, MACROBLOCK_ROWS * 16, 0x480000, 0x480000, 0, 1
    )
    entry += bytes(32) + struct.pack(">Hh", 24, -1)
    return _box(b"avc1", entry + _box(b"avcC", form))


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


def _full_box(name: bytes, content: bytes, flags: int = 0) -> bytes:
    return _box(name, struct.pack(">I", flags) + content)
