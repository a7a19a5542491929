"""Time of ``from a2e_async import A2E`` in a fresh interpreter, compared to ``import aiohttp``."""

import subprocess
import sys
import time

from benchmarks.common import Row, median


def _start(code: str) -> float:
    before = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - before


def run(short: bool) -> list[Row]:
    """Return the results: medians, net of a bare interpreter, interleaved."""
    codes = ("pass", "import aiohttp", "from a2e_async import A2E")
    times: dict[str, list[float]] = {code: [] for code in codes}
    for _ in range(5 if short else 15):
        for code in codes:
            times[code].append(_start(code))
    bare, aiohttp, ours = (median(times[code]) for code in codes)
    return [
        Row(
            what="from a2e_async import A2E",
            peer="import aiohttp",
            peer_value=f"{(aiohttp - bare) * 1000:.0f} ms",
            ours=f"{(ours - bare) * 1000:.0f} ms",
            ratio=(ours - bare) / (aiohttp - bare),
            goal="<= 55 ms",
            reached=ours - bare <= 0.055,
        )
    ]
