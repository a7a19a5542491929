"""The handle people hold: one start, its remote task or tasks, and what is known of them."""

import asyncio
import os
from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from attrs import define

from a2e_async._clock import wall_time
from a2e_async.errors import (
    A2EError,
    DecodeError,
    InvalidInput,
    ResultMissing,
    TaskFailed,
    TaskGone,
)
from a2e_async.handle import Handle
from a2e_async.models import Record, Status, merge_records
from a2e_async.narrow import price
from a2e_async.paths import local_path
from a2e_async.tasks.kind import LONG_AGO, TaskKind

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from a2e_async.tasks.fair import Caller
    from a2e_async.tasks.poller import Poller

R = TypeVar("R", bound=Record)


@define(kw_only=True)
class TaskServices:
    """What a task needs of its client; the client makes one of these."""

    poller: "Poller"
    claim: "Callable[[Task[Any]], None]"
    dropped: "Callable[[Task[Any]], None]"
    delete: "Callable[[TaskKind[..., Any], str], Coroutine[Any, Any, None]]"
    finished: "Callable[[Task[Any], Record | None], Coroutine[Any, Any, None]] | None" = None
    """Writes an end into the journal, where there is one."""
    delivered: "Callable[[Task[Any]], Coroutine[Any, Any, None]] | None" = None
    """Writes into the journal that nothing is left to do."""
    caller: "Caller | None" = None
    """Whose tasks these are, by `A2E.for_caller`."""


class Task(Handle, Generic[R]):
    """A task at the service. Made by ``start()`` or ``attach()``, never by hand.

    Await it (often, from many places) for its finished record; cancelling a wait leaves the
    task and all other waits alone. Everything but `wait`, `updates`, `download`, `ack`
    and `delete` is without I/O.
    """

    __slots__ = (
        "__weakref__",
        "_begun",
        "_merged",
        "_noted",
        "_parts",
        "_price",
        "_services",
        "born",
        "hook",
        "ids",
        "key",
        "kind",
        "looked_at",
        "loose",
        "meta",
    )

    def __init__(
        self,
        services: TaskServices,
        kind: "TaskKind[..., R]",
        ids: tuple[str, ...],
        *,
        records: tuple[R, ...] = (),
        now: float | None = None,
        meta: Mapping[str, Any] | None = None,
        key: str | None = None,
        hook: str | None = None,
    ) -> None:
        self.kind = kind
        self.ids = ids
        self.meta = meta
        self.key = key
        self.hook = hook
        self.looked_at = now
        self.loose = False
        self._noted = False
        self.born = LONG_AGO if now is None else now
        self._begun = wall_time()
        self._services = services
        self._parts: tuple[R | None, ...] = ()
        """What was last seen, in the order of the ids; empty before the first."""
        self._merged: R | None = None
        for record in records:
            if record.id in ids:
                self._keep(ids.index(record.id), record)
        self._price = price(self.record.coins) if self.record else None

    def __repr__(self) -> str:
        return f"<Task {self.kind.ref(self.ids)} {self.status or 'not looked at'}>"

    def __del__(self) -> None:
        # Paid, and its caller lost it before it could wait or write its ref down (as when a
        # sibling in a gather fails): it comes back to life in the client's list.
        if self.loose and not self.done:
            self.loose = False
            self._services.dropped(self)

    def __await__(self) -> Generator[Any, None, R]:
        return self.wait().__await__()

    # -- without I/O -----------------------------------------------------------------------

    @property
    def ref(self) -> str:
        """All that is needed to come back: ``a2e.attach(ref)``, in any process."""
        self.loose = False
        return self.kind.ref(self.ids)

    @property
    def caller(self) -> str | None:
        """Whose it is, where it was started or attached by `A2E.for_caller`."""
        caller = self._services.caller
        return None if caller is None else caller.name

    @property
    def record(self) -> R | None:
        """What was last seen, None before the first look at an attached task."""
        if self._merged is None:
            parts = self.parts
            if len(parts) < len(self.ids):
                return None
            self._merged = merge_records(parts)
        return self._merged

    @property
    def parts(self) -> tuple[R, ...]:
        """What was last seen of each of its remote tasks; one that was never seen is missing."""
        return tuple(part for part in self._parts if part is not None)

    @property
    def status(self) -> Status | None:
        """Where it stood when last seen."""
        return self.record.status if self.record else None

    @property
    def done(self) -> bool:
        """True when it is known to have ended, well or badly, and its results are there."""
        return not self.open_ids

    @property
    def coins(self) -> int | None:
        """What it cost, None when the service has not said, or has said what can be no price."""
        # Not every look tells what the start told.
        coins = price(self.record.coins) if self.record else None
        return self._price if coins is None else coins

    @property
    def elapsed(self) -> float:
        """Seconds since it was created (or, if that is not known, since this handle was made)."""
        created = self.record.created_at if self.record else None
        begun = self._begun if created is None else created.timestamp()
        return max(0.0, wall_time() - begun)

    @property
    def open_ids(self) -> tuple[str, ...]:
        """Ids of the remote tasks that are not known to have ended."""
        if not any(self._parts):
            return self.ids
        seen = zip(self.ids, self._parts, strict=True)
        over = self.kind.is_over
        return tuple(id for id, part in seen if part is None or not over(part))

    def observe(self, record: Record, now: float) -> bool:
        """Take in what a look showed (for the poller); return whether it was news."""
        place = self.ids.index(record.id)
        before = self._parts[place] if self._parts else None
        self.looked_at = now
        over = self.kind.is_over
        if before == record or (before is not None and over(before) and not over(record)):
            return False
        self._keep(place, record)  # type: ignore[arg-type]  # the poller reads it by this task's kind
        return True

    def _keep(self, place: int, record: R) -> None:
        parts = list(self._parts or (None,) * len(self.ids))
        parts[place] = record
        self._parts = tuple(parts)
        self._merged = None

    # -- with I/O --------------------------------------------------------------------------

    async def wait(self, *, timeout: float | None = None) -> R:
        """Return the record when the task has ended.

        ``timeout`` in seconds; without one the kind's own (2 hours for most). Raises
        `TaskFailed` (its ``record`` says why and keeps the good outputs), `TaskTimeout` (the
        task goes on; its ``__cause__`` is the last error, if polls failed), `ResultMissing`
        (completed, and still without its result two minutes later), `TaskGone`, `ClientClosed`,
        or `AuthenticationError` and `PermissionDenied` where the API itself refuses.
        """
        self._services.claim(self)
        deadline = self._deadline(timeout)
        poller = self._services.poller
        try:
            while not self.done:
                # As `Poller.wait` does, whose frame would weigh more than all else of a wait.
                wait = poller.begin(self, deadline=deadline)
                try:
                    await wait.future
                except BaseException as error:
                    poller.end(wait, error)
                    raise
                poller.end(wait)
        except TaskGone:
            await self._note(None)
            raise
        record = self.record
        assert record is not None  # noqa: S101  # done means that every part was seen
        await self._note(record)
        if record.status is Status.FAILED:
            raise self._failed(record)
        return record

    async def updates(self, *, timeout: float | None = None) -> AsyncIterator[R]:
        """Yield what is known, then each change, at last the final record; then end.

        A failed task is yielded like any other, a completed one once its result is there.
        Raises what `wait` raises, but for `TaskFailed`.
        """
        self._services.claim(self)
        deadline = self._deadline(timeout)
        shown: R | None = None
        while True:
            record = self.record
            if record is not None and record is not shown and (self.done or not record.done):
                # Also what another wait saw while this one's reader was busy.
                shown = record
                if self.done:
                    await self._note(record)
                yield record
            elif self.done:
                return
            else:
                try:
                    await self._services.poller.wait(self, deadline=deadline, change=True)
                except TaskGone:
                    await self._note(None)
                    raise

    async def download(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Wait if need be, save every output into ``directory`` and return the paths, in order.

        The directory is made if it is missing. Raises what `wait` and `Output.save` raise; before
        `ResultMissing` those that are there are saved.
        """
        where = _directory(directory)  # a mistake is told now, not in two hours
        try:
            record = await self.wait()
        except ResultMissing as error:
            if error.record.outputs:
                with suppress(DecodeError):  # which says that others are missing
                    await save_outputs(error.record, where)
            raise
        return await save_outputs(record, where)

    async def ack(self) -> None:
        """Tell the journal that its results are where they belong: `unfinished` leaves it out.

        For results that are sent on and not saved as files (a bot's answer). Without a journal
        nothing happens. Raises `InvalidInput` before its end, `JournalError`.
        """
        if not self.done and not (self.record is not None and self.record.done):
            raise InvalidInput(f"{self.ref} has not ended yet; wait for it before ack().")
        if self._services.delivered is not None:
            await self._services.delivered(self)

    async def delete(self) -> None:
        """Delete the task and its results at the service (``DELETE`` of its kind).

        The service refunds only what it has not begun, and refuses with `InvalidRequest`
        while the task is under way. There is no other way to cancel.
        """
        failed: Exception | None = None
        for id in self.ids:
            try:
                await self._services.delete(self.kind, id)
            except A2EError as error:
                failed = failed or error  # the others may still be refunded
        if failed is not None:
            raise failed

    async def _note(self, record: R | None) -> None:
        if self._services.finished is not None and not self._noted:
            await self._services.finished(self, record)
            # One that was missing may come back.
            self._noted = record is not None

    def _deadline(self, timeout: float | None) -> float:
        seconds = self.kind.patience if timeout is None else timeout
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
            raise InvalidInput("timeout must be a number of seconds, 0 or more.", field="timeout")
        return asyncio.get_running_loop().time() + seconds

    def _failed(self, record: R) -> TaskFailed:
        failure = record.failure
        why = failure.message if failure else "no reason given"
        code = f" (code {failure.code})" if failure and failure.code else ""
        kept = f" {len(record.outputs)} good outputs are in error.record." if record.outputs else ""
        return TaskFailed(
            f"{self.ref} failed: {why.rstrip('.')}{code}.{kept} A new start costs again.",
            task=self,
            record=record,
        )


async def save_outputs(record: Record, directory: str | os.PathLike[str]) -> list[Path]:
    """Save every output of a record into ``directory``, side by side; return the paths in order."""
    from anyio import create_task_group

    if not record.outputs:
        _ = record.output  # which says why there is none
    target = f"{_directory(directory)}{os.sep}"
    paths: dict[int, Path] = {}

    async def save(place: int) -> None:
        paths[place] = await record.outputs[place].save(target)

    if len(record.outputs) == 1:
        await save(0)
    else:
        try:
            async with create_task_group() as group:
                for place in range(len(record.outputs)):
                    group.start_soon(save, place)
        except BaseExceptionGroup as errors:
            error = _first(errors)
            raise error from error.__cause__
    for part in record.parts:
        if not part.outputs:
            _ = part.output  # which says that this one has none; the others are saved
    return [paths[place] for place in sorted(paths)]


def _directory(given: str | os.PathLike[str]) -> str:
    return str(local_path(given, "directory"))


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first: BaseException = errors.exceptions[0]
    return _first(cast("BaseExceptionGroup[BaseException]", first)) if _is_group(first) else first


def _is_group(error: BaseException) -> bool:
    return isinstance(error, BaseExceptionGroup)
