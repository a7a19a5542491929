"""The dry run of a batch: checks and prices every job, and compares it with the journal."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

from attrs import define, evolve, field

from a2e_async._core.batch.batch import (
    FATAL_ERRORS,
    BatchServices,
    Outcome,
    Plan,
    job_for_try,
    where_saved,
)
from a2e_async._core.batch.duplicates import DuplicateStore
from a2e_async._core.batch.manifest import Manifest
from a2e_async._core.files.name_template import NameTemplate
from a2e_async._core.journal.keys import key_conflict
from a2e_async._core.journal.protocol import UPLOAD, Entry, State
from a2e_async._core.submission.budget import PricedCall, Reservation
from a2e_async._core.submission.quotes import (
    body_before_upload,
    price_may_depend_on_duration,
    pricing_settings,
)
from a2e_async._core.tasks.kind import PreparedJob, check_pollable
from a2e_async.errors import (
    BudgetExceeded,
    InvalidRequest,
    ServerError,
    TransportError,
)
from a2e_async.models import Record

R = TypeVar("R", bound=Record)

MAX_CACHED_PRICES: Final = 10_000
"""How many prices are cached; jobs with equal request bodies are quoted once."""

SAMPLE_SIZE: Final = 20
"""How many quotes must agree before the price of jobs that differ in texts and media is assumed."""


@define(kw_only=True, eq=False)
class DryRunPlanner:
    """Plans what a run would do with each job, without changing the budgets.

    Created for one dry run; it changes only its prices and its copies of the budgets.
    """

    services: BatchServices
    retry_failed: int
    download_to: Path | None
    reservation: Reservation
    name: NameTemplate | None = None
    manifest: Manifest | None = None
    fatal_errors: ClassVar[tuple[type[Exception], ...]] = (
        *(kind for kind in FATAL_ERRORS if kind is not BudgetExceeded),
        ServerError,
        TransportError,
    )
    """Errors that end the dry run. A full budget does not: it is reported per job."""
    _duplicates: DuplicateStore = field(factory=DuplicateStore, init=False)
    _samples: "dict[str, _PriceSample]" = field(factory=dict[str, "_PriceSample"], init=False)
    _cached_prices: "dict[str, asyncio.Future[int | None]]" = field(
        factory=dict[str, "asyncio.Future[int | None]"], init=False
    )

    def __attrs_post_init__(self) -> None:
        """Use copies of the budgets: a dry run must not use up those of the run after it."""
        self.reservation = Reservation(tuple(budget.copy() for budget in self.reservation.budgets))

    async def process(self, job: PreparedJob[R]) -> Outcome[R]:
        """Return an outcome with the plan for a job, or with the error that it would cause."""
        try:
            check_pollable(job.kind)
            if self.name is not None:
                self.name.check_key(job.key)
            digest, files = await self.services.input_and_file_digests(job)
            if (outcome := await self._existing_outcome(job, digest)) is not None:
                return outcome
            plan = await self._plan_start(job, files)
        except Exception as error:
            return Outcome(job=job, error=error)
        return Outcome(job=job, plan=plan, error=self._budget_refusal(job, plan))

    def close(self) -> None:
        """Cancel pending price quotes and release resources."""
        for quote in self._cached_prices.values():
            quote.cancel()
        self._duplicates.close()

    # -- jobs that earlier runs, or earlier jobs of this run, have started -----------------------

    async def _existing_outcome(self, job: PreparedJob[R], digest: str) -> Outcome[R] | None:
        """Return the outcome of a job whose key is in use already, None for a new job."""
        if job.key is None:
            return None
        paid, failures, failed = 0, 0, None
        while self.services.recorder is not None:
            keyed_job = job_for_try(job, failures)
            entry = await self.services.recorder.journal.get(keyed_job.key or "")
            if entry is None or entry.state is State.RESERVED:
                break
            if (entry.kind, entry.digest) != (job.kind.name, digest):
                raise key_conflict(
                    job.key or "",
                    entry.ref,
                    changed=await self.services.changed_inputs(job, entry),
                    paths=entry.paths.values(),
                )
            paid += self._count_entry(entry)
            outcome = self._outcome_of_entry(job, keyed_job, entry, paid)
            if not entry.failed:
                return outcome
            failures, failed = failures + 1, outcome
        if failed is not None and failures > self.retry_failed:
            return failed
        first_digest = self._duplicates.first_value(digest, "key", job.key)
        if first_digest != digest:
            raise key_conflict(job.key or "", None)
        if self._duplicates.count_occurrence("again", job.key) > 1:
            return Outcome(job=job, plan=Plan(step="wait", paid=paid))
        return None

    def _outcome_of_entry(
        self, job: PreparedJob[R], keyed_job: PreparedJob[R], entry: Entry, paid: int
    ) -> Outcome[R]:
        plan, paths = Plan(step="wait", paid=paid), tuple(map(Path, entry.paths.values()))
        if entry.state is State.INTENT:
            return Outcome(job=job, plan=evolve(plan, step="find"))
        done, _ = where_saved(entry, self.download_to, self.manifest)
        if entry.failed:
            plan = evolve(plan, step="save" if entry.outputs and not done else "failed")
        elif entry.succeeded:
            plan = evolve(plan, step="done" if done else "save")
        task = self.services.attach_entry(keyed_job, entry) if entry.ids else None
        return Outcome(job=job, plan=plan, task=task, paths=paths, earlier=plan.step == "done")

    def _count_entry(self, entry: Entry) -> int:
        reservation = Reservation(self.reservation.budgets)
        if entry.state is State.INTENT:
            reservation.reserve_unknown(entry.reserved or 0, entry.key)
        else:
            reservation.count_existing(entry.key, entry.cost, entry.ref)
        return entry.coins or 0

    # -- new jobs -----------------------------------------------------------------------------

    async def _plan_start(self, job: PreparedJob[R], file_digests: frozenset[str]) -> Plan:
        coins, assumed = await self._find_price(job, file_digests)
        return Plan(
            step="start",
            coins=coins,
            about=assumed or (coins is not None and price_may_depend_on_duration(job.input)),
            assumed=assumed,
            uploads=sum(
                self._duplicates.count_occurrence("file", digest) == 1 for digest in file_digests
            ),
        )

    async def _find_price(
        self, job: PreparedJob[R], file_digests: frozenset[str]
    ) -> tuple[int | None, bool]:
        """Return the price of a job, and whether it is assumed from those of others."""
        path, body = job.kind.start.path, body_before_upload(job.kind, job.input)
        quoted_body = {name: value for name, value in body.items() if name != job.kind.name_field}
        cache_key = _digest(path, quoted_body)
        quote = self._cached_prices.get(cache_key)
        if quote is None:
            sample = self._sample_for(_digest(path, pricing_settings(job.kind, job.input)))
            if (common := await sample.common_price()) is not None:
                return common, True
            quote = asyncio.ensure_future(self.services.fetch_price(path, body))
            sample.add(quote)
            if len(self._cached_prices) < MAX_CACHED_PRICES:
                self._cached_prices[cache_key] = quote
        try:
            # Shielded: other jobs with the same request body wait for the same quote.
            return await asyncio.shield(quote), False
        except InvalidRequest:
            if not file_digests:
                raise
            return None, False  # some kinds are only quoted with the files' URLs, after the upload

    def _sample_for(self, settings: str) -> "_PriceSample":
        sample = self._samples.get(settings) or _PriceSample()
        if len(self._samples) < MAX_CACHED_PRICES:
            self._samples[settings] = sample
        return sample

    def _budget_refusal(self, job: PreparedJob[R], plan: Plan) -> BudgetExceeded | None:
        """Count the job's price in the copies; return an error if there is no room."""
        reservation = Reservation(self.reservation.budgets)
        uploads: list[PricedCall] = [(UPLOAD, None)] * plan.uploads
        try:
            reservation.reserve((job.kind.name, plan.coins), *uploads)
        except BudgetExceeded as error:
            return error
        for _ in uploads:
            reservation.split_upload().commit(UPLOAD, None)
        reservation.commit(job.kind.name, None)
        return None


@define(eq=False)
class _PriceSample:
    """The first quotes for jobs that have the same settings, and other texts and media.

    Created by the planner, which alone changes it.
    """

    quotes: "list[asyncio.Future[int | None]]" = field(
        factory=list["asyncio.Future[int | None]"], init=False
    )

    def add(self, quote: "asyncio.Future[int | None]") -> None:
        """Add a quote, unless there are enough."""
        if len(self.quotes) < SAMPLE_SIZE:
            self.quotes.append(quote)

    async def common_price(self) -> int | None:
        """Return the price of all quotes; None if they differ, fail, or are too few."""
        if len(self.quotes) < SAMPLE_SIZE:
            return None
        await asyncio.wait(self.quotes)
        prices = {
            None if quote.cancelled() or quote.exception() else quote.result()
            for quote in self.quotes
        }
        return prices.pop() if len(prices) == 1 else None


def _digest(path: str, body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps([path, body], sort_keys=True).encode()).hexdigest()
