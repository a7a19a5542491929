"""The dry run of a batch: checks and prices every job, and compares it with the journal."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from attrs import define, evolve, field

from a2e_async.errors import (
    BudgetExceeded,
    InvalidRequest,
    KeyConflict,
    ServerError,
    TransportError,
)
from a2e_async.models import Record
from a2e_async.tasks.batch import STOPPING, Desk, Outcome, Plan, again, nothing_left
from a2e_async.tasks.budget import UPLOAD, Held, Need
from a2e_async.tasks.journal import Entry, State
from a2e_async.tasks.kind import Job, check_watchable
from a2e_async.tasks.quotes import is_timed, unsent_body
from a2e_async.tasks.seen import Seen

R = TypeVar("R", bound=Record)

REMEMBERED: Final = 10_000
"""How many prices are cached; jobs with equal request bodies are quoted once."""


@define(kw_only=True, eq=False)
class Planner:
    """Plans what a run would do with each job, without changing the budgets."""

    desk: Desk
    retry_failed: int
    download_to: Path | None
    held: Held
    stopping: ClassVar[tuple[type[Exception], ...]] = (
        *(kind for kind in STOPPING if kind is not BudgetExceeded),
        ServerError,
        TransportError,
    )
    """Errors that end the dry run. A full budget does not: it is reported per job."""
    _seen: Seen = field(factory=Seen, init=False)
    _prices: "dict[str, asyncio.Future[int | None]]" = field(
        factory=dict[str, "asyncio.Future[int | None]"], init=False
    )

    def __attrs_post_init__(self) -> None:
        """Use copies of the budgets: a dry run must not use up those of the run after it."""
        self.held = Held(tuple(budget.copy() for budget in self.held.budgets))

    async def one(self, job: Job[R]) -> Outcome[R]:
        """Return an outcome with the plan for a job, or with the error that it would cause."""
        try:
            check_watchable(job.kind)
            digest, files = await self.desk.look(job)
            if (outcome := await self._begun(job, digest)) is not None:
                return outcome
            plan = await self._start(job, files)
        except Exception as error:
            return Outcome(job=job, error=error)
        return Outcome(job=job, plan=plan, error=self._refusal(job, plan))

    def close(self) -> None:
        """Cancel pending price quotes and release resources."""
        for quote in self._prices.values():
            quote.cancel()
        self._seen.close()

    # -- jobs that earlier runs, or earlier jobs of this run, have started -----------------------

    async def _begun(self, job: Job[R], digest: str) -> Outcome[R] | None:
        """Return the outcome of a job whose key is in use already, None for a new job."""
        if job.key is None:
            return None
        paid, failures = 0, 0
        while self.desk.book is not None:
            keyed_job = again(job, failures)
            entry = await self.desk.book.journal.get(keyed_job.key or "")
            if entry is None or entry.state is State.RESERVED:
                break
            if (entry.kind, entry.digest) != (job.kind.name, digest):
                raise _conflict(job, entry.ref)
            paid += self._count(entry)
            if entry.succeeded is not False or failures >= self.retry_failed:
                return self._stands(job, keyed_job, entry, paid)
            failures += 1
        first_digest = self._seen.first(digest, "key", job.key)
        if first_digest != digest:
            raise _conflict(job, None)
        if self._seen.count("again", job.key) > 1:
            return Outcome(job=job, plan=Plan(step="wait", paid=paid))
        return None

    def _stands(self, job: Job[R], current: Job[R], entry: Entry, paid: int) -> Outcome[R]:
        plan, paths = Plan(step="wait", paid=paid), tuple(map(Path, entry.paths.values()))
        if entry.state is State.INTENT:
            return Outcome(job=job, plan=evolve(plan, step="find"))
        if entry.succeeded is False:
            plan = evolve(plan, step="failed")
        elif entry.succeeded:
            done = nothing_left(entry, self.download_to)
            plan = evolve(plan, step="done" if done else "save")
        task = self.desk.attach(current, entry) if entry.ids else None
        return Outcome(job=job, plan=plan, task=task, paths=paths, earlier=plan.step == "done")

    def _count(self, entry: Entry) -> int:
        reservation = Held(self.held.budgets)
        if entry.state is State.INTENT:
            reservation.owe(entry.reserved or 0, entry.key)
        else:
            reservation.stands(entry.key, entry.cost, entry.ref)
        return entry.coins or 0

    # -- new jobs -----------------------------------------------------------------------------

    async def _start(self, job: Job[R], files: frozenset[str]) -> Plan:
        coins = await self._price(job, files)
        return Plan(
            step="start",
            coins=coins,
            about=coins is not None and is_timed(job.input),
            uploads=sum(self._seen.count("file", digest) == 1 for digest in files),
        )

    async def _price(self, job: Job[R], files: frozenset[str]) -> int | None:
        path, body = job.kind.start_at.path, unsent_body(job.input)
        quoted_body = {name: value for name, value in body.items() if name != job.kind.name_wire}
        cache_key = hashlib.sha256(
            json.dumps([path, quoted_body], sort_keys=True).encode()
        ).hexdigest()
        quote = self._prices.get(cache_key)
        if quote is None:
            quote = asyncio.ensure_future(self.desk.price(path, body))
            if len(self._prices) < REMEMBERED:
                self._prices[cache_key] = quote
        try:
            # Shielded: other jobs with the same request body wait for the same quote.
            return await asyncio.shield(quote)
        except InvalidRequest:
            if not files:
                raise
            return None  # some kinds are only quoted with the files' URLs, after the upload

    def _refusal(self, job: Job[R], plan: Plan) -> BudgetExceeded | None:
        """Count the job's price in the copies; return an error if there is no room."""
        reservation = Held(self.held.budgets)
        uploads: list[Need] = [(UPLOAD, None)] * plan.uploads
        try:
            reservation.reserve((job.kind.name, plan.coins), *uploads)
        except BudgetExceeded as error:
            return error
        for _ in uploads:
            reservation.upload().settle(UPLOAD, None)
        reservation.settle(job.kind.name, None)
        return None


def _conflict(job: Job[R], ref: str | None) -> KeyConflict:
    return KeyConflict(
        f"key {job.key!r:.60} was used before with other inputs. "
        "Use another key, or the same inputs.",
        key=job.key or "",
        ref=ref,
    )
