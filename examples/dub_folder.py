"""Dub every WAV file of a folder into another language, five at a time.

    A2E_API_KEY=… python examples/dub_folder.py talks/ es out/

A file that fails does not stop the others. Run it again to continue: `dub_folder.db` remembers what
was paid for.
"""

import asyncio
import sys
from pathlib import Path

from a2e_async import A2E, A2EError


async def dub(a2e: A2E, gate: asyncio.Semaphore, source: Path, language: str, out: Path) -> bool:
    """Dub one file, print the result, and return whether it was saved."""
    async with gate:
        try:
            key = f"{source} {language}"
            task = await a2e.dubbing.start(source_url=source, target_lang=language, key=key)
            (saved,) = await task.download(out)
        except A2EError as error:
            print(f"{source}: {error}", file=sys.stderr)
            return False
        print(f"{source} -> {saved}")
        return True


async def main(sources: list[Path], language: str, out: str) -> int:
    """Dub the files; return the exit code."""
    gate = asyncio.Semaphore(5)
    async with A2E(journal="dub_folder.db") as a2e:
        jobs = (dub(a2e, gate, source, language, Path(out)) for source in sources)
        saved = await asyncio.gather(*jobs)
    return 0 if all(saved) else 1


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python examples/dub_folder.py FOLDER LANGUAGE OUT")
    folder, language, out = sys.argv[1:]
    sys.exit(asyncio.run(main(sorted(Path(folder).glob("*.wav")), language, out)))
