"""A response as data, and the code that sends it. Faults change the data."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

BEFORE_HEAD = -1
"""A value of ``abort_at``: reset the connection before the response head is sent."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A response. ``data`` is the value encoded in a JSON ``body``, for faults to edit."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    data: Any = None
    delay: float = 0.0
    """Seconds before the head is sent."""
    chunked: bool = False
    chunk_size: int | None = None
    chunk_pause: float = 0.0
    """Seconds between two chunks."""
    declared_length: int | None = None
    """A Content-Length that may be wrong."""
    abort_at: int | None = None
    """Bytes of the body after which the connection is reset; see `BEFORE_HEAD`."""
    until_close: bool = False
    """Send no length: the body ends with the connection."""

    def with_headers(self, **headers: str) -> "Reply":
        """Return a copy with more headers; underscores in names become hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **named})


def json_reply(
    data: Any, *, code: int = 0, status: int = 200, message: str | None = None, **options: Any
) -> Reply:
    """Return a response with the service's envelope around ``data``."""
    envelope: dict[str, Any] = {"code": code, "data": data, "trace_id": "trace-1"}
    if message is not None:
        envelope["msg"] = message
    return Reply(
        status=status,
        headers={"Content-Type": "application/json"},
        body=json.dumps(envelope).encode(),
        data=data,
        **options,
    )


async def send(request: web.BaseRequest, reply: Reply, date: str | None) -> web.StreamResponse:
    """Send a reply on a request's connection."""
    if reply.delay:
        await asyncio.sleep(reply.delay)
    headers = dict(reply.headers)
    if date is not None:
        headers["Date"] = date
    if reply.abort_at == BEFORE_HEAD:
        reset(request)
        return web.Response(status=500)
    plain = (
        reply.declared_length is None
        and reply.abort_at is None
        and not (reply.chunked or reply.chunk_size or reply.until_close)
    )
    if plain:
        return web.Response(status=reply.status, headers=headers, body=reply.body)
    response = web.StreamResponse(status=reply.status, headers=headers)
    if reply.chunked:
        response.enable_chunked_encoding()
    elif reply.until_close:
        response.force_close()
        response._length_check = False  # otherwise aiohttp would use chunked encoding
    else:
        length = len(reply.body) if reply.declared_length is None else reply.declared_length
        response.content_length = length
    await response.prepare(request)
    await _send_body(request, response, reply)
    return response


async def _send_body(request: web.BaseRequest, response: web.StreamResponse, reply: Reply) -> None:
    body = reply.body if reply.abort_at is None else reply.body[: reply.abort_at]
    size = reply.chunk_size or max(1, len(body))
    for start in range(0, len(body), size):
        if start and reply.chunk_pause:
            await asyncio.sleep(reply.chunk_pause)
        await response.write(body[start : start + size])
    if reply.abort_at is not None:
        reset(request)
    elif reply.declared_length is None or reply.declared_length == len(body):
        await response.write_eof()
    else:
        response.force_close()


def reset(request: web.BaseRequest) -> None:
    """Reset the connection. A regular close could also mean the end of the body."""
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        linger = struct.pack("ii", 1, 0)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
