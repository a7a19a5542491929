"""Compares the client's record of charges with the sandbox's ledger."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from a2e_async.cli.demo.jobs import JobResult
from a2e_async.cli.formatting import format_coins, format_count, format_duration

PRESIGN: Final = "presign"


@frozen(kw_only=True)
class DemoReport:
    """The content of the closing table. ``problems`` is empty if both records agree."""

    results: Sequence[JobResult]
    ledger: Mapping[str, Any]
    requests: Counter[str]
    """Requests to the API by purpose."""
    seconds: float
    out: Path
    balances: tuple[int, int]
    """The account's coins before and after."""

    @cached_property
    def charges(self) -> Sequence[Mapping[str, Any]]:
        """The ledger's charges for starts."""
        return [charge for charge in self.ledger["charges"] if charge["kind"] != PRESIGN]

    @cached_property
    def coins(self) -> Mapping[str, int]:
        """What was spent by the balance; what was charged and refunded by the ledger."""
        total = sum(charge["coins"] for charge in self.ledger["charges"])
        charged = sum(charge["coins"] for charge in self.charges)
        return {
            "spent": self.balances[0] - self.balances[1],
            "charged": charged,
            "uploads": total - charged,
            "refunded": sum(charge["refunded"] for charge in self.ledger["charges"]),
        }

    @cached_property
    def price_mismatches(self) -> Sequence[str]:
        """The tasks that report another price than the ledger."""
        prices = {id: charge["coins"] for charge in self.charges for id in charge["ids"]}
        return [
            f"{task.ref}: {format_coins(task.coins)} by its record, {price} by the ledger"
            for task in (result.outcome.task for result in self.results)
            if task is not None
            and task.coins is not None
            and (price := prices.get(task.ids[0])) != task.coins
        ]

    @cached_property
    def file_count(self) -> int:
        """The number of saved files that passed the check."""
        return sum(check.ok for result in self.results for check in result.files.values())

    @cached_property
    def problems(self) -> Sequence[str]:
        """Every failed job, and every difference between the two records."""
        problems = [
            f"job {result.number} ({result.kind}, {result.label}): {result.error}"
            for result in self.results
            if result.error
        ]
        charged = sorted(id for charge in self.charges for id in charge["ids"])
        tasks = [result.outcome.task for result in self.results]
        started = sorted(id for task in tasks if task is not None for id in task.ids)
        if len(self.charges) != len(self.results):
            charges = format_count(len(self.charges), "charge")
            problems.append(f"{format_count(len(self.results), 'job')} but {charges}")
        if charged != started:
            problems.append("the charged tasks are not the started tasks")
        spent = self.coins["spent"]
        by_ledger = self.coins["charged"] + self.coins["uploads"] - self.coins["refunded"]
        if spent != by_ledger:
            problems.append(
                f"{format_coins(spent)} spent by the balance, {by_ledger} by the ledger"
            )
        problems += self.price_mismatches
        if self.file_count != len(started):
            files = format_count(self.file_count, "complete file")
            problems.append(f"{format_count(len(started), 'task')} but {files}")
        if leaks := len(self.ledger["leaks"]):
            problems.append(f"the API key reached storage {format_count(leaks, 'time')}")
        return problems

    @property
    def headline(self) -> str:
        """The summary in one line."""
        return " · ".join(
            (
                format_count(len(self.results), "job"),
                format_count(len(self.charges), "charge"),
                format_count(self.file_count, "file"),
            )
        )

    @property
    def checked(self) -> str:
        """How the files were checked."""
        methods = {check.how for result in self.results for check in result.files.values()}
        if methods == {"pyav"}:
            return "every frame decoded with PyAV"
        return "structure only (PyAV is not installed)" if methods else "nothing to check"

    def per_job(self, *purposes: str) -> float:
        """Return the requests of these purposes for each job."""
        return sum(self.requests[purpose] for purpose in purposes) / max(1, len(self.results))

    def rows(self) -> list[tuple[str, str]]:
        """Return the closing table."""
        kinds = Counter(result.kind for result in self.results)
        each = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        coins, mismatches = self.coins, len(self.price_mismatches)
        uploads = len(self.ledger["charges"]) - len(self.charges)
        refunded = f" - {coins['refunded']} refunded" if coins["refunded"] else ""
        priced = format_count(sum(result.coins is not None for result in self.results), "task")
        agreement = (
            f"{mismatches} do not match the ledger" if mismatches else "all match the ledger"
        )
        return [
            ("jobs", f"{len(self.results)} ({each})"),
            ("charges", f"{len(self.charges)} for starts, {uploads} for uploads"),
            ("files", f"{self.file_count} complete; {self.checked}"),
            (
                "coins",
                f"{coins['spent']} by the balance; by the ledger {coins['charged']} for starts + "
                f"{coins['uploads']} for uploads{refunded}",
            ),
            ("prices", f"{priced} reported a price; {agreement}"),
            (
                "requests",
                f"{self.per_job('start', 'poll', 'upload'):.2f} per job: "
                f"{self.per_job('start'):.2f} starts, {self.per_job('poll'):.2f} polls; "
                f"{format_count(self.requests['upload'], 'upload')}",
            ),
            ("API key sent to storage", "never" if not self.ledger["leaks"] else "yes"),
            ("time", format_duration(self.seconds)),
            ("directory", str(self.out)),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "ok": not self.problems,
            "problems": self.problems,
            "jobs": len(self.results),
            "charges": len(self.charges),
            "files": self.file_count,
            "coins": self.coins,
            "uploads": len(self.ledger["charges"]) - len(self.charges),
            "requests": {
                "total": sum(self.requests[purpose] for purpose in ("start", "poll", "upload")),
                "per_job": round(self.per_job("start", "poll", "upload"), 3),
                "polls_per_job": round(self.per_job("poll"), 3),
                **self.requests,
            },
            "leaks": len(self.ledger["leaks"]),
            "checked": self.checked,
            "results_made_with": self.ledger.get("results_made_with"),
            "seconds": round(self.seconds, 2),
            "directory": str(self.out),
            "items": [
                {
                    "job": result.number,
                    "kind": result.kind,
                    "ref": result.outcome.task.ref if result.outcome.task else None,
                    "stage": result.status,
                    "seconds": round(result.seconds, 2),
                    "coins": result.coins,
                    "files": [str(path) for path in result.files],
                    "error": result.error or None,
                }
                for result in self.results
            ],
        }
