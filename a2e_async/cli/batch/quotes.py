"""What the jobs of a file would cost, summed up from a dry run."""

from typing import Any, Final

from attrs import define, field

from a2e_async.cli.batch.check import Found, LineJob
from a2e_async.cli.batch.rows import Wrong
from a2e_async.cli.desk import message_of
from a2e_async.tasks.batch import Outcome

AT_ONCE: Final = 200
"""Jobs whose prices are asked for together."""


@define
class Quotes:
    """``coins`` of the ``priced`` jobs; ``unpriced`` have no figure, ``begun`` were paid before.

    ``about``: priced ones with a file of sound or video that the service has not seen; ``paid``
    the coins that those begun have cost; ``uploads`` files that would go up; ``wrong`` are jobs
    that could not be started at all.
    """

    coins: int = 0
    priced: int = 0
    unpriced: int = 0
    begun: int = 0
    about: int = 0
    paid: int = 0
    uploads: int = 0
    wrong: Found = field(factory=Found)

    @property
    def jobs(self) -> int:
        """How many were looked at."""
        return self.priced + self.unpriced + self.begun + self.wrong.count

    def take(self, outcome: Outcome[Any]) -> None:
        """Count one outcome."""
        job, plan = outcome.job, outcome.plan
        if plan is None or outcome.error is not None:
            line = job.line if isinstance(job, LineJob) else 0
            said = message_of(outcome.error) if outcome.error else ""
            self.wrong.add(Wrong(line, said, getattr(outcome.error, "field", None)))
            return
        self.paid += plan.paid
        self.uploads += plan.uploads
        if plan.step != "start":
            self.begun += 1
        elif plan.coins is None:
            self.unpriced += 1
        else:
            self.priced, self.coins = self.priced + 1, self.coins + plan.coins
            self.about += plan.about
