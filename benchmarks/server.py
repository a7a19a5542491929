"""A server without a framework: answers every request with a prepared body.

    python -m benchmarks.server [record|silent|delay MS]

``record`` answers one task's record, ``silent`` never answers, ``delay`` waits first.
"""

import asyncio
import json
import sys

from benchmarks.common import RECORD

BODY = json.dumps({"code": 0, "data": RECORD, "trace_id": "t-1"}).encode()
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    + str(len(BODY)).encode()
    + b"\r\n\r\n"
    + BODY
)


class Fast(asyncio.Protocol):
    """Answers each request head (bodies are counted off by Content-Length)."""

    mode = "record"
    delay = 0.0

    def __init__(self) -> None:
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            if self.mode == "silent":
                continue
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self.answer)
            else:
                self.answer()

    def answer(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(ANSWER)


async def main(mode: str, delay: float) -> None:
    """Serve until the process is ended."""
    Fast.mode, Fast.delay = mode, delay
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(Fast, "127.0.0.1", 0, backlog=4096)
    port = listening.sockets[0].getsockname()[1]
    print(json.dumps({"base_url": f"http://127.0.0.1:{port}"}), flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0))
