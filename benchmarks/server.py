"""A server without a framework, which sends prepared responses.

    python -m benchmarks.server [record|silent|delay MS|start MS|batch]

``record`` returns the record of one task, ``silent`` never responds, ``delay`` responds after a
delay, ``start`` returns a record with a new id after a delay, ``batch`` returns a record for each
id in the request.

The second eight digits of an id for ``batch`` are the end time of its task: milliseconds of the
system's clock, modulo 2**32.
"""

import asyncio
import itertools
import json
import re
import sys
import time

from benchmarks.common import RECORD

BODY = json.dumps({"code": 0, "data": RECORD, "trace_id": "t-1"}).encode()
NUMBERS = itertools.count(1)
ID = re.compile(rb"[0-9a-f]{24}")


def framed(body: bytes) -> bytes:
    """Return a complete HTTP response."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
    return head + str(len(body)).encode() + b"\r\n\r\n" + body


ANSWER = framed(BODY)
OPEN = json.dumps(RECORD).encode()
DONE = json.dumps(
    {**RECORD, "current_status": "completed", "result_url": "https://media.example/out.mp4"}
).encode()


def start(_: bytes) -> bytes:
    """Return the record of a new task."""
    return framed(BODY.replace(RECORD["_id"].encode(), b"%024x" % next(NUMBERS)))


def batch(request: bytes) -> bytes:
    """Return a record for each id in the request."""
    now, own = int(time.time() * 1000) & 0xFFFFFFFF, RECORD["_id"].encode()
    rows = [
        (DONE if int(id[8:16], 16) <= now else OPEN).replace(own, id) for id in ID.findall(request)
    ]
    data = b",".join(rows)
    if b"batchDetail" in request[:200]:
        data = b"[" + data + b"]"
    return framed(b'{"code": 0, "trace_id": "t-1", "data": ' + data + b"}")


class Fast(asyncio.Protocol):
    """Responds to each request head; bodies are skipped by their Content-Length."""

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
            request = self.buffer[: end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            if self.mode == "silent":
                continue
            make = MAKERS.get(self.mode)
            answer = make(request) if make else ANSWER
            if self.delay:
                asyncio.get_running_loop().call_later(self.delay, self.answer, answer)
            else:
                self.answer(answer)

    def answer(self, answer: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(answer)


MAKERS = {"start": start, "batch": batch}


async def main(mode: str, delay: float) -> None:
    """Serve until the process is terminated."""
    Fast.mode, Fast.delay = mode, delay
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(Fast, "127.0.0.1", 0, backlog=4096)
    port = listening.sockets[0].getsockname()[1]
    print(json.dumps({"base_url": f"http://127.0.0.1:{port}"}), flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.0))
