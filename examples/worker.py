"""Process a directory of jobs. It can be stopped, killed and restarted at any time.

    A2E_API_KEY=… python examples/worker.py jobs/

A job is a file such as `jobs/talk.json`. Write it elsewhere and move it there when it is complete:

    {"kind": "dubbing", "source_url": "https://example.com/talk.wav", "target_lang": "es"}

Results are saved in `jobs/results/`, and the file is moved to `jobs/done/` or `jobs/failed/`. The
filename is the key of the job: it is charged once for each name, so do not reuse names.
"""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from a2e_async import A2E, A2EError, Job, errors

HOPELESS = (errors.InvalidInput, errors.InvalidRequest, errors.KeyConflict, errors.PermissionDenied,
            errors.TaskFailed, errors.TaskGone)  # fmt: skip


def move(path: Path, folder: str, why: str = "") -> None:
    target = path.parent / folder
    target.mkdir(exist_ok=True)
    path.rename(target / path.name)
    print(f"{path.name}: {folder}{why and f': {why}'}", flush=True)


async def read(a2e: A2E, inbox: Path, working: set[str]) -> AsyncIterator[Job[Any]]:
    """Yield the jobs in the directory, and new ones as they appear."""
    while True:
        for path in sorted(inbox.glob("*.json")):
            if path.name in working:
                continue
            try:
                fields = json.loads(path.read_text())
                job = a2e.kind(fields.pop("kind")).job(**fields, key=path.name)
            except (A2EError, ValueError, TypeError, KeyError, AttributeError) as error:
                move(path, "failed", str(error))
            else:
                working.add(path.name)
                yield job
        await asyncio.sleep(1)


async def work(inbox: Path) -> None:
    working: set[str] = set()
    async with A2E(journal=inbox / "journal.db") as a2e:
        jobs = read(a2e, inbox, working)
        async for outcome in a2e.batch(jobs, limit=20, download_to=inbox / "results"):
            path = inbox / str(outcome.job.key)
            if outcome.error is None:
                move(path, "done")
            elif isinstance(outcome.error, HOPELESS):
                move(path, "failed", str(outcome.error))
            else:
                print(f"{path.name}: {outcome.error}", file=sys.stderr, flush=True)
            working.discard(path.name)  # a job whose file remains is tried again


async def main(inbox: Path) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await work(inbox)
    except asyncio.CancelledError:
        print("stopped; running tasks continue and are resumed at the next start", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("usage: python examples/worker.py DIRECTORY")
    asyncio.run(main(Path(sys.argv[1])))
