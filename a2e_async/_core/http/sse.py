"""Parse Server-Sent Events: bytes in, (event, data) pairs out (pure)."""

import re
from collections.abc import Iterator
from typing import Final

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class SseParser:
    """Splits a byte stream into events. ``pending``: bytes of the incomplete event.

    Created for one response and fed by its reader alone.
    """

    __slots__ = ("_data", "_event", "_rest", "pending")

    def __init__(self) -> None:
        self._rest = b""
        self._event = ""
        self._data: list[str] = []
        self.pending = 0

    def feed(self, chunk: bytes) -> Iterator[tuple[str, str]]:
        """Yield the events that ``chunk`` completes; the default event name is "message"."""
        self.pending += len(chunk)
        text = self._rest + chunk
        start = 0
        for end in _LINE_END.finditer(text):
            if end.end() == len(text) and end[0] == b"\r":
                break  # may be the first half of "\r\n"; the next chunk decides
            line = text[start : end.start()]
            start = end.end()
            if line:
                self._field(line)
            elif (event := self._close()) is not None:
                self.pending = len(text) - start
                yield event
        self._rest = text[start:]

    def finish(self) -> Iterator[tuple[str, str]]:
        """Yield the last event if the server ended the stream without an empty line."""
        if self._rest.rstrip(b"\r"):
            self._field(self._rest.rstrip(b"\r"))
        self._rest = b""
        if (event := self._close()) is not None:
            yield event

    def _field(self, line: bytes) -> None:
        name, _, value = line.decode("utf-8", "replace").removeprefix("\ufeff").partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)

    def _close(self) -> tuple[str, str] | None:
        data, event = self._data, self._event
        self._data, self._event = [], ""
        return (event or "message", "\n".join(data)) if data or event else None
