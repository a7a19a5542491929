"""Detect truncated files, and files with sound only, from their own structure (pure).

The checkers read a few bytes of each block while the file streams past. They are needed where HTTP
does not give the length (a body that ends with its connection), and they also find a file that
was already truncated when it was stored.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final, Literal

Completeness = Literal["complete", "cut", "unfinished", "unknown"]
"""``cut``: certainly truncated; ``unfinished``: probably truncated; ``unknown``: cannot tell."""

_INDEXES: Final = frozenset(b"moov moof meta".split())
_HEAVY: Final = frozenset(b"moov mdat moof".split())


class CompletenessChecker:
    """Checks one file: `feed` it all bytes in order, then call `completeness`.

    Created by a download for its file and fed by it alone.
    """

    def __init__(self) -> None:
        self.position: int = 0

    def feed(self, data: bytes) -> None:
        """Process the next bytes."""
        self.position += len(data)

    def completeness(self) -> Completeness:
        """Return whether the file is complete if it ends here."""
        return "unknown"


class _BlockChecker(CompletenessChecker, ABC):
    """A sequence of blocks, each preceded by its length and type."""

    block_types: ClassVar[frozenset[bytes]]
    first_block_at: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.seen = set[bytes]()
        self.last = b""
        self.final_answer: Completeness | None = None
        """The result, once the remaining blocks need not be followed."""
        self._goal = self.first_block_at
        self._head = b""

    def feed(self, data: bytes) -> None:
        start = self.position
        self.position += len(data)
        while self.final_answer is None:
            at = self._goal + len(self._head) - start
            if at >= len(data):
                return
            need = self.header_size(self._head) - len(self._head)
            self._head += data[at : at + need]
            if len(self._head) == self.header_size(self._head):
                self._goal += self.block_size(self._head)
                self._head = b""

    def header_size(self, head: bytes) -> int:
        """Return the length of a header that begins with ``head``, in bytes."""
        return 8

    @abstractmethod
    def block_size(self, head: bytes) -> int:
        """Return the length of the block in bytes; 0 if `final_answer` is set."""

    @property
    def ends_inside_block(self) -> bool:
        """Whether the last block extends past the end of the data."""
        return self._goal > self.position

    @property
    def ends_after_block(self) -> bool:
        """Whether the data ends exactly at the end of a block."""
        return self._goal == self.position and not self._head


class _Mp4Checker(_BlockChecker):
    """MP4, QuickTime, HEIC, AVIF."""

    block_types = frozenset(
        b"ftyp moov mdat free skip wide uuid moof mfra sidx ssix styp pdin meta emsg prft udta "
        b"pnot".split()
    )

    def header_size(self, head: bytes) -> int:
        return 16 if len(head) >= 8 and head.startswith(b"\0\0\0\1") else 8

    def block_size(self, head: bytes) -> int:
        size, self.last = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if self.last not in self.block_types or 0 < size < 8:
            self.final_answer = "unknown"
            return 0
        self.seen.add(self.last)
        if not size:  # size 0: the box extends to the end of the file, so it gives no length
            self.final_answer = "unknown"
        return size

    def completeness(self) -> Completeness:
        if self.final_answer is not None:
            return self.final_answer
        if self.ends_inside_block:
            return "cut" if self.last in _HEAVY else "unfinished"
        return "complete" if self.ends_after_block and self.seen & _INDEXES else "unfinished"


class _PngChecker(_BlockChecker):
    """PNG."""

    block_types = frozenset(
        b"IHDR PLTE IDAT IEND acTL fcTL fdAT bKGD cHRM cICP dSIG eXIf gAMA hIST iCCP iTXt mDCV "
        b"cLLI pHYs sBIT sPLT sRGB sTER tEXt tIME tRNS zTXt caBX".split()
    )
    first_block_at = 8

    def block_size(self, head: bytes) -> int:
        self.last = head[4:8]
        if self.last not in self.block_types:
            self.final_answer = "unknown"
            return 0
        self.seen.add(self.last)
        return 12 + int.from_bytes(head[:4], "big")

    def completeness(self) -> Completeness:
        if b"IEND" in self.seen:
            return "cut" if self.last == b"IEND" and self.ends_inside_block else "complete"
        if self.final_answer is not None:
            return self.final_answer
        return "cut" if self.ends_inside_block else "unfinished"


class _RiffChecker(CompletenessChecker):
    """WAV, WebP, AVI: one length for the whole file."""

    def __init__(self, head: bytes) -> None:
        super().__init__()
        size = int.from_bytes(head[4:8], "little")
        # An encoder that writes to a pipe does not know the length and leaves 0 or a maximum.
        self._end = 8 + size if size and size < 0x7FFFFFFF else None

    def completeness(self) -> Completeness:
        if self._end is None:
            return "unknown"
        return "complete" if self.position >= self._end else "unfinished"


class _EndMarkerChecker(CompletenessChecker):
    """JPEG, GIF: an end marker."""

    def __init__(self, mark: bytes) -> None:
        super().__init__()
        self._mark = mark
        self._tail = b""

    def feed(self, data: bytes) -> None:
        super().feed(data)
        self._tail = (self._tail + data[-64:])[-64:]

    def completeness(self) -> Completeness:
        found = self._tail.rstrip(b"\0\r\n").endswith(self._mark)
        return "complete" if found else "unfinished"


def completeness_checker_for(head: bytes) -> CompletenessChecker | None:
    """Return a checker for a file that begins with ``head``; None for an unknown format."""
    if head[4:8] in (b"ftyp", b"styp", b"moov"):
        return _Mp4Checker()
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _PngChecker()
    if head.startswith(b"RIFF"):
        return _RiffChecker(head)
    if head.startswith(b"\xff\xd8\xff"):
        return _EndMarkerChecker(b"\xff\xd9")
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _EndMarkerChecker(b"\x3b")
    return None


def mp4_seconds(read_at: Callable[[int, int], bytes], size: int) -> float | None:
    """Return the length of an MP4 or QuickTime file in seconds; None if its index does not say.

    ``read_at(position, count)`` reads the file, which has ``size`` bytes.
    """
    position, end = 0, size
    while position + 8 <= end:
        head = read_at(position, 16)
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = end - position
        if length < header:
            return None
        if head[4:8] == b"moov":
            position, end = position + header, position + length
        elif head[4:8] == b"mvhd":
            return _mvhd_seconds(read_at(position + header, 32))
        else:
            position += length
    return None


def _mvhd_seconds(body: bytes) -> float | None:
    at, width = (20, 8) if body[:1] == b"\1" else (12, 4)  # version 1 has 64-bit times
    scale = int.from_bytes(body[at : at + 4], "big")
    ticks = int.from_bytes(body[at + 4 : at + 4 + width], "big")
    return ticks / scale if scale and 0 < ticks < 2 ** (8 * width) - 1 else None


# -- tracks ------------------------------------------------------------------------------------

_MAX_READS: Final = 2000
"""Reads after which the tracks of a file count as unknown."""

_READ_BYTES: Final = 4096


class _TrackReader(_BlockChecker):
    """Collects the types of the tracks; `final_answer` is set when there is no more to read."""

    block_types = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.tracks = set[bytes]()
        self._tracks_end: int | None = None

    @property
    def next_position(self) -> int:
        """The position of the next byte that it needs."""
        return self._goal + len(self._head)

    def _enter_tracks(self, size: int) -> None:
        """Note that the element which lists all tracks begins here."""
        self._tracks_end = self._goal + size

    @property
    def knows_all_tracks(self) -> bool:
        """Whether the element which lists all tracks has been read to its end."""
        return self._tracks_end is not None and self._goal >= self._tracks_end

    def _stop(self) -> int:
        self.final_answer = "unknown"
        return 0


class _Mp4Tracks(_TrackReader):
    """MP4, QuickTime, 3GP: the handler type of each ``moov/trak/mdia/hdlr``."""

    def header_size(self, head: bytes) -> int:
        if len(head) < 8:
            return 8
        if head[4:8] == b"hdlr":
            return 20
        return 16 if head.startswith(b"\0\0\0\1") else 8

    def block_size(self, head: bytes) -> int:
        size, box = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1 and len(head) == 16:
            size = int.from_bytes(head[8:16], "big")
        if self.knows_all_tracks or size < 8:
            return self._stop()
        if box == b"hdlr":
            self.tracks.add(head[16:20])
        if box == b"moov":
            self._enter_tracks(size)
        return len(head) if box in (b"moov", b"trak", b"mdia") else size


class _MatroskaTracks(_TrackReader):
    """WebM, Matroska: the TrackType of each ``Segment/Tracks/TrackEntry``."""

    def header_size(self, head: bytes) -> int:
        if not head:
            return 1
        id_size = _vint_size(head[0], 4)
        if not id_size or len(head) <= id_size:
            return id_size + 1
        header = id_size + _vint_size(head[id_size], 8)
        if head[:id_size] == b"\x83" and len(head) >= header:
            return header + min(8, _element_size(head, id_size))
        return header

    def block_size(self, head: bytes) -> int:
        id_size = _vint_size(head[0], 4)
        size_size = _vint_size(head[id_size], 8) if 0 < id_size < len(head) else 0
        if self.knows_all_tracks or not size_size:
            return self._stop()
        element, size = head[:id_size], _element_size(head, id_size)
        header = id_size + size_size
        if element == b"\x18\x53\x80\x67":  # Segment, whose size is unknown in live recordings
            return header
        if element == b"\x1f\x43\xb6\x75" or size == (1 << 7 * size_size) - 1:  # Cluster
            return self._stop()
        if element == b"\x16\x54\xae\x6b":  # Tracks
            self._enter_tracks(header + size)
            return header
        if element == b"\xae":  # TrackEntry
            return header
        if element == b"\x83":  # TrackType
            self.tracks.add(head[header:].lstrip(b"\0"))
        return header + size


def _vint_size(first: int, maximum: int) -> int:
    """Return the length of an EBML number by its first byte; 0 if it is invalid."""
    size = 9 - first.bit_length()
    return size if size <= maximum else 0


def _element_size(head: bytes, id_size: int) -> int:
    size = _vint_size(head[id_size], 8)
    value = int.from_bytes(head[id_size : id_size + size], "big")
    return value & ((1 << 7 * size) - 1)


_VIDEO_TRACKS: Final = frozenset({b"vide", b"auxv", b"pict", b"\x01"})
_SOUND_TRACKS: Final = frozenset({b"soun", b"\x02"})


def has_sound_only(mime: str, read_at: Callable[[int, int], bytes]) -> bool:
    """Return whether a video container certainly has tracks with sound and none with pictures.

    ``mime`` is its MIME type; ``read_at(position, size)`` returns bytes of the file.
    """
    if mime in ("video/ogg", "video/x-msvideo"):
        return False
    reader = _MatroskaTracks() if mime in ("video/webm", "video/x-matroska") else _Mp4Tracks()
    for _ in range(_MAX_READS):
        reader.position = reader.next_position
        data = read_at(reader.position, _READ_BYTES)
        reader.feed(data)
        if reader.final_answer is not None or not data:
            break
    sound, pictures = reader.tracks & _SOUND_TRACKS, reader.tracks & _VIDEO_TRACKS
    return reader.knows_all_tracks and bool(sound) and not pictures
