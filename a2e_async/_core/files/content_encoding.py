"""Decode Content-Encoding, trusting the bytes more than the header (pure).

Object stores keep headers that do not describe the bytes (``aws-chunked``, ``utf-8``, ``binary``)
and send encodings that were not requested. A header is followed only if the bytes agree with it.
Truncated compressed data is an error, and all members of a multi-member gzip file are read.
"""

import importlib
import zlib
from typing import Any, Final

from a2e_async._core.files.media_types import sniff_media_type

MAX_OUTPUT_BYTES: Final = 1024 * 1024
"""Most bytes that one call of `ContentDecoder.decode` returns: bounds decompression bombs."""

GZIP_MAGIC: Final = b"\x1f\x8b"

_HEADER_BYTES: Final = 18  # long enough for the header of every supported encoding
_BROTLI_STEP: Final = 4096  # brotli has no output limit: small input steps bound the output
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_UNKNOWN: Final = frozenset(
    {"compress", "x-compress", "bzip2", "x-bzip2", "xz", "lzma", "exi", "pack200-gzip", "dcb"}
    | {"dcz"}
)
_KNOWN: Final = frozenset({"gzip", "deflate", "br", "zstd"})


class CorruptedContent(Exception):
    """The compressed data is truncated or corrupt."""


class UnsupportedEncoding(Exception):
    """The encoding is genuine, but no decoder for it is available."""


def content_encodings(header: str | None) -> tuple[str, ...]:
    """Return the encodings in a Content-Encoding header that change the bytes, in order."""
    names = (name.strip().lower() for name in (header or "").split(","))
    plain = ("gzip" if name == "x-gzip" else name for name in names)
    return tuple(name for name in plain if name in _KNOWN or name in _UNKNOWN)


class ContentDecoder:
    """Decode one encoding. ``active`` is False once the bytes turned out not to be encoded.

    Created by a download for each encoding of a response; lives as long as that response.
    """

    def __init__(self, coding: str) -> None:
        self.active = True
        self._coding = coding
        self._held = b""
        """Input that has not been decoded yet."""
        self._codec: Any = None
        self._codec_chosen = False
        self.has_more = False
        """True if ``decode(b"")`` may return more data."""

    def decode(self, data: bytes) -> bytes:
        """Return the next decoded bytes, about 1 MiB at most.

        Raises `CorruptedContent` or `UnsupportedEncoding`.
        """
        if self._codec_chosen and not self.active:
            return data
        self._held += data
        if not self._codec_chosen:
            if len(self._held) < _HEADER_BYTES:
                return b""
            self._choose_codec()
        return self._step()

    def finish(self, data: bytes) -> bytes:
        """Decode the last ``data`` and return all remaining bytes.

        Raises `CorruptedContent` if the compressed data is incomplete.
        """
        given = [self.decode(data)]
        if not self._codec_chosen and self._held:
            self._choose_codec()
        while self._held or self.has_more:
            given.append(self._step(last=True))
        if self.active and self._codec is not None and not self._codec.eof:
            raise CorruptedContent("its compressed data ends too early")
        return b"".join(given)

    def _choose_codec(self) -> None:
        self._codec_chosen = True
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
            return zlib.decompressobj(-15)  # raw deflate, which some servers send, has no header
        if self._coding == "zstd" and head.startswith(_ZSTD_MAGIC):
            return _zstd()
        if self._coding == "br":
            return _Brotli()
        raise UnsupportedEncoding(
            f"is stored in an encoding that was not requested ({self._coding})."
        )

    def _step(self, *, last: bool = False) -> bytes:
        data, self._held, self.has_more = self._held, b"", False
        if self._codec is None:
            return data
        if self._codec.eof:
            data = data.lstrip(b"\0")  # padding between members
            if not self._is_member(data, last):
                self._held = data
                return b""
            self._codec = self._codec_for(data)
        try:
            given: bytes = self._codec.decompress(data, MAX_OUTPUT_BYTES)
        except Exception as error:  # zlib.error, or the library's own class
            raise CorruptedContent("its compressed data cannot be read") from error
        self._held = self._codec.unused_data or getattr(self._codec, "unconsumed_tail", b"")
        self.has_more = bool(self._held) or len(given) >= MAX_OUTPUT_BYTES
        return given

    def _is_member(self, data: bytes, last: bool) -> bool:
        """Return whether ``data`` begins another member. Raises for trailing garbage."""
        magic = _ZSTD_MAGIC if self._coding == "zstd" else GZIP_MAGIC
        if data.startswith(magic):
            return True
        if data and (last or not magic.startswith(data)):
            raise CorruptedContent("its compressed data is followed by other data")
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
    return sniff_media_type(head, None)[0] != "file"


def _zstd() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return importlib.import_module(name).ZstdDecompressor()
        except ImportError:
            continue
    raise UnsupportedEncoding("is stored in an encoding that was not requested (zstd).")


class _Brotli:
    """Adapt a Brotli decoder to the interface of zlib's."""

    unused_data = b""

    def __init__(self) -> None:
        for name in ("brotli", "brotlicffi"):
            try:
                self._codec = importlib.import_module(name).Decompressor()
            except ImportError:
                continue
            self.unconsumed_tail = b""
            return
        raise UnsupportedEncoding("is stored in an encoding that was not requested (br).")

    @property
    def eof(self) -> bool:
        return bool(self._codec.is_finished())

    def decompress(self, data: bytes, _: int) -> bytes:
        self.unconsumed_tail = data[_BROTLI_STEP:]
        given: bytes = self._codec.decompress(data[:_BROTLI_STEP])
        return given
