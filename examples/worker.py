"""Process a directory of jobs: A2E_API_KEY=… python examples/worker.py jobs/

A job is a file such as `jobs/talk.json`; write it elsewhere and move it there when it is complete:
{"kind": "dubbing", "source_url": "https://example.com/talk.wav", "target_lang": "es"}
Results are saved in `jobs/results/`, and the file is moved to `jobs/done/` or `jobs/failed/`. The
filename is the job's key, which is charged once; so do not reuse names. Stop or kill it at will."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from a2e_async import A2E, Job, errors

HOPELESS = (errors.InvalidInput, errors.InvalidRequest, errors.KeyConflict, errors.PermissionDenied,
            errors.TaskFailed, errors.TaskGone)  # fmt: skip


def end(path: Path, folder: str, why: object = "") -> None:
    (path.parent / folder).mkdir(exist_ok=True)
    with suppress(FileNotFoundError):  # it was removed meanwhile
        path.rename(path.parent / folder / path.name)
    print(f"{path.name}: {folder}: {why}", flush=True)


async def jobs(a2e: A2E, inbox: Path, busy: set[Path]) -> AsyncIterator[Job]:
    while True:
        for path in sorted({*inbox.glob("*.json")} - busy):
            try:
                fields = json.loads(path.read_text())
                job = a2e.kind(fields.pop("kind")).job(**fields, key=path.name)
            except Exception as error:  # whatever the file is, the worker goes on
                end(path, "failed", error)
            else:
                busy.add(path)
                yield job
        await asyncio.sleep(1)


async def main(inbox: Path) -> None:
    busy, out = set[Path](), inbox / "results"
    async with A2E(journal=inbox / "journal.db") as a2e:
        async for outcome in a2e.batch(jobs(a2e, inbox, busy), limit=20, download_to=out):
            path = inbox / str(outcome.job.key)
            if outcome.error is None or isinstance(outcome.error, HOPELESS):
                end(path, "failed" if outcome.error else "done", outcome.error or "")
            else:  # its file remains: it is tried again
                print(f"{path.name}: {outcome.error}", flush=True)
            busy.discard(path)


if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
    sys.exit("usage: python examples/worker.py DIRECTORY")
signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
with suppress(KeyboardInterrupt):  # running tasks continue, and are resumed at the next start
    asyncio.run(main(Path(sys.argv[1])))
