"""Responses of both web servers, and ways to break a connection."""

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
    """Return compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def json_response(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a response with this JSON."""
    return web.Response(
        body=body, status=status, headers=headers, content_type="application/json", charset="utf-8"
    )


def html_response(
    status: int, title: str, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return an HTML page like that of a gateway."""
    text = HTML_PAGE.format(title=title)
    return web.Response(text=text, status=status, headers=headers, content_type="text/html")


def xml_error(status: int, code: str, message: str) -> web.Response:
    """Return an XML error like that of an object store."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>\n"
    )
    return web.Response(text=text, status=status, content_type="application/xml")


def close_connection(request: web.BaseRequest, *, reset: bool = False) -> web.Response:
    """Close the connection without a response, or reset it (RST).

    Return a response for the handler to return; it is never sent.
    """
    transport = request.transport
    if transport is not None:
        if reset:
            _reset_on_close(transport.get_extra_info("socket"))
        transport.abort()
    return web.Response(status=500)


def _reset_on_close(connection: Any) -> None:
    """Let the close of a socket send a reset (RST)."""
    value = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    with socket.socket(
        fileno=os.dup(connection.fileno())
    ) as twin:  # uvloop's socket has no setsockopt
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, value)


_EXPOSED_HEADERS: Final = (
    "Accept-Ranges, Content-Length, Content-Range, ETag, Retry-After, X-Sandbox-Made-With"
)
"""The response headers that scripts of web pages can read."""


def cors_headers(request: web.BaseRequest) -> dict[str, str]:
    """Return the headers that let the web page which sent a request read the response.

    Empty for requests of other programs, which send no Origin.
    """
    if "Origin" not in request.headers:
        return {}
    return {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": _EXPOSED_HEADERS,
    }


def preflight_response(request: web.BaseRequest) -> web.Response | None:
    """Return the response to a browser's preflight request; None for any other request.

    All methods and headers are allowed: the sandbox is for development.
    """
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        return None
    allowed = request.headers.get("Access-Control-Request-Headers", "Authorization, Content-Type")
    headers = {
        **cors_headers(request),
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, DELETE",
        "Access-Control-Allow-Headers": allowed,
        "Access-Control-Max-Age": "600",
    }
    return web.Response(status=204, headers=headers)


WebHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def ignore_disconnects(handler: WebHandler) -> WebHandler:
    """Wrap a handler: ignore clients that disconnect during a request."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await handler(request)
        except (ConnectionError, web.RequestPayloadError):
            return close_connection(request)

    return handle


def with_prefixes(handler: WebHandler, others: Mapping[str, WebHandler]) -> WebHandler:
    """Return a handler that passes requests for paths with these prefixes to others."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        for prefix, other in others.items():
            if request.path.startswith(prefix):
                return await other(request)
        return await handler(request)

    return handle


def serve_browsers(handler: WebHandler) -> WebHandler:
    """Wrap a handler: answer preflight requests, and let web pages read its responses.

    A handler that prepares a response itself adds the `cors_headers`.
    """

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if (preflight := preflight_response(request)) is not None:
            return preflight
        response = await handler(request)
        if not response.prepared:
            response.headers.update(cors_headers(request))
        return response

    return handle


MonotonicClock = Callable[[], float]
"""A clock in seconds that never goes back."""
