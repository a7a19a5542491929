"""Content-Encoding undone, by the bytes rather than by the label (pure).

Stores keep labels that say nothing about the bytes (``aws-chunked``, ``utf-8``, ``binary``) and
send what was not asked for. A label is followed only where the bytes agree; compressed data that
ends early is an error, and every member of a gzip file counts.
"""

import importlib
import zlib
from typing import Any, Final

from a2e_async.transport.mediatype import sniff

OUTPUT_BYTES: Final = 1024 * 1024
"""Bytes that one step gives out at most, whatever its input expands to."""

GZIP_MAGIC: Final = b"\x1f\x8b"

_HEAD_BYTES: Final = 18  # a gzip header and more than any other needs
_BROTLI_STEP: Final = 4096  # its output is not bounded: small steps bound it
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_UNKNOWN: Final = frozenset(
    {"compress", "x-compress", "bzip2", "x-bzip2", "xz", "lzma", "exi", "pack200-gzip", "dcb"}
    | {"dcz"}
)
_KNOWN: Final = frozenset({"gzip", "deflate", "br", "zstd"})


class Damaged(Exception):
    """The compressed data is cut or broken."""


class Unsupported(Exception):
    """The coding is real and cannot be undone here."""


def codings(label: str | None) -> tuple[str, ...]:
    """Return the codings of a Content-Encoding header that change bytes, in their order."""
    names = (name.strip().lower() for name in (label or "").split(","))
    plain = ("gzip" if name == "x-gzip" else name for name in names)
    return tuple(name for name in plain if name in _KNOWN or name in _UNKNOWN)


class Decoder:
    """Undoes one coding. ``active`` is False once the bytes proved not to be encoded."""

    def __init__(self, coding: str) -> None:
        self.active = True
        self._coding = coding
        self._held = b""
        """Input that was not decoded yet."""
        self._codec: Any = None
        self._chosen = False
        self.pending = False
        """True when ``decode(b"")`` may give more."""

    def decode(self, data: bytes) -> bytes:
        """Return what ``data`` adds, about 1 MiB at most. Raises `Damaged`, `Unsupported`."""
        if self._chosen and not self.active:
            return data
        self._held += data
        if not self._chosen:
            if len(self._held) < _HEAD_BYTES:
                return b""
            self._choose()
        return self._step()

    def end(self, data: bytes) -> bytes:
        """Return the rest, after the last ``data``. Raises `Damaged` if more was to come."""
        given = [self.decode(data)]
        if not self._chosen and self._held:
            self._choose()
        while self._held or self.pending:
            given.append(self._step(last=True))
        if self.active and self._codec is not None and not self._codec.eof:
            raise Damaged("its compressed data ends too soon")
        return b"".join(given)

    def _choose(self) -> None:
        self._chosen = True
        self._codec = self._codec_for(self._held)
        self.active = self._codec is not None

    def _codec_for(self, head: bytes) -> Any:
        if head.startswith(GZIP_MAGIC) and self._coding in ("gzip", "deflate"):
            return zlib.decompressobj(31)
        if self._coding in ("gzip", "deflate") and _is_zlib(head):
            return zlib.decompressobj(15)
        if self._coding == "gzip" or _is_media(head):
            return None
        if self._coding == "deflate":
            return zlib.decompressobj(-15)
        if self._coding == "zstd" and head.startswith(_ZSTD_MAGIC):
            return _zstd()
        if self._coding == "br":
            return _Brotli()
        raise Unsupported(f"is stored in an encoding not asked for ({self._coding}).")

    def _step(self, *, last: bool = False) -> bytes:
        data, self._held, self.pending = self._held, b"", False
        if self._codec is None:
            return data
        if self._codec.eof:
            data = data.lstrip(b"\0")  # padding between members
            if not self._is_member(data, last):
                self._held = data
                return b""
            self._codec = self._codec_for(data)
        try:
            given: bytes = self._codec.decompress(data, OUTPUT_BYTES)
        except Exception as error:  # zlib.error, and each library has its own
            raise Damaged("its compressed data cannot be read") from error
        self._held = self._codec.unused_data or getattr(self._codec, "unconsumed_tail", b"")
        self.pending = bool(self._held) or len(given) >= OUTPUT_BYTES
        return given

    def _is_member(self, data: bytes, last: bool) -> bool:
        """Return whether ``data`` begins another member; raises for what is something else."""
        magic = _ZSTD_MAGIC if self._coding == "zstd" else GZIP_MAGIC
        if data.startswith(magic):
            return True
        if data and (last or not magic.startswith(data)):
            raise Damaged("its compressed data is followed by something else")
        return False


def _is_zlib(head: bytes) -> bool:
    if len(head) < 2 or head[0] & 0x8F != 8 or (head[0] << 8 | head[1]) % 31:
        return False
    try:
        zlib.decompressobj(15).decompress(head)
    except zlib.error:
        return False
    return True


def _is_media(head: bytes) -> bool:
    return sniff(head, None)[0] != "file"


def _zstd() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name).ZstdDecompressor()
        except ImportError:
            continue
    raise Unsupported("is stored in an encoding not asked for (zstd).")


class _Brotli:
    """A Brotli library's decoder in the form of zlib's."""

    unused_data = b""

    def __init__(self) -> None:
        for name in ("brotli", "brotlicffi"):
            try:
                self._codec = importlib.import_module(name).Decompressor()
            except ImportError:
                continue
            self.unconsumed_tail = b""
            return
        raise Unsupported("is stored in an encoding not asked for (br).")

    @property
    def eof(self) -> bool:
        return bool(self._codec.is_finished())

    def decompress(self, data: bytes, _: int) -> bytes:
        self.unconsumed_tail = data[_BROTLI_STEP:]
        given: bytes = self._codec.decompress(data[:_BROTLI_STEP])
        return given
