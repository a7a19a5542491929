"""A proxy in front of PostgreSQL that cuts its connections at a chosen moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Forwards bytes. When a client sends ``cut_at``, all connections are cut, once."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.serving: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.cut_at: bytes | None = None
        self.forwards = True
        """Whether the data with ``cut_at`` still reaches the database."""
        self.refuses = False
        """Close new connections at once."""
        self.cuts = 0

    def before(self, url: str) -> str:
        """Return the URL that leads through the proxy."""
        parts = urlsplit(url)
        return urlunsplit(
            parts._replace(netloc=parts.netloc.replace(str(parts.port), str(self.port)))
        )

    def cut(self) -> None:
        """Close all connections without a protocol exchange."""
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        task.add_done_callback(self.serving.discard)
        if self.refuses:
            writer.transport.abort()
            return
        try:
            upstream, database = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, database}
        back = asyncio.create_task(self._pump(upstream, writer))
        try:
            while data := await reader.read(65536):
                hit = self.cut_at is not None and self.cut_at in data
                if hit:
                    self.cut_at = None
                if not hit or self.forwards:
                    database.write(data)
                    await database.drain()
                if hit:
                    back.cancel()
                    await asyncio.sleep(0.05 if self.forwards else 0)  # the database does it
                    self.cut()
        except OSError:
            pass
        finally:
            back.cancel()
            self._writers -= {writer, database}
            writer.close()
            database.close()
            await asyncio.gather(back, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()


@asynccontextmanager
async def proxy(url: str) -> AsyncIterator[Proxy]:
    """Run a proxy in front of the database of a URL."""
    made = Proxy(urlsplit(url).port or 0)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        made.refuses = True
        server.close()
        made.cut()
        await server.wait_closed()
        await asyncio.sleep(0.01)  # who was let in last is turned away
        made.cut()
        if made.serving:
            await asyncio.wait(made.serving)
