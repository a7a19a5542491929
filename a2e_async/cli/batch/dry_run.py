"""Sums up the prices of a batch file's jobs from a dry run."""

from typing import Any, Final

from attrs import define, field

from a2e_async._core.batch.batch import Outcome
from a2e_async.cli import exit_codes
from a2e_async.cli.batch.job_file import LineError
from a2e_async.cli.batch.validation import LineJob, ValidationResult
from a2e_async.cli.error_messages import error_message
from a2e_async.cli.formatting import format_duration

CONCURRENT_QUOTES: Final = 200
"""Prices that are requested at the same time."""

QUOTES_PER_SECOND: Final = 10
"""The rate limit of a client, which bounds a dry run of jobs with different settings."""

MIN_SECONDS_TO_ANNOUNCE: Final = 10
"""Least duration (s) of a dry run that is announced."""


def duration_notice(job_count: int) -> str | None:
    """Return how long the quotes of a batch may take, None for a short time."""
    seconds = job_count / QUOTES_PER_SECOND
    if seconds < MIN_SECONDS_TO_ANNOUNCE:
        return None
    return (
        f"requesting prices, at most {QUOTES_PER_SECOND} a second: up to "
        f"{format_duration(seconds)}, less if jobs differ only in texts and media"
    )


@define
class PriceTotals:
    """The prices of a batch. ``coins`` is the sum over the ``priced`` jobs.

    ``unpriced`` jobs have no quote; ``begun`` jobs were started before and cost ``paid`` coins.
    ``approximate_count`` are the priced jobs whose price may be another: those with an audio or
    video file that the service has not received, and the ``assumed_count`` jobs with the price of
    similar ones. ``upload_count`` are the files to upload; ``invalid`` holds the jobs that could
    not be started.

    Created by the command for one dry run, which adds each outcome.
    """

    coins: int = 0
    priced: int = 0
    unpriced: int = 0
    begun: int = 0
    approximate_count: int = 0
    assumed_count: int = 0
    paid: int = 0
    upload_count: int = 0
    invalid: ValidationResult = field(factory=ValidationResult)
    other_error: BaseException | None = field(default=None, init=False)
    """The first error that is not of the file, such as one of the network."""

    @property
    def job_count(self) -> int:
        """The number of jobs counted so far."""
        return self.priced + self.unpriced + self.begun + self.invalid.error_count

    def add(self, outcome: Outcome[Any]) -> None:
        """Count one outcome."""
        job, plan = outcome.job, outcome.plan
        if plan is None or outcome.error is not None:
            line = job.line if isinstance(job, LineJob) else 0
            message = error_message(outcome.error) if outcome.error else ""
            if outcome.error and exit_codes.code_for(outcome.error) != exit_codes.USAGE:
                self.other_error = self.other_error or outcome.error
            self.invalid.add(LineError(line, message, getattr(outcome.error, "field", None)))
            return
        self.paid += plan.paid
        self.upload_count += plan.uploads
        if plan.step != "start":
            self.begun += 1
        elif plan.coins is None:
            self.unpriced += 1
        else:
            self.priced, self.coins = self.priced + 1, self.coins + plan.coins
            self.approximate_count += plan.about
            self.assumed_count += plan.assumed
