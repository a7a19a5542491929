"""A script without async: ``python script.py talk.wav``."""

import sys
from pathlib import Path

import a2e_async
from a2e_async import Status, errors


def main(talk: Path) -> None:
    with a2e_async.blocking(journal="script.db", budget=200) as a2e:
        print(a2e.credits.balance().coins, "coins")
        task = a2e.dubbing.start(source_url=talk, target_lang="es", key=f"{talk.stem}-es")
        for record in task.updates():
            print(record.status, record.progress)
        assert task.status is Status.SUCCEEDED
        (path,) = task.download("out")
        assert path.stat().st_size > 1000

        image = a2e.text_to_image.run(prompt="a lecture hall", key="hall")
        saved = a2e.files.download(image.output, "out/hall.png")
        assert saved == Path("out/hall.png")

        jobs = [
            a2e.dubbing.job(source_url=talk, target_lang=language, key=f"{talk.stem}-{language}")
            for language in ("es", "fr")
        ]
        for outcome in a2e.batch(jobs, download_to="out"):
            if isinstance(outcome.error, errors.TaskFailed):
                print(outcome.job.key, outcome.error.record.failure)
            else:
                print(outcome.job.key, outcome.error or outcome.paths)
                assert outcome.ok


if __name__ == "__main__":
    main(Path(sys.argv[1]))
