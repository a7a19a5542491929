"""Run worlds: one by its seed, many in several processes; shrink a failing one."""

import contextlib
import gc
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import simloom
from simloom._eventlog import EventLog

from .clocks import EPOCH
from .story import Story, Violation
from .world import live

OPTIONS: Final[dict[str, Any]] = {
    "virtual_time": True,
    "seed_randomness": True,
    "wall_epoch": EPOCH,
    "gc_interval": 20_011,  # steps: most worlds end earlier, with a garbage collection at the end
}

AFRESH: Final = 200
"""Worlds per process; then a new process is started, because some worlds leak memory."""

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Report:
    """The outcome of one world, small enough to pass between processes."""

    seed: int
    violations: tuple[Violation, ...]
    figures: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> bool:
        """Whether an invariant was violated, or the world itself failed."""
        return bool(self.violations)

    def to_json(self) -> str:
        """Return the report as one line of JSON."""
        broken = [[one.law, one.text] for one in self.violations]
        return json.dumps([self.seed, broken, self.figures])

    @classmethod
    def from_json(cls, line: bytes) -> "Report":
        """Parse a line written by `to_json`."""
        seed, broken, figures = json.loads(line)
        return cls(seed, tuple(Violation(*one) for one in broken), Counter(figures))


def run_world(seed: int, *, focus: str | None = None) -> tuple[simloom.RunResult, Story]:
    """Run the world of a seed; return the result and its log."""
    story = Story()

    async def main(world: simloom.World) -> None:
        await live(world, focus=focus, story=story)

    result = simloom.run(main, seed=seed, raise_on_error=False, **OPTIONS)
    return result, story


def report(seed: int, *, focus: str | None = None) -> Report:
    """Run the world of a seed and return its report."""
    result, story = run_world(seed, focus=focus)
    violations = tuple(story.violations)
    if result.error is not None and not violations:
        cause = result.error.__cause__
        text = f"{result.error!s:.300} <- {cause!r:.200}"
        violations = (Violation(type(result.error).__name__, text),)
    figures = Counter({"worlds": 1, "jobs done": len(story.acknowledged)})
    for line in story.lines:
        for word in ("ACCEPTED", " meets ", ": crash", "unfinished() gives", "timed out", "LOG "):
            figures[word.strip(" :")] += word in line
    return Report(seed, violations, figures)


def run_many(start: int, runs: int, *, jobs: int = 1, focus: str | None = None) -> Iterator[Report]:
    """Run many worlds in separate processes; yield their reports as they finish.

    The hash seed is fixed there, because it determines the order of sets, so seeds replay.
    """
    shares = [
        worker_command(range(start + n, start + runs, jobs), focus=focus)
        for n in range(min(jobs, runs))
    ]
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    share, cwd=ROOT, env=fixed_hash_environment(), stdout=subprocess.PIPE
                )
            )
            for share in shares
        ]
        # One thread per worker: a worker blocks once its pipe is full, so all are read at once.
        lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for worker in workers:
            threading.Thread(target=_read_lines, args=(worker, lines), daemon=True).start()
        running = len(workers)
        while running:
            line = lines.get()
            if line is None:
                running -= 1
            else:
                yield Report.from_json(line)
        if any(worker.wait() for worker in workers):
            raise RuntimeError("a process of worlds failed; see its output on stderr")


def _read_lines(worker: subprocess.Popen[bytes], lines: "queue.SimpleQueue[bytes | None]") -> None:
    """Put each line of a worker's output into the queue, then None."""
    try:
        assert worker.stdout is not None
        for line in worker.stdout:
            lines.put(line)
    finally:
        lines.put(None)


def worker_command(seeds: range, *, focus: str | None = None) -> list[str]:
    """Return the command of a process that runs worlds, see `work`."""
    command = [sys.executable, "-m", "tests.sim", "--worker", "--step", str(seeds.step)]
    command += ["--start", str(seeds.start), "--runs", str(len(seeds))]
    return command + (["--focus", focus] if focus else [])


def work(seeds: range, *, focus: str | None = None) -> None:
    """Run worlds one after the other; print a report of each as a line of JSON."""
    with without_event_log():
        for number, seed in enumerate(seeds):
            if number == AFRESH:
                os.execve(
                    sys.executable,
                    worker_command(seeds[number:], focus=focus),
                    fixed_hash_environment(),
                )
            print(report(seed, focus=focus).to_json(), flush=True)
            if number == 0:
                # Objects created so far are permanent: exclude them from later collections.
                gc.collect()
                gc.freeze()


class _DiscardingLog(EventLog):
    """A log that drops everything: keeping the event log takes a fifth of the run time."""

    def emit(self, kind: str, t: float, **fields: Any) -> None:
        """Drop it."""


@contextlib.contextmanager
def without_event_log() -> Iterator[None]:
    """Run worlds without simloom's log of all steps; digests are then meaningless."""
    with (
        patch("simloom._loop.EventLog", _DiscardingLog),
        patch("simloom._loop.describe_callback", lambda _: ""),
        patch("simloom._loop._check_callback", lambda *_: None),
    ):
        yield


def fixed_hash_environment() -> dict[str, str]:
    """Return an environment with a fixed hash seed."""
    return {**os.environ, "PYTHONHASHSEED": "0"}


def shrink(seed: int, *, most: int, focus: str | None = None) -> tuple[str, Story]:
    """Return a description of the smallest tape with the same violation, and its log."""
    result, story = run_world(seed, focus=focus)
    if result.error is None:
        return "nothing fails", story
    law = story.violations[0].law if story.violations else type(result.error).__name__
    kept: list[Story] = []

    async def again(world: simloom.World) -> None:
        kept[:] = [Story()]
        await live(world, focus=focus, story=kept[0])

    def same(candidate: simloom.RunResult) -> bool:
        if candidate.error is None:
            return False
        broken = [violation.law for violation in kept[0].violations] if kept else []
        return law in broken if broken else type(candidate.error).__name__ == law

    shrunk = simloom.shrink(again, result, max_runs=most, interesting=same, **OPTIONS)
    simloom.replay(
        again,
        tape=shrunk.tape,
        raise_on_error=False,
        policy=simloom.MisalignmentPolicy.FALLBACK,
        fallback="zero",
        **OPTIONS,
    )
    return shrunk.describe(), kept[0]


def summary(reports: Iterable[Report], *, began: float) -> str:
    """Return a table of violations with seeds, and the coverage."""
    figures: Counter[str] = Counter()
    by_law: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for one in reports:
        figures += one.figures
        for violation in one.violations:
            by_law[violation.law].append((one.seed, violation.text))
    seconds = time.perf_counter() - began
    worlds = figures["worlds"]
    lines = [f"{worlds} worlds in {seconds:.0f} s ({worlds / seconds:.1f}/s): {dict(figures)}"]
    for law, cases in sorted(by_law.items()):
        seeds = {seed for seed, _ in cases}
        lines.append(f"[{law}] {len(cases)} times in {len(seeds)} worlds")
        lines += [f"    seed {seed}: {text[:240]}" for seed, text in sorted(cases)[:6]]
    return "\n".join(lines)
