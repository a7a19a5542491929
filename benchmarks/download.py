"""Download 200 MiB to disk: throughput against a plain loop that blocks, and event-loop lag."""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from a2e_async import A2E
from benchmarks.common import Row, median, paired_ratio, run_child

SIZE = 200 * 1024 * 1024

SERVE = """
import asyncio, json, os
BLOCK = os.urandom(1 << 20)
async def answer(reader, writer):
    while True:
        try:
            await reader.readuntil(b"\\r\\n\\r\\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            break
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: video/mp4\\r\\n")
        writer.write(b"Content-Length: %d\\r\\n\\r\\n" % SIZE)
        for _ in range(SIZE >> 20):
            writer.write(BLOCK)
            await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}/out.mp4"}), flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


async def measure(rounds: int) -> dict[str, list[float]]:
    """Return both throughputs in MiB/s and the loop's lag during ours, p99 in seconds."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"SIZE = {SIZE}\n" + SERVE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = json.loads(await process.stdout.readline())["url"]
    found: dict[str, list[float]] = {"plain": [], "ours": [], "lag_p99": []}
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with aiohttp.ClientSession() as bare, A2E("bench-key") as a2e:
                for round_ in range(rounds + 1):
                    target = Path(folder) / f"plain-{round_}.mp4"
                    plain = await _plain(bare, url, target)
                    target.unlink()  # outside of what is measured, as that of ours
                    lags: list[float] = []
                    lag_task = asyncio.create_task(sample_lag(lags))
                    before = time.perf_counter()
                    saved = await a2e.files.download(url, Path(folder) / f"ours-{round_}.mp4")
                    ours = SIZE / 2**20 / (time.perf_counter() - before)
                    lag_task.cancel()
                    size = saved.stat().st_size  # outside of what is measured
                    assert size == SIZE
                    saved.unlink()  # outside of what is measured
                    if round_:
                        found["plain"].append(plain)
                        found["ours"].append(ours)
                        found["lag_p99"].append(sorted(lags)[int(len(lags) * 0.99)])
    finally:
        process.terminate()
        await process.wait()
    return found


async def _plain(session: aiohttp.ClientSession, url: str, path: Path) -> float:
    before = time.perf_counter()
    with path.open("wb") as file:  # the plain loop to compare with
        async with session.get(url) as response:
            async for chunk in response.content.iter_chunked(64 * 1024):
                file.write(chunk)
    return SIZE / 2**20 / (time.perf_counter() - before)


async def sample_lag(samples: list[float]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        before = loop.time()
        await asyncio.sleep(0.001)
        samples.append(loop.time() - before - 0.001)


def run(short: bool) -> list[Row]:
    """Return the results."""
    found = run_child(__name__, "2" if short else "5")
    plain, ours, lag = (median(found[name]) for name in ("plain", "ours", "lag_p99"))
    ratio, spread = paired_ratio(found["plain"], found["ours"])
    return [
        Row(
            what="download of 200 MiB to disk",
            peer="plain aiohttp-to-file loop",
            peer_value=f"{plain:.0f} MiB/s",
            ours=f"{ours:.0f} MiB/s",
            ratio=ratio,
            goal=">= 1x",
            reached=ratio >= 1,
            spread=spread,
        ),
        Row(
            what="  event loop lag during the download, p99",
            peer="",
            peer_value="",
            ours=f"{lag * 1000:.1f} ms",
            ratio=None,
            goal="<= 10 ms",
            reached=lag <= 0.010,
        ),
    ]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(int(sys.argv[1])))))
