"""``python -m tests.sim``: run worlds from the command line."""

import argparse
import os
import sys
import time

from .runs import fixed_hash_environment, run_many, run_world, shrink, summary, work
from .world import TROUBLES


def main() -> int:
    """Run the command line; return 1 if an invariant was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--runs", type=int, default=100, help="how many worlds")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, help="only this world")
    parser.add_argument("--log", action="store_true", help="with its story")
    parser.add_argument("--shrink", type=int, default=0, help="try so many smaller worlds")
    parser.add_argument("--focus", choices=sorted(set(TROUBLES)), help="the only trouble")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--step", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        seeds = range(options.start, options.start + options.runs * options.step, options.step)
        work(seeds, focus=options.focus)
        return 0
    if options.seed is None:
        began = time.perf_counter()
        reports = list(
            run_many(options.start, options.runs, jobs=options.jobs, focus=options.focus)
        )
        print(summary(reports, began=began))
        return int(any(report.failed for report in reports))
    if options.shrink:
        text, story = shrink(options.seed, most=options.shrink, focus=options.focus)
        print(text)
    else:
        result, story = run_world(options.seed, focus=options.focus)
        print(f"{result.outcome}: {result.error!r:.600}; {len(result.tape)} draws")
    if options.log or options.shrink:
        print("\n".join(story.lines))
    for violation in story.violations:
        print(violation)
    return int(bool(story.violations))


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # determines the iteration order of sets
        command = [sys.executable, "-m", "tests.sim", *sys.argv[1:]]
        os.execve(sys.executable, command, fixed_hash_environment())
    sys.exit(main())
