"""Result files made from the sample media with the standard library, different for each seed."""

from __future__ import annotations

import struct
import wave
import zlib
from pathlib import Path
from typing import Final

from ... import media

_SCALED_BOXES: Final = (b"mvhd", b"mdhd")
"""The MP4 boxes that hold the length of the clip: a time scale and a number of its units."""


def write_image(path: Path, seed: bytes) -> None:
    """Write the portrait as PNG, with the seed as a comment."""
    comment = b"tEXtComment\0" + seed.hex().encode()
    data, end = media.portrait().read_bytes(), 12  # the length of the last chunk
    chunk = struct.pack(">I", len(comment) - 4) + comment + struct.pack(">I", zlib.crc32(comment))
    path.write_bytes(data[:-end] + chunk + data[-end:])


def write_speech(path: Path, seconds: float, seed: bytes) -> None:
    """Write the spoken sample as WAV, cut or repeated to a length; the seed chooses its start."""
    with wave.open(str(media.speech()), "rb") as source:
        form, frames = source.getparams(), source.readframes(source.getnframes())
    start = int.from_bytes(seed[:4], "big") % form.nframes * form.sampwidth
    length = max(1, round(seconds * form.framerate)) * form.sampwidth
    with wave.open(str(path), "wb") as file:
        file.setparams(form)
        file.writeframes((frames * (2 + length // len(frames)))[start : start + length])


def write_clip(path: Path, seconds: float, seed: bytes, *, is_large: bool = False) -> None:
    """Write the clip as MP4, played faster or slower so that it has this length.

    A file with ``is_large`` has more bytes.
    """
    data = bytearray(media.clip().read_bytes())
    for name in _SCALED_BOXES:
        at = data.index(name) + 16
        (units,) = struct.unpack_from(">I", data, at + 4)
        struct.pack_into(">I", data, at, max(1, round(units / seconds)))
    path.write_bytes(data)
    mark_video(path, bytes(len(data)) + seed if is_large else seed)


def mark_video(path: Path, mark: bytes) -> None:
    """Append bytes to an MP4 that no player reads."""
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", 8 + len(mark), b"free") + mark)
