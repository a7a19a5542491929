"""The demo's jobs: their inputs, and running one from its start to the checked file."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from a2e_async.errors import A2EError
from a2e_async.events import Attempt, Event
from a2e_async.kinds.registry import kind_named

if TYPE_CHECKING:
    from a2e_async._core.tasks.task import Task
    from a2e_async.client import A2E
    from a2e_async.sandbox import MediaCheck

LANGUAGES = ("es", "fr", "de", "ja", "zh", "ar", "en")
SCENES = (
    "the person smiles and looks up",
    "wind moves the hair",
    "slow zoom onto the face",
    "the light turns warm, as at dusk",
)
NEGATIVE = "blurry, distorted"


@define(eq=False, kw_only=True)
class DemoJob:
    """One job and its outcome. Times are monotonic, in seconds."""

    number: int
    kind: str
    label: str
    inputs: Mapping[str, Any]
    task: "Task[Any] | None" = None
    stage: str = "waiting"
    began: float | None = None
    ended: float | None = None
    error: str = ""
    files: "list[tuple[Path, MediaCheck]]" = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.files = []

    @property
    def status(self) -> str:
        """The stage, or the task's status while it runs."""
        if self.stage == "running" and self.task is not None and self.task.status is not None:
            return self.task.status
        return self.stage

    @property
    def elapsed(self) -> float | None:
        """Seconds since the job began, or that it took; None before it began."""
        if self.began is None:
            return None
        return (self.ended or time.monotonic()) - self.began

    @property
    def coins(self) -> int | None:
        """What the task cost, as its record reports it."""
        return self.task.coins if self.task is not None else None

    @property
    def saved(self) -> bool:
        """True if the result is saved and passed the check."""
        return self.stage == "saved"


def plan(count: int, urls: Mapping[str, str]) -> list[DemoJob]:
    """Return ``count`` jobs of `KINDS` in turn; ``urls`` has speech, portrait and clip."""
    jobs: list[DemoJob] = []
    for number in range(count):
        kind, turn = KINDS[number % len(KINDS)], number // len(KINDS)
        label, inputs = _INPUTS[kind](turn, urls)
        jobs.append(DemoJob(number=number + 1, kind=kind, label=label, inputs=inputs))
    return jobs


async def run_job(a2e: "A2E", job: DemoJob, out: Path, show: Callable[[DemoJob], None]) -> None:
    """Start a job, wait for it, save and check its files. Errors go to ``job.error``."""
    from a2e_async.sandbox import check_media

    job.began, job.stage = time.monotonic(), "starting"
    try:
        job.task = await a2e.kind(job.kind).start(**job.inputs)
        job.stage = "running"
        record = await job.task.wait()
        job.stage = "saving"
        paths = await job.task.download(out)
        if len(paths) != len(record.outputs):
            job.error = f"{len(record.outputs)} outputs but {len(paths)} files"
        for path in paths:
            check = await asyncio.to_thread(check_media, path)
            job.files.append((path, check))
            if not check.ok:
                job.error = f"{path.name}: {check.detail}"
        job.stage = "bad file" if job.error else "saved"
    except (A2EError, OSError) as error:
        job.stage, job.error = "failed", str(error)
    finally:
        job.ended = time.monotonic()
    show(job)


@define
class RequestCounts:
    """Counts requests to the API by purpose, from the client's events."""

    counts: Counter[str] = field(factory=Counter[str])

    def on_event(self, event: Event) -> None:
        """Count the request of an event, if it is one."""
        if isinstance(event, Attempt):
            self.counts[_request_purpose(event.path)] += 1

    @property
    def total(self) -> int:
        """The number of requests for the jobs: starts, polls and uploads."""
        return self.counts["start"] + self.counts["poll"] + self.counts["upload"]


def _request_purpose(path: str) -> str:
    if path in {kind_named(name).start.path for name in KINDS}:
        return "start"
    if path.endswith("/remainingCoins"):
        return "account"
    return "upload" if "/r2/" in path else "poll"


def _dubbing(turn: int, urls: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    language = LANGUAGES[turn % len(LANGUAGES)]
    inputs = {"source_url": urls["speech"], "target_lang": language}
    return f"to {language}", inputs | ({"num_speakers": 1} if turn % 2 else {})


def _talking(turn: int, urls: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    seconds = 2 + turn % 4
    inputs = {
        "video_url": urls["clip"],
        "audio_url": urls["speech"],
        "prompt": "smile and speak",
        "negative_prompt": NEGATIVE,
        "duration": seconds,
    }
    return f"{seconds} s", inputs


def _image(turn: int, urls: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    seconds = 10 if turn % 5 == 4 else 5
    inputs = {
        "image_url": urls["portrait"],
        "prompt": SCENES[turn % len(SCENES)],
        "negative_prompt": NEGATIVE,
        "video_time": seconds,
    }
    return f"{seconds} s", inputs


_INPUTS: Mapping[str, Callable[[int, Mapping[str, str]], tuple[str, dict[str, Any]]]] = {
    "dubbing": _dubbing,
    "talking_video": _talking,
    "image_to_video": _image,
}

KINDS: Final = tuple(_INPUTS)
"""The kinds that the demo runs."""
