"""A connection pooler in front of PostgreSQL, in as much as a client can tell one from a server.

It answers the greeting itself, with a process id of its own, as PgBouncer does. With
``keeps_sessions`` a client keeps its connection to the database (``pool_mode = session``), else it
gets an idle one for each transaction (``pool_mode = transaction``).
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from .proxy import Proxy

SSL_REQUEST, GSS_REQUEST = 80877103, 80877104
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the type of a message and the whole message."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)


async def read_startup(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Return the startup message of a client; decline encryption."""
    while True:
        size = await reader.readexactly(4)
        body = await reader.readexactly(struct.unpack("!I", size)[0] - 4)
        if struct.unpack("!I", body[:4])[0] not in (SSL_REQUEST, GSS_REQUEST):
            return size + body
        writer.write(b"N")


class Pooler(Proxy):
    """The pooler. ``before`` returns the URL that leads through it."""

    def __init__(self, port: int, *, keeps_sessions: bool) -> None:
        super().__init__(port)
        self._port = port
        self._keeps_sessions = keeps_sessions
        self._idle: list[Stream] = []
        self._open: list[Stream] = []

    async def _connect(self, startup: bytes) -> tuple[Stream, bytes]:
        """Return a new connection to the database, and its greeting up to the process id."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._open.append((reader, writer))
        writer.write(startup)
        greeting = b""
        while True:
            kind, message = await read_message(reader)
            if kind == b"Z":
                return (reader, writer), greeting
            greeting += b"" if kind == b"K" else message

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append((reader, writer))
        with suppress(OSError, EOFError):
            await self._serve(reader, writer)
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        startup = await read_startup(reader, writer)
        database, greeting = await self._connect(startup)
        link: Stream | None = database if self._keeps_sessions else None
        if link is None:
            self._idle.append(database)
        pumping: asyncio.Task[None] | None = None
        unanswered = 0
        writer.write(greeting + struct.pack("!cIII", b"K", 12, 1, 1) + b"Z\0\0\0\5I")

        async def pump(source: Stream) -> None:
            nonlocal link, unanswered
            with suppress(OSError, EOFError):
                while True:
                    kind, message = await read_message(source[0])
                    writer.write(message)
                    unanswered -= kind == b"Z"
                    if message == b"Z\0\0\0\5I" and not unanswered and not self._keeps_sessions:
                        link = None
                        self._idle.append(source)
                        return

        try:
            while True:
                kind, message = await read_message(reader)
                if kind == b"X":
                    return
                if link is None:
                    link = self._idle.pop() if self._idle else (await self._connect(startup))[0]
                    pumping = None
                if pumping is None:
                    pumping = asyncio.create_task(pump(link))
                unanswered += kind in (b"Q", b"S")
                link[1].write(message)
        finally:
            if pumping is not None:
                pumping.cancel()
                await asyncio.wait([pumping])

    async def aclose(self) -> None:
        """Close all connections."""
        for _, writer in self._open:
            writer.transport.abort()


@asynccontextmanager
async def pooler(url: str, *, keeps_sessions: bool) -> AsyncIterator[Pooler]:
    """Run a pooler in front of the database of a URL."""
    made = Pooler(urlsplit(url).port or 0, keeps_sessions=keeps_sessions)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.aclose()
        await server.wait_closed()
