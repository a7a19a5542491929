"""The demo's jobs, and what became of each."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from a2e_async.kinds.jobs import Job

if TYPE_CHECKING:
    from a2e_async._core.batch.batch import Outcome
    from a2e_async.sandbox import MediaCheck

LANGUAGES: Final = ("es", "fr", "de", "ja", "zh", "ar", "en")
SCENES: Final = (
    "the person smiles and looks up",
    "wind moves the hair",
    "slow zoom onto the face",
    "the light turns warm, as at dusk",
)
NEGATIVE: Final = "blurry, distorted"

KINDS: Final = ("dubbing", "talking_video", "image_to_video")
"""The kinds that the demo runs, in turn."""


def plan(count: int, urls: Mapping[str, str]) -> Iterator[Job[Any]]:
    """Yield ``count`` jobs of `KINDS` in turn; ``urls`` has speech, portrait and clip."""
    for number in range(count):
        kind, turn = KINDS[number % len(KINDS)], number // len(KINDS)
        inputs: dict[str, str | int]
        if kind == "dubbing":
            inputs = {"source_url": urls["speech"], "target_lang": LANGUAGES[turn % len(LANGUAGES)]}
            label = f"to {inputs['target_lang']}"
            if turn % 2:
                inputs["num_speakers"] = 1
        elif kind == "talking_video":
            inputs = {"video_url": urls["clip"], "audio_url": urls["speech"]}
            inputs |= {"prompt": "smile and speak", "negative_prompt": NEGATIVE}
            inputs["duration"] = 2 + turn % 4
            label = f"{inputs['duration']} s"
        else:
            inputs = {"image_url": urls["portrait"], "prompt": SCENES[turn % len(SCENES)]}
            inputs |= {"negative_prompt": NEGATIVE, "video_time": 10 if turn % 5 == 4 else 5}
            label = f"{inputs['video_time']} s"
        yield Job(kind, inputs, meta={"job": number + 1, "label": label})


@frozen
class JobResult:
    """The outcome of one job, and its files with the check of each."""

    outcome: "Outcome[Any]"
    files: "Mapping[Path, MediaCheck]"
    seconds: float
    """From the start of the batch to the checked files."""

    @property
    def number(self) -> int:
        """The number of the job, from 1."""
        return int((self.outcome.job.meta or {})["job"])

    @property
    def label(self) -> str:
        """What distinguishes the job from others of its kind."""
        return str((self.outcome.job.meta or {})["label"])

    @property
    def kind(self) -> str:
        """The name of its kind."""
        return self.outcome.job.kind.name

    @property
    def coins(self) -> int | None:
        """What the task cost, as its record reports it."""
        return self.outcome.task.coins if self.outcome.task is not None else None

    @property
    def error(self) -> str:
        """Why the job failed, or which of its files is damaged; empty if it is saved."""
        if self.outcome.error is not None:
            return str(self.outcome.error)
        bad = [f"{path.name}: {check.detail}" for path, check in self.files.items() if not check.ok]
        return "; ".join(bad)

    @property
    def status(self) -> str:
        """``saved``, ``failed``, or ``bad file``."""
        if self.outcome.error is not None:
            return "failed"
        return "bad file" if self.error else "saved"
