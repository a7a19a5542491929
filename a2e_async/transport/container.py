"""Whether a media file is complete, by the lengths that it holds itself (pure).

Read while the file passes, a few bytes of each block. HTTP tells the end of most bodies; this
tells it for those that end with their connection, and finds a file that was stored cut.
"""

from typing import ClassVar, Final, Literal

Verdict = Literal["complete", "cut", "unfinished", "unknown"]
"""``cut``: it surely goes on; ``unfinished``: it should go on; ``unknown``: it does not tell."""

_INDEXES: Final = frozenset(b"moov moof meta".split())
_HEAVY: Final = frozenset(b"moov mdat moof".split())


class Structure:
    """What is seen of one file: `feed` it from its first byte on, then ask for the verdict."""

    def __init__(self) -> None:
        self.position: int = 0

    def feed(self, data: bytes) -> None:
        """Take in the next bytes."""
        self.position += len(data)

    def verdict(self) -> Verdict:
        """Return what it means that the data ends here."""
        return "unknown"


class _Blocks(Structure):
    """A row of blocks, each with its length and type before it."""

    known: ClassVar[frozenset[bytes]]
    begins: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.seen = set[bytes]()
        self.last = b""
        self.stopped: Verdict | None = None
        """Set where the blocks need not be followed any further."""
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
        """Return how long a header is that begins with ``head``."""
        return 8

    def size_of(self, head: bytes) -> int:
        """Return the length of the block with this header; 0 where `stopped` is set."""
        raise NotImplementedError

    @property
    def beyond(self) -> bool:
        """True when the last block reaches past the end of the data."""
        return self._goal > self.position

    @property
    def exact(self) -> bool:
        """True when the data ends with a block."""
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
        if not size:  # it reaches to the end of the file, wherever that is
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
    """WAV, WebP, AVI: one length for all."""

    def __init__(self, head: bytes) -> None:
        super().__init__()
        size = int.from_bytes(head[4:8], "little")
        # Who writes to a pipe does not know the length and leaves one of these.
        self._end = 8 + size if size and size < 0x7FFFFFFF else None

    def verdict(self) -> Verdict:
        if self._end is None:
            return "unknown"
        return "complete" if self.position >= self._end else "unfinished"


class _Tail(Structure):
    """JPEG, GIF: a mark at the end."""

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
    """Return what follows a file that begins with ``head``, None where that tells no end."""
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
