"""Makes the sample media that the sandbox ships. Not shipped itself.

Usage: ``python tests/sandbox/make_media.py``. Needs PyAV for the clip and ``espeak-ng`` for the
sentence. The portrait and the clip come out the same on every run of one PyAV version.
"""

from __future__ import annotations

import math
import struct
import subprocess
import wave
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path

TARGET = Path(__file__).parents[2] / "a2e_async" / "sandbox" / "media"

WIDTH, HEIGHT = 384, 512

SENTENCE = (
    "Hello from the sandbox. Everything you hear was made on your own machine, without coins."
)

Colour = tuple[int, int, int]
GROUND: Colour = (214, 232, 240)
SHIRT: Colour = (58, 110, 165)
SKIN: Colour = (246, 205, 170)
HAIR: Colour = (92, 61, 46)
INK: Colour = (48, 38, 36)
WHITE: Colour = (255, 255, 255)
CHEEK: Colour = (240, 170, 150)
MOUTH: Colour = (176, 62, 70)

Shape = tuple[Colour, Callable[[float, float], bool]]


def ellipse(x: float, y: float, wide: float, high: float) -> Callable[[float, float], bool]:
    """Return a function that tests whether a point is inside an ellipse."""
    return lambda u, v: ((u - x) / wide) ** 2 + ((v - y) / high) ** 2 <= 1


def smile(u: float, v: float) -> bool:
    """The mouth: an ellipse below a line."""
    return v >= 318 and ellipse(192, 318, 46, 30)(u, v)


SHAPES: tuple[Shape, ...] = (
    (SHIRT, ellipse(192, 520, 170, 120)),
    (SKIN, lambda u, v: 156 <= u <= 228 and 340 <= v <= 428),
    (HAIR, ellipse(192, 214, 128, 150)),
    (SKIN, ellipse(192, 250, 108, 130)),
    (HAIR, lambda u, v: ellipse(192, 214, 128, 150)(u, v) and v < 178 - 18 * math.sin(u / 40)),
    (WHITE, ellipse(148, 236, 20, 15)),
    (WHITE, ellipse(236, 236, 20, 15)),
    (INK, ellipse(148, 237, 9, 10)),
    (INK, ellipse(236, 237, 9, 10)),
    (WHITE, ellipse(151, 233, 3, 3)),
    (WHITE, ellipse(239, 233, 3, 3)),
    (INK, lambda u, v: ellipse(148, 214, 24, 8)(u, v) and v < 212),
    (INK, lambda u, v: ellipse(236, 214, 24, 8)(u, v) and v < 212),
    (CHEEK, ellipse(122, 288, 19, 13)),
    (CHEEK, ellipse(262, 288, 19, 13)),
    (HAIR, lambda u, v: ellipse(192, 282, 12, 8)(u, v) and v > 284),
    (MOUTH, smile),
)


def colour_at(u: float, v: float) -> Colour:
    """Return the colour of one point: that of the topmost shape."""
    for colour, holds in reversed(SHAPES):
        if holds(u, v):
            return colour
    return GROUND


def pixel(x: int, y: int) -> bytes:
    """Return one pixel, smoothed over four points."""
    points = [colour_at(x + dx, y + dy) for dx in (0.25, 0.75) for dy in (0.25, 0.75)]
    return bytes(sum(point[channel] for point in points) // 4 for channel in range(3))


def png(rows: list[bytes]) -> bytes:
    """Return a PNG file of 8-bit RGB rows."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def make_speech_file(path: Path) -> None:
    """Write the sentence spoken by espeak-ng: 16 kHz, mono, 16 bit."""
    raw = path.with_suffix(".raw.wav")
    subprocess.run(
        ["espeak-ng", "-v", "en", "-s", "165", "-w", str(raw), SENTENCE],
        check=True,
    )
    with wave.open(str(raw), "rb") as file:
        rate, samples = file.getframerate(), array("h", file.readframes(file.getnframes()))
    raw.unlink()
    count = len(samples) * 16000 // rate
    places = (index * rate / 16000 for index in range(count - 2))
    resampled = array(
        "h",
        (
            round(left + (right - left) * (at % 1))
            for at in places
            for left, right in [samples[int(at) : int(at) + 2]]
        ),
    )
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(resampled.tobytes())


def main() -> None:
    """Make all three files."""
    from a2e_async.sandbox._core.results.pyav_media import write_panning_video

    rows = [b"".join(pixel(x, y) for x in range(WIDTH)) for y in range(HEIGHT)]
    portrait = TARGET / "portrait.png"
    portrait.write_bytes(png(rows))
    write_panning_video(TARGET / "clip.mp4", portrait, 2.5)
    make_speech_file(TARGET / "speech.wav")


if __name__ == "__main__":
    main()
