"""What a media input may be, and the checks that need no reading (pure)."""

import inspect
import io
import os
from collections.abc import Awaitable
from typing import Any, Final, Literal, Protocol, cast

from attrs import define, field

from a2e_async.errors import InvalidInput


class BinaryFile(Protocol):
    """A file object opened in binary mode: `open(path, "rb")`, `io.BytesIO`, a member of a zip."""

    def read(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes; no bytes at the end."""
        ...


class AsyncBinaryFile(Protocol):
    """A binary file whose ``read`` is awaited: aiofiles, anyio, the body of a request."""

    def read(self, size: int, /) -> Awaitable[bytes]:
        """Return at most ``size`` bytes; no bytes at the end."""
        ...


class AsyncBodyPart(Protocol):
    """A part of a multipart request that is read while it arrives, as in aiohttp."""

    def read_chunk(self, size: int = ...) -> Awaitable[bytes | bytearray]:
        """Return some of the next bytes; no bytes at the end."""
        ...


class FormFile(Protocol):
    """An uploaded file of a web framework: FastAPI, Starlette, Litestar, aiohttp."""

    @property
    def file(self) -> BinaryFile:
        """Its content."""
        ...

    @property
    def filename(self) -> str | None:
        """The name that its sender gave it."""
        ...


Reading = Literal["seekable", "stream", "async read", "async chunks", "async iterator"]
"""How the content of an open file is read. Only "seekable" files can be read more than once."""

ACCEPTED: Final = "a URL, a path, bytes, a file opened in binary mode, an async stream or an Output"
"""What media inputs take, for messages."""


@define(eq=False, repr=False)
class OpenFile:
    """An open file or stream that was given as a media input.

    Created when an input is checked; changed by `files.open_file` alone. A stream can be read
    once: its content is kept in a temporary file until the last holder has released it.
    """

    source: Any
    reading: Reading
    filename: str | None
    """Its name, whose extension helps to detect its type; never shown."""
    holders: int = field(init=False, default=0)
    """How many starts and batch jobs need its content."""
    content: Any = field(init=False, default=None)
    """The temporary file with the content of a stream, once it is read."""
    was_read: bool = field(init=False, default=False)
    """Reading the stream has begun: what its source returns now is not all of it."""
    lock: Any = field(init=False, default=None)


class _BufferFile(io.RawIOBase):
    """Reads a bytearray or memoryview in place: a copy would take its size in memory again."""

    def __init__(self, view: "memoryview[Any]") -> None:
        self._view = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        starts = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._view)}
        self._position = max(0, starts[whence] + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        end = len(self._view) if size < 0 else self._position + size
        block = self._view[self._position : end].tobytes()
        self._position += len(block)
        return block


def as_open_file(name: str, value: Any) -> OpenFile | None:
    """Return an open file, stream or buffer as an `OpenFile`; None if ``value`` is none of them.

    Reads nothing. Raises `InvalidInput` for a file that cannot be read as bytes, and for images
    and arrays of the libraries that are often tried.
    """
    if isinstance(value, OpenFile):
        return value
    if isinstance(value, bytearray | memoryview):
        view: memoryview[Any] = memoryview(cast("Any", value))
        if not view.nbytes:
            raise InvalidInput(f"{name} is empty.", field=name)
        return OpenFile(_BufferFile(view), "seekable", None)
    _refuse_decoded_media(name, value)
    filename = getattr(value, "filename", None)
    inner = getattr(value, "file", None)
    if hasattr(value, "filename") and callable(getattr(inner, "read", None)):
        value = inner
    if not isinstance(filename, str):
        filename = getattr(value, "name", None)
    reading = _reading(name, value)
    if reading is None:
        return None
    return OpenFile(value, reading, filename if isinstance(filename, str) else None)


def _reading(name: str, value: Any) -> Reading | None:
    if inspect.iscoroutinefunction(getattr(value, "read_chunk", None)):
        return "async chunks"
    read = getattr(value, "read", None)
    if not callable(read):
        return "async iterator" if hasattr(value, "__aiter__") else None
    if isinstance(value, type):
        return None
    if isinstance(value, io.TextIOBase) or isinstance(getattr(value, "file", None), io.TextIOBase):
        raise InvalidInput(
            f"{name}: the file object is open in text mode. Open it in binary mode: "
            "open(path, 'rb').",
            field=name,
        )
    if getattr(value, "closed", False) is True:
        raise InvalidInput(
            f"{name}: the file object is closed. Open it again, and keep it open until the call "
            "that uploads it has returned.",
            field=name,
        )
    if inspect.iscoroutinefunction(read):
        return "async read"
    readable = getattr(value, "readable", None)
    if callable(readable) and readable() is False:
        raise InvalidInput(
            f"{name}: the file object is open for writing only. Open it for reading, in binary "
            "mode: open(path, 'rb').",
            field=name,
        )
    seekable = getattr(value, "seekable", None)
    return "seekable" if callable(seekable) and seekable() is True else "stream"


def _refuse_decoded_media(name: str, value: Any) -> None:
    """Raise `InvalidInput` for pixels or samples: the service takes files only."""
    classes: tuple[type[object], ...] = type(value).__mro__
    if any(cls.__module__.startswith("PIL.") for cls in classes) and hasattr(value, "save"):
        raise InvalidInput(
            f"{name} is a PIL image, not a file: buffer = io.BytesIO(); image.save(buffer, 'PNG'); "
            "then pass buffer.getvalue().",
            field=name,
        )
    if any(hasattr(cls, "__array__") for cls in classes):
        raise InvalidInput(
            f"{name} is an array, not a file: buffer = io.BytesIO(); encode it, an image with "
            "PIL.Image.fromarray(array).save(buffer, 'PNG'), sound with soundfile.write(buffer, "
            "array, rate, format='WAV'); then pass buffer.getvalue().",
            field=name,
        )
