"""What both web servers of the sandbox share: answers, and ways to break a connection."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from xml.sax.saxutils import escape

from aiohttp import web

HTML_PAGE: Final = (
    "<!DOCTYPE html>\n<html><head><title>{title}</title></head>"
    "<body><h1>{title}</h1><p>a2e_async sandbox</p></body></html>\n"
)


def json_bytes(value: Any) -> bytes:
    """Returns compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def json_response(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Returns an answer of JSON bytes."""
    return web.Response(
        body=body, status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


def html_response(
    status: int, title: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Returns a page as a gateway would show it."""
    text = HTML_PAGE.format(title=title)
    return web.Response(text=text, status=status, headers=headers, content_type="text/html")


def xml_error(status: int, code: str, message: str) -> web.Response:
    """Returns an error as an object store tells it."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>\n"
    )
    return web.Response(text=text, status=status, content_type="application/xml")


def close_connection(request: web.BaseRequest, *, reset: bool = False) -> web.Response:
    """Closes the connection without an answer, or resets it (RST).

    Returns a response that will never be sent, for the handler to return.
    """
    transport = request.transport
    if transport is not None:
        if reset:
            _reset_on_close(transport.get_extra_info("socket"))
        transport.abort()
    return web.Response(status=500)


def _reset_on_close(connection: Any) -> None:
    """Makes the close of a socket a reset."""
    value = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    with socket.socket(fileno=os.dup(connection.fileno())) as twin:  # uvloop hides setsockopt
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)


WebHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def ignore_disconnects(handler: WebHandler) -> WebHandler:
    """Returns the handler, quiet about clients that left in the middle."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except (ConnectionError, web.RequestPayloadError):
            return close_connection(request)

    return answer


MonotonicClock = Callable[[], float]
"""Seconds that only grow."""
