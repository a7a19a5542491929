"""The jobs of a world's users: each with a key, so that programs can restart them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tests.hostile.tasks import PNG

from .draws import pick, pick_from

KINDS: Final = (
    "dubbing",
    "image_to_video",
    "text_to_image",
    "seedance",
    "voice_clone",
    "avatar_video",
    "head_swap",
    "kling_image",
    "face_swap",
    "video_twin",
)
SEVERAL: Final = {"image_to_video": "number_of_images", "text_to_image": "max_images"}
"""Inputs that request several tasks with one start."""


@dataclass(frozen=True)
class Job:
    """One job. Its inputs contain ``tag``, which identifies its starts in the ledger."""

    key: str
    tag: str
    kind: str
    count: int
    name: str | None
    after: float
    """Seconds after the program's start at which it starts the job."""
    timeout: float
    """Timeout of one wait in seconds."""
    saves: bool
    """Whether the results are saved as files; otherwise they are read into memory."""
    file: Path | None = None
    """A local file to upload as the main input; only for kinds with the tag in another input."""

    @property
    def inputs(self) -> dict[str, Any]:
        """Return the inputs of the job's start."""
        url = f"https://media.example/{self.tag}"
        prompts = {"prompt": self.tag, "negative_prompt": "n"}
        inputs: dict[str, Any] = {
            "dubbing": {"source_url": f"{url}.wav", "target_lang": "es"},
            "image_to_video": {"image_url": f"{url}.png", **prompts},
            "text_to_image": {"prompt": self.tag},
            "kling_image": {"prompt": self.tag, "n": self.count},
            "seedance": {"prompt": self.tag},
            "voice_clone": {"voice_urls": [f"{url}.wav"]},
            "avatar_video": {
                "anchor_id": "68c3e20ad54b2f0047dd3c4c",
                "anchor_type": 0,
                "audio_src": f"{url}.wav",
            },
            "head_swap": {"image_url": f"{url}.png", "target_image_url": f"{url}-2.png"},
            "face_swap": {"video_url": f"{url}.mp4", "face_url": f"{url}.png"},
            "video_twin": {"image_url": f"{url}.png"},
        }[self.kind]
        if self.file is not None:
            inputs["image_url"] = self.file
        if self.kind in SEVERAL:
            inputs[SEVERAL[self.kind]] = self.count
        return inputs | ({"name": self.name} if self.name and self.kind != "head_swap" else {})


def draw_jobs(count: int, *, account: str, directory: Path) -> list[Job]:
    """Create random jobs of one account. Some have a twin: equal inputs and name, another key.

    Input files are written to ``directory``.
    """
    jobs: list[Job] = []
    for number in range(count):
        key = f"{account}-job-{number}"
        if jobs and pick("job.twin", False, False, False, False, True):
            jobs.append(replace(jobs[-1], key=key))
            continue
        kind = pick_from("job.kind", KINDS)
        several = kind in SEVERAL or kind == "kling_image"
        names = (f"name of {key}", None, "take", "  Caf\u00e9 <b>N\u00b02</b> & \U0001f3b5 ")
        jobs.append(
            Job(
                key=key,
                tag=f"tag-{key}-end",
                kind=kind,
                count=pick("job.count", 1, 1, 2, 3) if several else 1,
                name=pick_from("job.name", names),
                after=float(pick("job.after", 0, 0, 1, 5, 30)),
                timeout=float(pick("job.timeout", 900, 300, 60, 20)),
                saves=pick("job.saves", False, True),
                file=_file(directory, key) if kind == "image_to_video" else None,
            )
        )
    return jobs


def draw_batch(count: int, *, account: str) -> list[Job]:
    """Create random jobs of a batch, of kinds that accept a tag and create one task each."""
    return [
        Job(
            key=f"{account}-row-{number}",
            tag=f"tag-{account}-row-{number}-end",
            kind=pick_from("batch.kind", ("dubbing", "seedance", "image_to_video")),
            count=1,
            name=None,
            after=0.0,
            timeout=900.0,
            saves=True,
        )
        for number in range(count)
    ]


def _file(directory: Path, key: str) -> Path | None:
    """Write an image file for a job, or return None for a job with a URL instead."""
    if not pick("job.file", False, True):
        return None
    path = directory / f"{key}.png"
    path.write_bytes(PNG + key.encode() * 9)
    return path
