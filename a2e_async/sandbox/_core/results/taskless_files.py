"""Makes the files of calls that start no task: speech, and copies of other files."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from a2e_async._core.files.media_types import SNIFF_BYTES, sniff_media_type

from ... import media
from . import samples
from .spec import ResultSpec

SPEECH: Final = "speech"
COPY: Final = "copy"
TASKLESS_RECIPES: Final = frozenset({SPEECH, COPY})
"""The recipes of files that belong to no task; storage faults can name them as kinds."""


def make_file(spec: ResultSpec, path: Path, seed: bytes) -> str | None:
    """Write the file and return its content type; None for any other recipe."""
    if spec.recipe == SPEECH:
        samples.write_speech(path, float(spec.inputs["seconds"]), seed)
        return "audio/wav"
    if spec.recipe != COPY:
        return None
    name = str(spec.inputs["name"])
    sources = [source for source, _ in spec.sources.values()]
    source = sources[0] if sources else _placeholder_file(name)
    shutil.copyfile(source, path)
    with path.open("rb") as file:
        return sniff_media_type(file.read(SNIFF_BYTES), name)[1]


def _placeholder_file(name: str) -> Path:
    known = {"image": media.portrait, "audio": media.speech}
    return known.get(sniff_media_type(b"", name)[0], media.clip)()
