"""The report of a batch: one JSON line for each job, as it is completed."""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from attrs import frozen

from a2e_async.cli.batch.check import LineJob
from a2e_async.cli.desk import message_of
from a2e_async.cli.show import instead
from a2e_async.errors import InvalidInput, StartOutcomeUnknown, TaskFailed
from a2e_async.tasks.batch import Outcome

Status = Literal["ok", "failed", "unknown", "error", "earlier"]

STATUSES: Final[tuple[Status, ...]] = ("ok", "earlier", "failed", "unknown", "error")


def status_of(error: BaseException | None, *, earlier: bool = False) -> Status:
    """Return in a word what became of a job."""
    if isinstance(error, TaskFailed):
        return "failed"
    if isinstance(error, StartOutcomeUnknown):
        return "unknown"
    if error is not None:
        return "error"
    return "earlier" if earlier else "ok"


def report_line(outcome: Outcome[Any], coins: int | None) -> dict[str, Any]:
    """Return what the report says of a job; ``coins`` is what its task cost, if that is known."""
    job, task, record = outcome.job, outcome.task, outcome.record
    made = instead(record) if record else None
    return {
        "line": job.line if isinstance(job, LineJob) else None,
        "key": job.key,
        "kind": job.kind.name,
        "ref": task.ref if task else None,
        "status": status_of(outcome.error, earlier=outcome.earlier),
        "error": message_of(outcome.error) if outcome.error else None,
        "paths": [str(path) for path in outcome.paths],
        "coins": coins,
        **({made[0]: made[1]} if made else {}),
    }


@frozen
class Report:
    """A report file. Each line is written at once, so that a reader never sees half of one."""

    fd: int

    def write(self, line: dict[str, Any]) -> None:
        """Add a line. Raises OSError."""
        data = f"{json.dumps(line, ensure_ascii=False)}\n".encode("utf-8", "replace")
        while data:  # in one go, unless the disk is nearly full
            data = data[os.write(self.fd, data) :]


@contextmanager
def reporting(path: Path | None, *others: Path) -> Generator[Report | None]:
    """Open a new report, in the place of an earlier one; None without a path.

    Raises `InvalidInput` when it cannot be written, or is one of ``others``.
    """
    if path is None:
        yield None
        return
    check_report(path, *others)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
    except OSError as error:
        raise InvalidInput(
            f"The report {str(path)!r:.200} cannot be written: {error.strerror}. "
            "Nothing was started.",
            field="report",
        ) from error
    try:
        yield Report(fd)
    finally:
        os.close(fd)


def check_report(path: Path, *others: Path) -> None:
    """Raise `InvalidInput` when the report would be written over one of ``others``."""
    for other in others:
        if path.resolve() == other.resolve() or (
            path.exists() and other.exists() and path.samefile(other)
        ):
            raise InvalidInput(
                f"--report is {str(other)!r:.200} itself; give another.", field="report"
            )
