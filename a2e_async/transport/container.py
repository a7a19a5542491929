"""Detect truncated media files from the lengths in their own structure (pure).

The checkers read a few bytes of each block while the file streams past. They are needed where HTTP
does not give the length (a body that ends with its connection), and they also find a file that
was already truncated when it was stored.
"""

from typing import ClassVar, Final, Literal

Verdict = Literal["complete", "cut", "unfinished", "unknown"]
"""``cut``: certainly truncated; ``unfinished``: probably truncated; ``unknown``: cannot tell."""

_INDEXES: Final = frozenset(b"moov moof meta".split())
_HEAVY: Final = frozenset(b"moov mdat moof".split())


class Structure:
    """Checks one file: `feed` it all bytes in order, then call `completeness`."""

    def __init__(self) -> None:
        self.position: int = 0

    def feed(self, data: bytes) -> None:
        """Process the next bytes."""
        self.position += len(data)

    def verdict(self) -> Verdict:
        """Return whether the file is complete if it ends here."""
        return "unknown"


class _Blocks(Structure):
    """A sequence of blocks, each preceded by its length and type."""

    known: ClassVar[frozenset[bytes]]
    begins: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.seen = set[bytes]()
        self.last = b""
        self.stopped: Verdict | None = None
        """The result, once the remaining blocks need not be followed."""
        self._goal = self.begins
        self._head = b""

    def feed(self, data: bytes) -> None:
        start = self.position
        self.position += len(data)
        while self.stopped is None:
            at = self._goal + len(self._head) - start
            if at >= len(data):
                return
            need = self.header_of(self._head) - len(self._head)
            self._head += data[at : at + need]
            if len(self._head) == self.header_of(self._head):
                self._goal += self.size_of(self._head)
                self._head = b""

    def header_of(self, head: bytes) -> int:
        """Return the length of a header that begins with ``head``, in bytes."""
        return 8

    def size_of(self, head: bytes) -> int:
        """Return the length of the block in bytes; 0 if `final_answer` is set."""
        raise NotImplementedError

    @property
    def beyond(self) -> bool:
        """Whether the last block extends past the end of the data."""
        return self._goal > self.position

    @property
    def exact(self) -> bool:
        """Whether the data ends exactly at the end of a block."""
        return self._goal == self.position and not self._head


class _Boxes(_Blocks):
    """MP4, QuickTime, HEIC, AVIF."""

    known = frozenset(
        b"ftyp moov mdat free skip wide uuid moof mfra sidx ssix styp pdin meta emsg prft udta "
        b"pnot".split()
    )

    def header_of(self, head: bytes) -> int:
        return 16 if len(head) >= 8 and head.startswith(b"\0\0\0\1") else 8

    def size_of(self, head: bytes) -> int:
        size, self.last = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        if self.last not in self.known or 0 < size < 8:
            self.stopped = "unknown"
            return 0
        self.seen.add(self.last)
        if not size:  # size 0: the box extends to the end of the file, so it gives no length
            self.stopped = "unknown"
        return size

    def verdict(self) -> Verdict:
        if self.stopped is not None:
            return self.stopped
        if self.beyond:
            return "cut" if self.last in _HEAVY else "unfinished"
        return "complete" if self.exact and self.seen & _INDEXES else "unfinished"


class _Chunks(_Blocks):
    """PNG."""

    known = frozenset(
        b"IHDR PLTE IDAT IEND acTL fcTL fdAT bKGD cHRM cICP dSIG eXIf gAMA hIST iCCP iTXt mDCV "
        b"cLLI pHYs sBIT sPLT sRGB sTER tEXt tIME tRNS zTXt caBX".split()
    )
    begins = 8

    def size_of(self, head: bytes) -> int:
        self.last = head[4:8]
        if self.last not in self.known:
            self.stopped = "unknown"
            return 0
        self.seen.add(self.last)
        return 12 + int.from_bytes(head[:4], "big")

    def verdict(self) -> Verdict:
        if b"IEND" in self.seen:
            return "cut" if self.last == b"IEND" and self.beyond else "complete"
        if self.stopped is not None:
            return self.stopped
        return "cut" if self.beyond else "unfinished"


class _Riff(Structure):
    """WAV, WebP, AVI: one length for the whole file."""

    def __init__(self, head: bytes) -> None:
        super().__init__()
        size = int.from_bytes(head[4:8], "little")
        # An encoder that writes to a pipe does not know the length and leaves 0 or a maximum.
        self._end = 8 + size if size and size < 0x7FFFFFFF else None

    def verdict(self) -> Verdict:
        if self._end is None:
            return "unknown"
        return "complete" if self.position >= self._end else "unfinished"


class _Tail(Structure):
    """JPEG, GIF: an end marker."""

    def __init__(self, mark: bytes) -> None:
        super().__init__()
        self._mark = mark
        self._tail = b""

    def feed(self, data: bytes) -> None:
        super().feed(data)
        self._tail = (self._tail + data[-64:])[-64:]

    def verdict(self) -> Verdict:
        found = self._tail.rstrip(b"\0\r\n").endswith(self._mark)
        return "complete" if found else "unfinished"


def structure_of(head: bytes) -> Structure | None:
    """Return a checker for a file that begins with ``head``; None for an unknown format."""
    if head[4:8] in (b"ftyp", b"styp", b"moov"):
        return _Boxes()
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _Chunks()
    if head.startswith(b"RIFF"):
        return _Riff(head)
    if head.startswith(b"\xff\xd8\xff"):
        return _Tail(b"\xff\xd9")
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _Tail(b"\x3b")
    return None
