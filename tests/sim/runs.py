"""Running worlds: one by its seed, many in several processes, and the smallest that fails."""

import multiprocessing
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import simloom

from .clocks import EPOCH
from .story import Story, Violation
from .world import live

OPTIONS: Final[dict[str, Any]] = {
    "virtual_time": True,
    "seed_randomness": True,
    "wall_epoch": EPOCH,
}


@dataclass(frozen=True)
class Report:
    """One world's outcome, small enough to travel between processes."""

    seed: int
    violations: tuple[Violation, ...]
    figures: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> bool:
        """Whether a law was broken, or the world itself failed."""
        return bool(self.violations)


def run_world(seed: int, *, focus: str | None = None) -> tuple[simloom.RunResult, Story]:
    """Run the world of a seed; return the result and its story."""
    story = Story()

    async def main(world: simloom.World) -> None:
        await live(world, focus=focus, story=story)

    result = simloom.run(main, seed=seed, raise_on_error=False, **OPTIONS)
    return result, story


def report(seed: int, *, focus: str | None = None) -> Report:
    """Run the world of a seed and return what is worth knowing of it."""
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


def run_many(seeds: Iterable[int], *, jobs: int = 1, focus: str | None = None) -> Iterator[Report]:
    """Run many worlds, in several processes; yield their reports as they end."""
    one = partial(report, focus=focus)
    if jobs == 1:
        yield from map(one, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=200) as pool:
        yield from pool.imap_unordered(one, seeds, chunksize=4)


def shrink(seed: int, *, most: int, focus: str | None = None) -> tuple[str, Story]:
    """Return a description of the smallest tape that breaks the same law, and its story."""
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
    """Return a table of broken laws with seeds, and what was covered."""
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
