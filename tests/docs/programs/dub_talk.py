"""Dub a talk into three languages: ``python dub_talk.py talk.wav out``."""

import asyncio
import sys
from pathlib import Path

from a2e_async import A2E, errors

LANGUAGES = ("es", "fr", "de")


async def dub(talk: Path, directory: Path) -> dict[str, Path]:
    """Return the dubbed file of each language that succeeded."""
    files: dict[str, Path] = {}
    async with A2E(journal="dubbing.db", budget=500) as a2e:
        jobs = [
            a2e.dubbing.job(
                source_url=talk,
                target_lang=language,
                key=f"{talk.stem}-{language}",
                meta={"language": language},
            )
            for language in LANGUAGES
        ]
        async for outcome in a2e.batch(jobs, limit=3, download_to=directory):
            language = str((outcome.job.meta or {})["language"])
            if isinstance(outcome.error, errors.TaskFailed):
                print(language, "failed:", outcome.error.record.failure, file=sys.stderr)
            elif outcome.error is not None:
                print(language, "was not dubbed:", outcome.error, file=sys.stderr)
            else:
                (file,) = outcome.paths
                files[language] = file
    return files


if __name__ == "__main__":
    dubbed = asyncio.run(dub(Path(sys.argv[1]), Path(sys.argv[2])))
    for language, file in dubbed.items():
        print(language, file)
    assert set(dubbed) == set(LANGUAGES)
    assert all(file.stat().st_size > 1000 for file in dubbed.values())
