"""The report of a batch: one JSON line for each job, written when the job ends."""

import json
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from attrs import define

from a2e_async._core.batch.batch import Outcome
from a2e_async.cli.batch.validation import LineJob
from a2e_async.cli.error_messages import error_message
from a2e_async.cli.formatting import text_result
from a2e_async.errors import InvalidInput, StartOutcomeUnknown, TaskFailed
from a2e_async.models import Record

Status = Literal["ok", "failed", "unknown", "error", "earlier"]

STATUSES: Final[tuple[Status, ...]] = ("ok", "earlier", "failed", "unknown", "error")


def status_of(error: BaseException | None, *, earlier: bool = False) -> Status:
    """Return the status of an ended job."""
    if isinstance(error, TaskFailed):
        return "failed"
    if isinstance(error, StartOutcomeUnknown):
        return "unknown"
    if error is not None:
        return "error"
    return "earlier" if earlier else "ok"


def report_line(outcome: Outcome[Any], coins: int | None) -> dict[str, Any]:
    """Return the report's line for a job; ``coins`` is what its task cost, None if unknown."""
    job, task = outcome.job, outcome.task
    item = result_item(
        job.kind.name,
        job.key,
        task.ref if task else None,
        status_of(outcome.error, earlier=outcome.earlier),
        error=outcome.error,
        record=outcome.record,
        paths=outcome.paths,
        coins=coins,
    )
    return {"line": job.line if isinstance(job, LineJob) else None, **item}


def result_item(
    kind: str,
    key: str | None,
    ref: str | None,
    status: Status,
    *,
    error: BaseException | None = None,
    record: Record | None = None,
    paths: Iterable[Path] = (),
    coins: int | None = None,
) -> dict[str, Any]:
    """Return what became of a start, as JSON values."""
    result = text_result(record) if record else None
    return {
        "key": key,
        "kind": kind,
        "ref": ref,
        "status": status,
        "error": error_message(error) if error else None,
        "paths": [str(path) for path in paths],
        "coins": coins,
        **({result[0]: result[1]} if result else {}),
    }


@define(eq=False)
class BatchReport:
    """A report file. Each line is one write, so that a reader never sees a partial line.

    Created and written by one batch. After an error, as on a full disk, it is ``failed``, and
    nothing more is written.
    """

    fd: int
    failed: bool = False

    def write(self, line: dict[str, Any]) -> OSError | None:
        """Append a line; return the error if it cannot be written."""
        data = f"{json.dumps(line, ensure_ascii=False)}\n".encode("utf-8", "replace")
        try:
            while data and not self.failed:  # one write, unless the disk is nearly full
                data = data[os.write(self.fd, data) :]
        except OSError as error:
            self.failed = True
            return error
        return None


@contextmanager
def open_report(path: Path | None, *others: Path) -> Generator[BatchReport | None]:
    """Open a new report, replacing an earlier one; yield None without a path.

    Raises `InvalidInput` if it cannot be written, or is one of ``others``.
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
        yield BatchReport(fd)
    finally:
        os.close(fd)


def check_report(path: Path, *others: Path) -> None:
    """Raise `InvalidInput` if the report would overwrite one of ``others``."""
    for other in others:
        if path.resolve() == other.resolve() or (
            path.exists() and other.exists() and path.samefile(other)
        ):
            raise InvalidInput(
                f"--report would overwrite {str(other)!r:.200}; give another file.",
                field="report",
            )
