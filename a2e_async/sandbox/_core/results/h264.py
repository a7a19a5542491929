"""A minimal H.264 encoder in plain Python, for environments without PyAV.

It writes constrained baseline streams of raw (I_PCM) and skipped macroblocks only: no compression,
no prediction, but every decoder reads it. Clauses refer to ITU-T H.264.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

YCbCr = tuple[int, int, int]
"""Y, Cb, Cr of a flat macroblock; each 1 to 255."""


@attrs.define(slots=True)
class BitWriter:
    """Collects bits, the most significant first."""

    _value: int = 0
    _count: int = 0
    _whole: bytearray = attrs.field(factory=bytearray)

    def write_bits(self, value: int, count: int) -> None:
        """Write the lowest ``count`` bits of a value."""
        self._value = (self._value << count) | (value & ((1 << count) - 1))
        self._count += count
        while self._count >= 8:
            self._count -= 8
            self._whole.append((self._value >> self._count) & 0xFF)
        self._value &= (1 << self._count) - 1

    def write_unsigned_golomb(self, value: int) -> None:
        """Write an unsigned Exp-Golomb code (clause 9.1)."""
        length = (value + 1).bit_length()
        self.write_bits(value + 1, 2 * length - 1)

    def write_signed_golomb(self, value: int) -> None:
        """Write a signed Exp-Golomb code."""
        self.write_unsigned_golomb(2 * value - 1 if value > 0 else -2 * value)

    def align_to_byte(self) -> None:
        """Pad the current byte with zeros."""
        if self._count:
            self.write_bits(0, 8 - self._count)

    def write_bytes(self, data: bytes) -> None:
        """Write whole bytes; only at a byte boundary."""
        self._whole += data

    def finish(self) -> bytes:
        """End the payload with the stop bit and return it."""
        self.write_bits(1, 1)
        self.align_to_byte()
        return bytes(self._whole)


def sequence_parameter_set(columns: int, rows: int) -> bytes:
    """Return the sequence parameter set for this many macroblocks."""
    writer = BitWriter()
    writer.write_bits(66, 8)  # baseline
    writer.write_bits(0b11000000, 8)  # also constrained
    writer.write_bits(30, 8)  # level 3.0
    for value in (0, 0, 2, 1):  # set id, frame numbers of 4 bits, order by number, 1 reference
        writer.write_unsigned_golomb(value)
    writer.write_bits(0, 1)  # no gaps
    writer.write_unsigned_golomb(columns - 1)
    writer.write_unsigned_golomb(rows - 1)
    writer.write_bits(0b1100, 4)  # frames only, direct 8x8, no cropping, no usability information
    return _wrap_nal_unit(0x67, writer.finish())


def picture_parameter_set() -> bytes:
    """Return the picture parameter set."""
    writer = BitWriter()
    writer.write_unsigned_golomb(0)
    writer.write_unsigned_golomb(0)
    writer.write_bits(0b00, 2)  # CAVLC, no order hints
    for value in (0, 0, 0):  # one slice group, one reference in each list
        writer.write_unsigned_golomb(value)
    writer.write_bits(0b000, 3)  # no weights
    for _ in range(3):
        writer.write_signed_golomb(0)
    writer.write_bits(0b100, 3)  # deblocking can be switched off by slice
    return _wrap_nal_unit(0x68, writer.finish())


def encode_full_picture(blocks: Sequence[YCbCr]) -> bytes:
    """Return an IDR picture in which every macroblock is flat, in raster order."""
    writer = BitWriter()
    _write_slice_header(writer, slice_type=7, number=0, is_idr=True)
    for colour in blocks:
        writer.write_unsigned_golomb(25)  # I_PCM (table 7-11)
        _write_flat_macroblock(writer, colour)
    return _wrap_nal_unit(0x65, writer.finish())


def encode_changed_picture(number: int, blocks: Mapping[int, YCbCr], total: int) -> bytes:
    """Return a picture that repeats the previous one except for these macroblocks, by index."""
    writer = BitWriter()
    _write_slice_header(writer, slice_type=5, number=number, is_idr=False)
    last = -1
    for index in sorted(blocks):
        writer.write_unsigned_golomb(index - last - 1)  # skipped before it
        writer.write_unsigned_golomb(30)  # I_PCM in a P slice
        _write_flat_macroblock(writer, blocks[index])
        last = index
    if last < total - 1:
        writer.write_unsigned_golomb(total - 1 - last)
    return _wrap_nal_unit(0x41, writer.finish())


def _write_slice_header(writer: BitWriter, *, slice_type: int, number: int, is_idr: bool) -> None:
    writer.write_unsigned_golomb(0)
    writer.write_unsigned_golomb(slice_type)
    writer.write_unsigned_golomb(0)
    writer.write_bits(number & 15, 4)
    if is_idr:
        writer.write_unsigned_golomb(0)
        writer.write_bits(0b00, 2)  # reference marking: none
    else:
        writer.write_bits(0b000, 3)  # default references, no reordering, no adaptive marking
    writer.write_signed_golomb(0)
    writer.write_unsigned_golomb(1)  # deblocking off


def _write_flat_macroblock(writer: BitWriter, colour: YCbCr) -> None:
    writer.align_to_byte()
    luma, blue, red = colour
    writer.write_bytes(bytes([luma]) * 256 + bytes([blue]) * 64 + bytes([red]) * 64)


def _wrap_nal_unit(header: int, payload: bytes) -> bytes:
    """Wrap a payload: emulation prevention (clause 7.4.1), then the four bytes of its length."""
    safe, zeros = bytearray([header]), 0
    for byte in payload:
        if zeros == 2 and byte <= 3:
            safe.append(3)
            zeros = 0
        safe.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return len(safe).to_bytes(4, "big") + bytes(safe)
