"""How the poller looks, drawn from its own schedule in virtual time: ``_static/looks.svg``.

``python docs/_figures/looks.py``. Above, the same tasks with a loop of their own each.
"""

import heapq
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from a2e_async.resources.registry import kind_named
from a2e_async.tasks.schedule import Look, Schedule

STATIC = Path(__file__).resolve().parents[1] / "_static"
INTERVAL, ANSWER = 2.0, 0.15  # seconds
TASKS, SPAN = 12, 40.0


@frozen
class Job:
    """When it was started, and when it truly ended (s)."""

    start: float
    end: float


Dot = tuple[int, float]
"""Which job was looked at, and when."""


def alone(jobs: list[Job]) -> Iterator[Dot]:
    """Look at each job in a loop of its own, as people write it."""
    for row, job in enumerate(jobs):
        at = job.start
        while True:
            at += INTERVAL
            yield row, at
            if at >= job.end:
                break
            at += ANSWER


def together(jobs: list[Job]) -> Iterator[Dot]:
    """Look at all jobs as the package's schedule says."""
    schedule = Schedule(interval=INTERVAL, look_rate=None, jitter=random.Random(1).random)
    kind = kind_named("talking_video")
    events = [(job.start, row, "start") for row, job in enumerate(jobs)]
    heapq.heapify(events)
    flying: dict[int, Look] = {}
    while events or schedule.next_wake() is not None:
        wake = schedule.next_wake()
        if wake is None or (events and wake > events[0][0]):
            now, row, what = heapq.heappop(events)
            if what == "start":
                schedule.add(kind, str(row), now=now, due=now + INTERVAL, born=now)
            else:
                look = flying.pop(row)
                for watch in look.watches:
                    if jobs[int(watch.id)].end <= look.at:
                        schedule.drop(watch)
                    else:
                        schedule.seen(watch, look, now)
            continue
        for look in schedule.plan(wake):
            number = TASKS + len(flying) + round(wake * 1000)
            flying[number] = look
            heapq.heappush(events, (wake + ANSWER, number, "answer"))
            yield from ((int(watch.id), wake) for watch in look.watches)


LEFT, TOP, ROW, SECOND, HIGH = 16, 46, 11, 16.5, TASKS * 11 + 12
GREY, FAINT, ACCENT = "#8b949e", "#8b949e55", "#2f81f7"


def panel(
    top: float, title: str, jobs: list[Job], dots: Iterable[Dot], calls: int
) -> Iterator[str]:
    """Yield the elements of one panel: a bar for each job, a dot for each look at it."""
    seen = list(dots)
    delay = sum(max(at for r, at in seen if r == row) - job.end for row, job in enumerate(jobs))
    note = f"{calls} requests; the end is seen {delay / len(jobs):.1f} s late on average"
    yield f'<text x="{LEFT}" y="{top - 12:.1f}" class="h">{title}</text>'
    yield f'<text x="{LEFT + SPAN * SECOND:.1f}" y="{top - 12:.1f}" class="n">{note}</text>'
    for row, job in enumerate(jobs):
        y = top + row * ROW
        x, wide = LEFT + job.start * SECOND, (job.end - job.start) * SECOND
        yield f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="5" rx="2.5" class="b"/>'
    for row, at in seen:
        x, y = LEFT + at * SECOND, top + row * ROW + 2.5
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.1" class="d"/>'


def main() -> None:
    """Draw it."""
    rng = random.Random(4)
    starts = sorted(rng.uniform(0, 12) for _ in range(TASKS))
    jobs = [Job(start, start + rng.uniform(12, 25)) for start in starts]
    apart, shared = list(alone(jobs)), list(together(jobs))
    times = sorted({at for _, at in shared})
    below = TOP + HIGH + 44
    bottom = below + HIGH + 4
    lines = (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{below - 4}" y2="{bottom - 10}" class="c"/>'
        for x in (LEFT + at * SECOND for at in times)
    )
    ticks = (
        f'<text x="{LEFT + s * SECOND:.1f}" y="{bottom + 8}" class="t">{s} s</text>'
        for s in range(0, int(SPAN) + 1, 10)
    )
    body = "\n".join(
        [
            *panel(TOP, "a loop for each task", jobs, apart, len(apart)),
            *lines,
            *panel(below, "one poller for all", jobs, shared, len(times)),
            *ticks,
        ]
    )
    wide = LEFT * 2 + SPAN * SECOND
    (STATIC / "looks.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {bottom + 16}">\n'
        "<style>text{font:11px system-ui,sans-serif;fill:#8b949e}"
        f".h{{font-weight:600;font-size:13px}}.n{{text-anchor:end}}.t{{text-anchor:middle}}"
        f".b{{fill:{FAINT}}}.d{{fill:{ACCENT}}}.c{{stroke:{ACCENT};stroke-opacity:.35}}</style>\n"
        f"{body}\n</svg>\n"
    )


if __name__ == "__main__":
    main()
