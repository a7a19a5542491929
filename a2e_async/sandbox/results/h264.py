"""A very small H.264 encoder in plain Python, for when there is no PyAV.

It writes constrained baseline streams of raw (I_PCM) and skipped macroblocks only: no compression,
no prediction, but every decoder reads it. Clauses refer to ITU-T H.264.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

MACROBLOCK: Final = 16
"""Edge of a macroblock in pixels."""

Colour = tuple[int, int, int]
"""Y, Cb, Cr of a flat macroblock; each 1 to 255."""


@attrs.define(slots=True)
class BitWriter:
    """Collects bits, the highest first."""

    _value: int = 0
    _count: int = 0
    _whole: bytearray = attrs.field(factory=bytearray)

    def bits(self, value: int, count: int) -> None:
        """Writes the lowest ``count`` bits of a value."""
        self._value = (self._value << count) | (value & ((1 << count) - 1))
        self._count += count
        while self._count >= 8:
            self._count -= 8
            self._whole.append((self._value >> self._count) & 0xFF)
        self._value &= (1 << self._count) - 1

    def ue(self, value: int) -> None:
        """Writes an unsigned Exp-Golomb code (clause 9.1)."""
        length = (value + 1).bit_length()
        self.bits(value + 1, 2 * length - 1)

    def se(self, value: int) -> None:
        """Writes a signed Exp-Golomb code."""
        self.ue(2 * value - 1 if value > 0 else -2 * value)

    def align(self) -> None:
        """Fills the byte up with zeros."""
        if self._count:
            self.bits(0, 8 - self._count)

    def raw(self, data: bytes) -> None:
        """Writes whole bytes; only at a byte boundary."""
        self._whole += data

    def finish(self) -> bytes:
        """Ends the payload with the stop bit and returns it."""
        self.bits(1, 1)
        self.align()
        return bytes(self._whole)


def sequence_set(columns: int, rows: int) -> bytes:
    """Returns the sequence parameter set for so many macroblocks."""
    writer = BitWriter()
    writer.bits(66, 8)  # baseline
    writer.bits(0b11000000, 8)  # also constrained
    writer.bits(30, 8)  # level 3.0
    for value in (0, 0, 2, 1):  # set id, frame numbers of 4 bits, order by number, 1 reference
        writer.ue(value)
    writer.bits(0, 1)  # no gaps
    writer.ue(columns - 1)
    writer.ue(rows - 1)
    writer.bits(0b1100, 4)  # frames only, direct 8x8, no cropping, no usability information
    return _unit(0x67, writer.finish())


def picture_set() -> bytes:
    """Returns the picture parameter set."""
    writer = BitWriter()
    writer.ue(0)
    writer.ue(0)
    writer.bits(0b00, 2)  # CAVLC, no order hints
    for value in (0, 0, 0):  # one slice group, one reference in each list
        writer.ue(value)
    writer.bits(0b000, 3)  # no weights
    for _ in range(3):
        writer.se(0)
    writer.bits(0b100, 3)  # deblocking can be switched off by slice
    return _unit(0x68, writer.finish())


def whole_picture(blocks: Sequence[Colour]) -> bytes:
    """Returns an IDR picture in which every macroblock is flat, in raster order."""
    writer = BitWriter()
    _slice_header(writer, slice_type=7, number=0, is_idr=True)
    for colour in blocks:
        writer.ue(25)  # I_PCM (table 7-11)
        _flat(writer, colour)
    return _unit(0x65, writer.finish())


def changed_picture(number: int, blocks: Mapping[int, Colour], total: int) -> bytes:
    """Returns a picture that repeats the last one but for these macroblocks, by index."""
    writer = BitWriter()
    _slice_header(writer, slice_type=5, number=number, is_idr=False)
    last = -1
    for index in sorted(blocks):
        writer.ue(index - last - 1)  # skipped before it
        writer.ue(30)  # I_PCM in a P slice
        _flat(writer, blocks[index])
        last = index
    if last < total - 1:
        writer.ue(total - 1 - last)
    return _unit(0x41, writer.finish())


def _slice_header(writer: BitWriter, *, slice_type: int, number: int, is_idr: bool) -> None:
    writer.ue(0)
    writer.ue(slice_type)
    writer.ue(0)
    writer.bits(number & 15, 4)
    if is_idr:
        writer.ue(0)
        writer.bits(0b00, 2)  # reference marking: none
    else:
        writer.bits(0b000, 3)  # default references, no reordering, no adaptive marking
    writer.se(0)
    writer.ue(1)  # deblocking off


def _flat(writer: BitWriter, colour: Colour) -> None:
    writer.align()
    luma, blue, red = colour
    writer.raw(bytes([luma]) * 256 + bytes([blue]) * 64 + bytes([red]) * 64)


def _unit(header: int, payload: bytes) -> bytes:
    """Wraps a payload: emulation prevention (clause 7.4.1), then the four bytes of its length."""
    safe, zeros = bytearray([header]), 0
    for byte in payload:
        if zeros == 2 and byte <= 3:
            safe.append(3)
            zeros = 0
        safe.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return len(safe).to_bytes(4, "big") + bytes(safe)
