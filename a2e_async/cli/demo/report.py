"""Compares the client's record of charges with the sandbox's ledger."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define

from a2e_async.cli.demo.jobs import DemoJob, RequestCounts
from a2e_async.cli.formatting import format_coins, format_count, format_duration

PRESIGN = "presign"


@define(kw_only=True)
class DemoReport:
    """The content of the closing table. ``problems`` is empty if both records agree."""

    jobs: Sequence[DemoJob]
    ledger: Mapping[str, Any]
    request_counts: RequestCounts
    seconds: float
    out: Path
    balances: tuple[int, int]
    """The account's coins before and after."""

    @property
    def charges(self) -> list[Mapping[str, Any]]:
        """The ledger's charges for starts."""
        return [c for c in self.ledger["charges"] if c["kind"] != PRESIGN]

    @property
    def uploads(self) -> list[Mapping[str, Any]]:
        """The ledger's charges for upload permits."""
        return [c for c in self.ledger["charges"] if c["kind"] == PRESIGN]

    @property
    def files(self) -> list[Path]:
        """Every saved file that passed the check."""
        return sorted({path for job in self.jobs for path, check in job.files if check.ok})

    @property
    def spent(self) -> int:
        """Coins spent on starts and uploads, by the account's balance."""
        return self.balances[0] - self.balances[1]

    @property
    def priced(self) -> list[DemoJob]:
        """The jobs whose task reports a price; dubbing tasks do not."""
        return [job for job in self.jobs if job.coins is not None]

    @property
    def price_mismatches(self) -> list[str]:
        """The tasks that report another price than the ledger."""
        prices = {id: c["coins"] for c in self.charges for id in c["ids"]}
        return [
            f"{job.task.ref}: {format_coins(job.coins)} by its record, "
            f"{prices.get(job.task.ids[0])} by the ledger"
            for job in self.priced
            if job.task and prices.get(job.task.ids[0]) != job.coins
        ]

    @property
    def charged(self) -> int:
        """Coins by the sandbox's ledger, for starts."""
        return sum(c["coins"] for c in self.charges)

    @property
    def upload_coins(self) -> int:
        """Coins by the sandbox's ledger, for upload permits."""
        return sum(c["coins"] for c in self.uploads)

    @property
    def refunded(self) -> int:
        """Coins that the sandbox gave back."""
        return sum(c["refunded"] for c in self.ledger["charges"])

    @property
    def problems(self) -> list[str]:
        """Every failed job, and every difference between the two records."""
        problems = [
            f"job {job.number} ({job.kind}, {job.label}): {job.error or job.stage}"
            for job in self.jobs
            if not job.saved
        ]
        ids = [id for charge in self.charges for id in charge["ids"]]
        started_ids = [id for job in self.jobs if job.task for id in job.task.ids]
        if len(self.charges) != len(self.jobs):
            charges = format_count(len(self.charges), "charge")
            problems.append(f"{format_count(len(self.jobs), 'job')} but {charges}")
        if sorted(ids) != sorted(started_ids):
            problems.append("the charged tasks are not the started tasks")
        ledger_total = self.charged + self.upload_coins - self.refunded
        if self.spent != ledger_total:
            problems.append(
                f"{format_coins(self.spent)} spent by the balance, {ledger_total} by the ledger"
            )
        problems += self.price_mismatches
        if len(self.files) != len(started_ids):
            files = format_count(len(self.files), "complete file")
            problems.append(f"{format_count(len(started_ids), 'task')} but {files}")
        if self.ledger["leaks"]:
            problems.append(
                f"the API key reached storage {format_count(len(self.ledger['leaks']), 'time')}"
            )
        return problems

    @property
    def headline(self) -> str:
        """The summary in one line."""
        return " · ".join(
            (
                format_count(len(self.jobs), "job"),
                format_count(len(self.charges), "charge"),
                format_count(len(self.files), "file"),
            )
        )

    @property
    def checked(self) -> str:
        """How the files were checked."""
        methods = {check.how for job in self.jobs for _, check in job.files}
        if methods == {"pyav"}:
            return "every frame decoded with PyAV"
        return "structure only (PyAV is not installed)" if methods else "nothing to check"

    def rows(self) -> list[tuple[str, str]]:
        """Return the closing table."""
        count, requests = max(1, len(self.jobs)), self.request_counts
        refunded = f" - {self.refunded} refunded" if self.refunded else ""
        mismatches = len(self.price_mismatches)
        agreement = (
            f"{mismatches} do not match the ledger" if mismatches else "all match the ledger"
        )
        kinds = dict.fromkeys(job.kind for job in self.jobs)
        each = ", ".join(f"{sum(j.kind == k for j in self.jobs)} {k}" for k in kinds)
        return [
            ("jobs", f"{len(self.jobs)} ({each})"),
            ("charges", f"{len(self.charges)} for starts, {len(self.uploads)} for uploads"),
            ("files", f"{len(self.files)} complete; {self.checked}"),
            (
                "coins",
                f"{self.spent} by the balance; by the ledger {self.charged} for starts + "
                f"{self.upload_coins} for uploads{refunded}",
            ),
            ("prices", f"{format_count(len(self.priced), 'task')} reported a price; {agreement}"),
            (
                "requests",
                f"{requests.total / count:.2f} per job: {requests.counts['start'] / count:.2f} "
                f"starts, {requests.counts['poll'] / count:.2f} polls; "
                f"{format_count(requests.counts['upload'], 'upload')}",
            ),
            ("API key sent to storage", "never" if not self.ledger["leaks"] else "yes"),
            ("time", format_duration(self.seconds)),
            ("directory", str(self.out)),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        count, requests = max(1, len(self.jobs)), self.request_counts
        return {
            "ok": not self.problems,
            "problems": self.problems,
            "jobs": len(self.jobs),
            "charges": len(self.charges),
            "files": len(self.files),
            "coins": {
                "spent": self.spent,
                "charged": self.charged,
                "uploads": self.upload_coins,
                "refunded": self.refunded,
            },
            "uploads": len(self.uploads),
            "requests": {
                "total": requests.total,
                "per_job": round(requests.total / count, 3),
                "polls_per_job": round(requests.counts["poll"] / count, 3),
                **requests.counts,
            },
            "leaks": len(self.ledger["leaks"]),
            "checked": self.checked,
            "results_made_with": self.ledger.get("results_made_with"),
            "seconds": round(self.seconds, 2),
            "directory": str(self.out),
            "items": [_job_json(job) for job in self.jobs],
        }


def _job_json(job: DemoJob) -> dict[str, Any]:
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
