"""Encodes an image of at most 256 colours as sixels, the graphics of DEC terminals."""

import re
from collections.abc import Sequence
from typing import Final

BAND: Final = 6
"""Lines of pixels that one line of sixels covers."""

_RUNS: Final = re.compile(r"(.)\1{3,}", re.DOTALL)


def sixels(width: int, pixels: bytes, colors: Sequence[tuple[int, int, int]]) -> str:
    """Return the control sequence that draws an image at the cursor.

    ``pixels`` has the index of each pixel's colour, line by line; ``colors`` are red, green and
    blue from 0 to 255.
    """
    height = len(pixels) // width
    palette = "".join(
        f"#{index};2;{';'.join(str(round(part * 100 / 255)) for part in color)}"
        for index, color in enumerate(colors)
    )
    bands = "-".join(
        _band(width, pixels[top * width : (top + BAND) * width]) for top in range(0, height, BAND)
    )
    # P2=1: pixels that are not drawn keep the terminal's background.
    return f'\x1bP0;1q"1;1;{width};{height}{palette}{bands}\x1b\\'


def _band(width: int, pixels: bytes) -> str:
    """Return six lines of pixels: for each colour, a character of six bits per column."""
    rows: dict[int, bytearray] = {}
    for at, color in enumerate(pixels):
        line, column = divmod(at, width)
        if color not in rows:
            rows[color] = bytearray(b"?") * width
        rows[color][column] += 1 << line
    return "$".join(f"#{color}{_shorten(row.decode())}" for color, row in rows.items())


def _shorten(row: str) -> str:
    """Write each run of four or more equal characters as its length and one of them."""
    return _RUNS.sub(lambda run: f"!{len(run[0])}{run[1]}", row.rstrip("?"))
