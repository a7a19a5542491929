"""The books compared: what the client says it did against what the sandbox says it charged."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define

from a2e_async.cli.demo.work import DemoJob, Tally
from a2e_async.cli.show import coins_word, counted, seconds_word

PRESIGN = "presign"


@define(kw_only=True)
class Report:
    """Everything the closing table tells. ``problems`` is empty when all agree."""

    jobs: Sequence[DemoJob]
    ledger: Mapping[str, Any]
    tally: Tally
    seconds: float
    out: Path
    balances: tuple[int, int]
    """Coins that the account said it had, before and after."""

    @property
    def charges(self) -> list[Mapping[str, Any]]:
        """What the sandbox charged for starts."""
        return [c for c in self.ledger["charges"] if c["kind"] != PRESIGN]

    @property
    def uploads(self) -> list[Mapping[str, Any]]:
        """What it charged for upload permits."""
        return [c for c in self.ledger["charges"] if c["kind"] == PRESIGN]

    @property
    def files(self) -> list[Path]:
        """Every file that was saved and is whole."""
        return sorted({path for job in self.jobs for path, check in job.files if check.ok})

    @property
    def spent(self) -> int:
        """Coins that went, as the client was told: starts, and uploads as well."""
        return self.balances[0] - self.balances[1]

    @property
    def told(self) -> list[DemoJob]:
        """The jobs whose price their record tells; dubbing's does not."""
        return [job for job in self.jobs if job.coins is not None]

    @property
    def misprinted(self) -> list[str]:
        """Return the tasks whose record tells another price than was charged."""
        prices = {id: c["coins"] for c in self.charges for id in c["ids"]}
        return [
            f"{job.task.ref}: {coins_word(job.coins)} by its record, "
            f"{prices.get(job.task.ids[0])} by the ledger"
            for job in self.told
            if job.task and prices.get(job.task.ids[0]) != job.coins
        ]

    @property
    def charged(self) -> int:
        """Coins by the sandbox's ledger, for starts."""
        return sum(c["coins"] for c in self.charges)

    @property
    def permits(self) -> int:
        """Coins by the sandbox's ledger, for upload permits."""
        return sum(c["coins"] for c in self.uploads)

    @property
    def refunded(self) -> int:
        """Coins that the sandbox gave back."""
        return sum(c["refunded"] for c in self.ledger["charges"])

    @property
    def problems(self) -> list[str]:
        """Return all that does not agree."""
        found = [
            f"job {job.number} ({job.kind}, {job.label}): {job.error or job.stage}"
            for job in self.jobs
            if not job.saved
        ]
        ids = [id for charge in self.charges for id in charge["ids"]]
        ours = [id for job in self.jobs if job.task for id in job.task.ids]
        if len(self.charges) != len(self.jobs):
            found.append(
                f"{counted(len(self.jobs), 'job')} but {counted(len(self.charges), 'charge')}"
            )
        if sorted(ids) != sorted(ours):
            found.append("the tasks that were charged are not the tasks that were started")
        booked = self.charged + self.permits - self.refunded
        if self.spent != booked:
            found.append(f"{coins_word(self.spent)} went by our records, {booked} by the ledger")
        found += self.misprinted
        if len(self.files) != len(ours):
            found.append(
                f"{counted(len(ours), 'task')} but {counted(len(self.files), 'whole file')}"
            )
        if self.ledger["leaks"]:
            found.append(
                f"the API key reached storage {counted(len(self.ledger['leaks']), 'time')}"
            )
        return found

    @property
    def headline(self) -> str:
        """Return the one line that tells it all."""
        return " · ".join(
            (
                counted(len(self.jobs), "job"),
                counted(len(self.charges), "charge"),
                counted(len(self.files), "file"),
            )
        )

    @property
    def checked(self) -> str:
        """Return which check the files went through."""
        ways = {check.how for job in self.jobs for _, check in job.files}
        if ways == {"pyav"}:
            return "every frame decoded with PyAV"
        return "structure only (PyAV is not installed)" if ways else "nothing to check"

    def rows(self) -> list[tuple[str, str]]:
        """Return the closing table."""
        count, tally = max(1, len(self.jobs)), self.tally
        given_back = f" - {self.refunded} given back" if self.refunded else ""
        kinds = dict.fromkeys(job.kind for job in self.jobs)
        each = ", ".join(f"{sum(j.kind == k for j in self.jobs)} {k}" for k in kinds)
        return [
            ("jobs", f"{len(self.jobs)} ({each})"),
            ("charges", f"{len(self.charges)} for starts; {len(self.uploads)} for uploads apart"),
            ("files", f"{len(self.files)} whole; {self.checked}"),
            (
                "coins",
                f"{self.spent} by our records; by the ledger {self.charged} for starts + "
                f"{self.permits} for uploads{given_back}",
            ),
            ("prices", f"{len(self.told)} told by tasks, {len(self.misprinted)} not as charged"),
            (
                "requests",
                f"{tally.total / count:.2f} per job: {tally.counts['start'] / count:.2f} starts, "
                f"{tally.counts['look'] / count:.2f} looks; "
                f"{counted(tally.counts['upload'], 'upload')}",
            ),
            ("key at storage", "never" if not self.ledger["leaks"] else "yes"),
            ("time", seconds_word(self.seconds)),
            ("directory", str(self.out)),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        count, tally = max(1, len(self.jobs)), self.tally
        return {
            "ok": not self.problems,
            "problems": self.problems,
            "jobs": len(self.jobs),
            "charges": len(self.charges),
            "files": len(self.files),
            "coins": {
                "spent": self.spent,
                "charged": self.charged,
                "uploads": self.permits,
                "refunded": self.refunded,
            },
            "uploads": len(self.uploads),
            "requests": {
                "total": tally.total,
                "per_job": round(tally.total / count, 3),
                "looks_per_job": round(tally.counts["look"] / count, 3),
                **tally.counts,
            },
            "leaks": len(self.ledger["leaks"]),
            "checked": self.checked,
            "results_made_with": self.ledger.get("results_made_with"),
            "seconds": round(self.seconds, 2),
            "directory": str(self.out),
            "items": [_item(job) for job in self.jobs],
        }


def _item(job: DemoJob) -> dict[str, Any]:
    return {
        "job": job.number,
        "kind": job.kind,
        "ref": job.task.ref if job.task else None,
        "stage": job.stage,
        "seconds": None if job.elapsed is None else round(job.elapsed, 2),
        "coins": job.coins,
        "files": [str(path) for path, _ in job.files],
        "error": job.error or None,
    }
