"""Rows, tables, and a server process that responds as fast as possible."""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from attrs import asdict, frozen

# Its name has no mark: no start takes a task whose record shows the mark of another one.
RECORD = {
    "_id": "66ea4dd87db10c73fa29b570",
    "name": "greeting of the spring",
    "video_url": "https://media.example/in/clip.mp4",
    "audio_url": "https://media.example/in/speech.wav",
    "duration": 5,
    "current_status": "processing",
    "coins": 13,
    "createdAt": "2026-01-12T09:04:10.026Z",
    "failed_message": "",
    "failed_code": "",
    "result_url": "",
    "prompt": "smile and speak to the camera, natural light",
    "negative_prompt": "blurry, distorted",
    "cover_url": "",
}


DETAILS: dict[str, Any] = {}
"""Detailed results by name; each becomes a JSON file for the docs."""


def keep(name: str, found: Any) -> None:
    """Store detailed results for the file ``name``.json."""
    DETAILS[name] = found


@frozen(kw_only=True)
class Row:
    """One result beside the peer's. ``ratio`` is None where a ratio is meaningless."""

    what: str
    peer: str
    peer_value: str
    ours: str
    ratio: float | None
    goal: str
    reached: bool
    spread: tuple[float, float] | None = None
    """The smallest and the largest ratio of a pair of rounds that followed each other."""

    @property
    def shown_ratio(self) -> str:
        """The ratio, with the spread of its pairs if several were measured."""
        if self.ratio is None:
            return ""
        if self.spread is None:
            return f"{self.ratio:.2f}x"
        return f"{self.ratio:.2f}x ({self.spread[0]:.2f} to {self.spread[1]:.2f})"


def print_table(title: str, rows: list[Row]) -> None:
    """Print the rows as an aligned table."""
    print(f"\n{title}")
    head = ("what", "peer", "peer's", "ours", "ratio", "goal", "")
    body = [
        (
            r.what,
            r.peer,
            r.peer_value,
            r.ours,
            r.shown_ratio,
            r.goal,
            "reached" if r.reached else "MISSED",
        )
        for r in rows
    ]
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    for line in (head, *body):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def to_markdown(title: str, rows: list[Row]) -> str:
    """Return the rows as a Markdown table below ``title``."""
    lines = [f"{title}:", "", "| what | peer | peer's | ours | ratio | goal |", "|" + "---|" * 6]
    for r in rows:
        goal = r.goal if r.reached else f"{r.goal} (missed)"
        cells = (r.what.strip(), r.peer, r.peer_value, r.ours, r.shown_ratio, goal)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def to_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Return the rows as JSON values."""
    return [asdict(row) for row in rows]


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def paired_ratio(peer: list[float], ours: list[float]) -> tuple[float, tuple[float, float]]:
    """Return the median ratio of pairs of rounds that followed each other, and its spread."""
    ratios = [own / other for own, other in zip(ours, peer, strict=True)]
    return median(ratios), (min(ratios), max(ratios))


@contextlib.contextmanager
def server(*args: str) -> Iterator[str]:
    """Run `benchmarks.server` in a separate process; yield its base URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server", *args],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["base_url"]
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
        if process.stdin is not None:
            process.stdin.close()


def run_child(module: str, *args: str, without: str = "") -> Any:
    """Run a module of this package in a fresh interpreter; return the JSON on its last line.

    ``without`` names optional dependencies to hide from it.
    """
    code = f"import runpy, sys; sys.modules.update(dict.fromkeys({without.split()!r}))\n"
    code += f"runpy.run_module({module!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code, *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if done.returncode:
        raise RuntimeError(f"{module} failed:\n{done.stdout}\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


async def at_once(count: int, calls: int, call: Callable[[], Any]) -> None:
    """Await ``call()`` ``calls`` times in total, from ``count`` concurrent loops."""

    async def loop(share: int) -> None:
        for _ in range(share):
            await call()

    await asyncio.gather(*(loop(calls // count) for _ in range(count)))


async def lag(samples: list[float], tick: float = 0.001) -> AsyncIterator[None]:
    """Append the delay of each tick, in seconds, to ``samples``; yield after each tick."""
    loop = asyncio.get_running_loop()
    while True:
        before = loop.time()
        await asyncio.sleep(tick)
        samples.append(loop.time() - before - tick)
        yield
