"""Memory of a batch: a million jobs at limit 50, generated lazily and dropped when done.

The jobs have no keys, so the batch identifies each by its inputs and remembers them all.
"""

import asyncio
import gc
import hashlib
import time
from collections.abc import Iterator
from typing import Any

import psutil

from a2e_async import Job
from a2e_async._core.batch.batch import BatchServices, JobRunner, run_batch
from a2e_async._core.journal.recorder import JournalRecorder
from a2e_async._core.submission.budget import Reservation
from a2e_async._core.submission.quotes import body_before_upload
from a2e_async._core.tasks.kind import PreparedJob
from a2e_async.kinds.talking_video import TALKING_VIDEO, TalkingVideoInput
from a2e_async.models import Record, Status
from benchmarks.common import Row

LIMIT = 50


class _Done:
    """A task that is finished at once, because the service is not measured."""

    elapsed = 0.0

    async def wait(self) -> Record:
        await asyncio.sleep(0)
        return Record(id="66ea4dd87db10c73fa29b570", status=Status.SUCCEEDED)


class _Empty:
    """An empty journal, so that all jobs are identified by their inputs."""

    def bind(self, account: str) -> None:
        """Serve any account."""

    async def get(self, key: str) -> None:
        """Return no entry."""


def _jobs(count: int) -> Iterator[Job[Any]]:
    for n in range(count):
        inputs = TalkingVideoInput(
            video_url=f"https://m.example/{n}.mp4",
            prompt="smile and speak",
            negative_prompt="blurry",
        )
        yield Job(TALKING_VIDEO, inputs)


async def _run(count: int) -> tuple[float, float]:
    """Return the peak growth of the process in MiB, and jobs per second."""

    async def start(_: PreparedJob[Any]) -> Any:
        return _Done()

    async def digest(job: PreparedJob[Any]) -> str:
        return hashlib.sha256(repr(body_before_upload(job.kind, job.input)).encode()).hexdigest()

    async def nothing(*_: Any) -> Any:
        return None

    services = BatchServices(
        resolve_job=lambda job: job,
        start_job=start,
        input_digest=digest,
        attach_entry=lambda job, entry: None,  # type: ignore[arg-type,return-value]  # never called here
        input_and_file_digests=nothing,
        changed_inputs=nothing,
        fetch_price=nothing,
        recorder=JournalRecorder(_Empty(), "account"),  # type: ignore[arg-type]  # has what is called
    )
    process = psutil.Process()
    gc.collect()
    before = most = process.memory_info().rss
    began = time.perf_counter()
    done = 0
    worker = JobRunner(
        services=services, retry_failed=0, download_to=None, reservation=Reservation()
    )
    batch = run_batch(worker, _jobs(count), limit=LIMIT)
    async for outcome in batch:
        assert outcome.ok, repr(outcome.error)
        done += 1
        if done % 5000 == 0:
            most = max(most, process.memory_info().rss)
    assert done == count
    return (most - before) / 2**20, count / (time.perf_counter() - began)


def run(short: bool) -> list[Row]:
    """Return the results."""
    count = 50_000 if short else 1_000_000
    grown, rate = asyncio.run(_run(count))
    return [
        Row(
            what=f"a batch of {count:,} jobs, limit {LIMIT}: growth of the process",
            peer="",
            peer_value="",
            ours=f"{grown:.0f} MiB ({rate:,.0f} jobs/s)",
            ratio=None,
            goal="<= 100 MB",
            reached=grown <= 95,
        )
    ]
