"""Make an image for each row of a CSV file (columns id, prompt), within a budget.

``python csv_rows.py rows.csv --budget 100 --dry-run``
"""

import argparse
import asyncio
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from a2e_async import A2E, Job, errors


def read(path: Path) -> Iterator[Job[Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield Job("text_to_image", {"prompt": row["prompt"]}, key=f"row-{row['id']}")


async def plan(a2e: A2E, jobs: list[Job[Any]], budget: int) -> int:
    """Print what a run would do, and return what it would cost."""
    coins = 0
    async for outcome in a2e.batch(jobs, budget=budget, dry_run=True):
        if outcome.plan is None or outcome.error is not None:
            print(outcome.job.key, outcome.error)
        else:
            print(outcome.job.key, outcome.plan.step, outcome.plan.coins)
            coins += outcome.plan.coins or 0
    return coins


async def run(a2e: A2E, jobs: list[Job[Any]], budget: int) -> int:
    """Return the number of rows that have their image."""
    done = 0
    try:
        async for outcome in a2e.batch(jobs, limit=5, budget=budget, download_to="images"):
            print(outcome.job.key, outcome.error or outcome.paths)
            done += outcome.ok
    except errors.BudgetExceeded as error:
        print("Stopped:", error)
    return done


async def main(path: Path, budget: int, *, dry_run: bool) -> None:
    async with A2E(journal="rows.db") as a2e:
        jobs = list(read(path))
        if dry_run:
            print(await plan(a2e, jobs, budget), "coins")
        else:
            print(await run(a2e, jobs, budget), "of", len(jobs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=Path)
    parser.add_argument("--budget", type=int, required=True)
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    asyncio.run(main(given.rows, given.budget, dry_run=given.dry_run))
