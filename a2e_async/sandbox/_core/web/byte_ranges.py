"""Byte ranges of a download (RFC 9110, one range only)."""

from __future__ import annotations

import re

import attrs


@attrs.frozen(slots=True)
class ByteRange:
    """The part of a file to send: the offset of the first byte, and the length."""

    first: int
    length: int
    is_part: bool


def select_byte_range(
    size: int, range_header: str | None, if_range: str | None, etag: str
) -> ByteRange | None:
    """Return what to send for a Range header; None when it lies outside the file (416).

    A Range header that is invalid or has several ranges is ignored, as is one whose If-Range does
    not match the ETag: then the whole file is sent.
    """
    full_range = ByteRange(0, size, is_part=False)
    if range_header is None or (if_range is not None and if_range != f'"{etag}"'):
        return full_range
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", range_header.strip())
    if match is None or range_header.strip() == "bytes=-":
        return full_range
    first, last = match.groups()
    if not first:
        length = min(size, int(last))
        return ByteRange(size - length, length, is_part=True) if length else None
    begin = int(first)
    end = min(size - 1, int(last)) if last else size - 1
    if last and int(last) < begin:
        return full_range
    return ByteRange(begin, end - begin + 1, is_part=True) if begin < size else None
