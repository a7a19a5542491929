"""Upload 30 files of 100 MiB at once: throughput against bare aiohttp, memory and loop lag.

Ours includes what bare aiohttp does not do: each file is checked and hashed before an upload URL is
requested (and paid for), and hashed again while it is sent.
"""

import asyncio
import json
import struct
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from a2e_async import A2E
from benchmarks.common import Row, median, paired_ratio, run_child
from benchmarks.download import sample_lag

COUNT = 30
SIZE = 100 * 1024 * 1024

SERVE = """
import asyncio, json
class Sink(asyncio.BufferedProtocol):
    buffer, head, left, path = bytearray(1 << 20), b"", 0, ""
    def connection_made(self, transport):
        self.transport = transport
    def get_buffer(self, hint):
        return self.buffer
    def buffer_updated(self, count):
        if self.left:
            self.left -= count
        else:
            self.head += self.buffer[:count]
            if b"\\r\\n\\r\\n" not in self.head:
                return
            head, _, body = self.head.partition(b"\\r\\n\\r\\n")
            self.head, self.path = b"", head.split()[1].decode()
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\\r\\n")[1:])
            self.left = int(fields[b"content-length"]) - len(body)
        if not self.left:
            self.answer()
    def answer(self):
        body = b""
        if self.path.startswith("/api/"):
            Sink.signed += 1
            there = f"{base}/store/{Sink.signed}"
            data = {"uploadUrl": there, "cdnUrl": there, "expiresIn": 3600}
            body = json.dumps({"code": 0, "data": data}).encode()
        self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\n"
                             b"Content-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
    signed = 0
async def main():
    global base
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    print(json.dumps({"url": base}), flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


async def measure(rounds: int) -> dict[str, list[dict[str, float]]]:
    """Return the samples of both.

    Throughput in MiB/s, the event loop's lag (p99, s), and the growth of memory (MiB).
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = json.loads(await process.stdout.readline())["url"]
    found: dict[str, list[dict[str, float]]] = {"plain": [], "ours": []}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for round_ in range(rounds + 1):
                files = [
                    _make_file(Path(folder) / f"{n}.wav", round_ * COUNT + n) for n in range(COUNT)
                ]
                samples = {"plain": await _sample(_plain(url, files))}
                async with A2E("bench-key", base_url=url) as a2e:
                    samples["ours"] = await _sample(_ours(a2e, files))
                if round_:
                    for name, sample in samples.items():
                        found[name].append(sample)
    finally:
        process.terminate()
        await process.wait()
    return found


def _make_file(path: Path, number: int) -> Path:
    """Return a sparse WAV file whose content no other number has."""
    head = b"RIFF" + struct.pack("<I", SIZE - 8) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    head += b"data" + struct.pack("<II", SIZE - 44, number)
    path.write_bytes(head)
    with path.open("r+b") as file:
        file.truncate(SIZE)
    return path


async def _sample(work: Coroutine[Any, Any, None]) -> dict[str, float]:
    lags: list[float] = []
    sizes = [_memory()]
    samplers = [asyncio.create_task(sample_lag(lags)), asyncio.create_task(_sample_memory(sizes))]
    before = time.perf_counter()
    await work
    took = time.perf_counter() - before
    for sampler in samplers:
        sampler.cancel()
    p99 = sorted(lags)[int(len(lags) * 0.99)]
    throughput = COUNT * SIZE / 2**20 / took
    return {"throughput": throughput, "lag": p99, "growth": max(sizes) - sizes[0]}


async def _plain(url: str, files: list[Path]) -> None:
    async with aiohttp.ClientSession() as session:

        async def send(path: Path) -> None:
            with path.open("rb") as file:
                async with session.put(f"{url}/store/plain", data=file) as response:
                    await response.read()

        await asyncio.gather(*(send(path) for path in files))


async def _ours(a2e: A2E, files: list[Path]) -> None:
    await asyncio.gather(*(a2e.files.upload(path) for path in files))


async def _sample_memory(sizes: list[float]) -> None:
    while True:
        await asyncio.sleep(0.02)
        sizes.append(_memory())


def _memory() -> float:
    return psutil.Process().memory_info().rss / 2**20


def run(short: bool) -> list[Row]:
    """Return the results."""
    found = run_child(__name__, "1" if short else "5")

    def values(whose: str, what: str) -> list[float]:
        return [sample[what] for sample in found[whose]]

    ratio, spread = paired_ratio(values("plain", "throughput"), values("ours", "throughput"))
    lag, plain_lag = median(values("ours", "lag")), median(values("plain", "lag"))
    growth, plain_growth = max(values("ours", "growth")), max(values("plain", "growth"))
    return [
        Row(
            what="upload of 30 files of 100 MiB at once",
            peer="bare aiohttp, no check or hash",
            peer_value=f"{median(values('plain', 'throughput')):.0f} MiB/s",
            ours=f"{median(values('ours', 'throughput')):.0f} MiB/s",
            ratio=ratio,
            goal=">= 0.7x",
            reached=ratio >= 0.7,
            spread=spread,
        ),
        Row(
            what="  event loop lag during the uploads, p99",
            peer="bare aiohttp",
            peer_value=f"{plain_lag * 1000:.1f} ms",
            ours=f"{lag * 1000:.1f} ms",
            ratio=lag / plain_lag,
            goal="<= 1x",
            reached=lag <= plain_lag,
        ),
        Row(
            what="  growth of memory during the uploads",
            peer="bare aiohttp",
            peer_value=f"{plain_growth:.0f} MiB",
            ours=f"{growth:.0f} MiB",
            ratio=None,
            goal="< 40 MiB",
            reached=growth < 40,
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1])))))
