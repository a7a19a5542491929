"""Byte ranges of a download (RFC 9110, one range only)."""

from __future__ import annotations

import re

import attrs


@attrs.frozen(slots=True)
class ByteRange:
    """The part of a file to send: from the first byte, so many bytes."""

    first: int
    length: int
    is_part: bool


def select_byte_range(
    size: int, wanted: str | None, if_range: str | None, etag: str
) -> ByteRange | None:
    """Returns what to send for a Range header; None when it lies outside the file (416).

    A header that cannot be read, names several ranges, or whose If-Range does not match the ETag
    is ignored: then it is the whole file.
    """
    whole = ByteRange(0, size, is_part=False)
    if wanted is None or (if_range is not None and if_range != f'"{etag}"'):
        return whole
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted.strip())
    if match is None or wanted.strip() == "bytes=-":
        return whole
    first, last = match.groups()
    if not first:
        length = min(size, int(last))
        return ByteRange(size - length, length, is_part=True) if length else None
    begin = int(first)
    end = min(size - 1, int(last)) if last else size - 1
    if last and int(last) < begin:
        return whole
    return ByteRange(begin, end - begin + 1, is_part=True) if begin < size else None
