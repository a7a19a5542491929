"""Plot how the poller works, from its own schedule in virtual time: ``_static/polling.svg``.

Run ``python docs/_figures/polling.py``. The upper panel has one loop per task, for comparison.
"""

import heapq
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from attrs import frozen

from a2e_async._core.polling.schedule import PollRequest, PollSchedule
from a2e_async.kinds import kind_named

STATIC = Path(__file__).resolve().parents[1] / "_static"
INTERVAL, RESPONSE = 2.0, 0.15  # seconds
TASKS, SPAN = 12, 40.0


@frozen
class Job:
    """Time of its start and of its actual end (s)."""

    start: float
    end: float


Dot = tuple[int, float]
"""The job that was polled, and when (s)."""


def alone(jobs: list[Job]) -> Iterator[Dot]:
    """Poll each job in a loop of its own."""
    for row, job in enumerate(jobs):
        at = job.start
        while True:
            at += INTERVAL
            yield row, at
            if at >= job.end:
                break
            at += RESPONSE


def together(jobs: list[Job]) -> Iterator[Dot]:
    """Poll all jobs with the package's schedule."""
    schedule = PollSchedule(interval=INTERVAL, poll_rate=None, jitter=random.Random(1).random)
    kind = kind_named("talking_video")
    events = [(job.start, row, "start") for row, job in enumerate(jobs)]
    heapq.heapify(events)
    in_flight: dict[int, PollRequest] = {}
    while events or schedule.next_wake() is not None:
        wake = schedule.next_wake()
        if wake is None or (events and wake > events[0][0]):
            now, row, what = heapq.heappop(events)
            if what == "start":
                schedule.add(kind, str(row), now=now, due_at=now + INTERVAL)
            else:
                request = in_flight.pop(row)
                for polled in request.polled_tasks:
                    if jobs[int(polled.id)].end <= request.planned_at:
                        schedule.drop(polled)
                    else:
                        schedule.record_unfinished(polled, request, now)
            continue
        for request in schedule.plan(wake):
            number = TASKS + len(in_flight) + round(wake * 1000)
            in_flight[number] = request
            heapq.heappush(events, (wake + RESPONSE, number, "answer"))
            yield from ((int(polled.id), wake) for polled in request.polled_tasks)


LEFT, TOP, ROW, SECOND, HIGH = 16, 44, 9, 10.2, TASKS * 9 + 12
TEXT, FAINT, ACCENT = "#787c83", "#8b949e66", "#2f81f7"


def panel(
    top: float, title: str, jobs: list[Job], dots: Iterable[Dot], calls: int
) -> Iterator[str]:
    """Yield the elements of one panel: a bar for each job, a dot for each poll of it."""
    seen = list(dots)
    delay = sum(max(at for r, at in seen if r == row) - job.end for row, job in enumerate(jobs))
    note = f"{calls} requests, mean delay {delay / len(jobs):.1f} s"
    yield f'<text x="{LEFT}" y="{top - 12:.1f}" class="h">{title}</text>'
    yield f'<text x="{LEFT + SPAN * SECOND:.1f}" y="{top - 12:.1f}" class="n">{note}</text>'
    for row, job in enumerate(jobs):
        y = top + row * ROW
        x, wide = LEFT + job.start * SECOND, (job.end - job.start) * SECOND
        yield f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="4" rx="2" class="b"/>'
    for row, at in seen:
        x, y = LEFT + at * SECOND, top + row * ROW + 2
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.7" class="d"/>'


def main() -> None:
    """Write the SVG."""
    rng = random.Random(4)
    starts = sorted(rng.uniform(0, 12) for _ in range(TASKS))
    jobs = [Job(start, start + rng.uniform(12, 25)) for start in starts]
    apart, shared = list(alone(jobs)), list(together(jobs))
    times = sorted({at for _, at in shared})
    below = TOP + HIGH + 40
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
            *panel(TOP, "one loop per task", jobs, apart, len(apart)),
            *lines,
            *panel(below, "one shared poller", jobs, shared, len(times)),
            *ticks,
        ]
    )
    wide = LEFT * 2 + SPAN * SECOND
    (STATIC / "polling.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {bottom + 16}">\n'
        f"<style>text{{font:12px system-ui,sans-serif;fill:{TEXT}}}"
        f".h{{font-weight:600;font-size:13px}}.n{{text-anchor:end}}.t{{text-anchor:middle}}"
        f".b{{fill:{FAINT}}}.d{{fill:{ACCENT}}}.c{{stroke:{ACCENT};stroke-opacity:.35}}</style>\n"
        f"{body}\n</svg>\n"
    )


if __name__ == "__main__":
    main()
