"""The handle of a start: its remote task or tasks, and their last known records."""

import asyncio
import os
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from a2e_async._core.clock import wall_time
from a2e_async._core.handle import NotCopyable
from a2e_async._core.paths import local_path
from a2e_async._core.tasks.kind import NEVER, TaskKind, split_ref
from a2e_async._core.typeguards import parse_price
from a2e_async.errors import (
    A2EError,
    DecodeError,
    InvalidInput,
    ResultMissing,
    TaskFailed,
    TaskGone,
)
from a2e_async.models import Output, Record, Status, merge_records, save_in

if TYPE_CHECKING:
    from a2e_async._core.files.name_template import NameTemplate
    from a2e_async._core.tasks.tenant import Tenant
    from a2e_async._core.tasks.waiter import Waiter

R = TypeVar("R", bound=Record)


class TaskPoller(Protocol):
    """What a task uses of its client's poller, see `Poller`."""

    async def wait(
        self, task: "Task[Any]", *, deadline: float, any_change: bool = False
    ) -> None: ...

    def add_waiter(
        self, task: "Task[Any]", *, deadline: float, any_change: bool = False
    ) -> "Waiter": ...

    def remove_waiter(self, waiter: "Waiter", error: BaseException | None = None) -> None: ...


class TaskServices(Protocol):
    """What a task uses of its client. Made by the client; shared by its tasks."""

    @property
    def poller(self) -> TaskPoller: ...

    @property
    def tenant(self) -> "Tenant | None":
        """The tenant that the tasks belong to, see `A2E.for_caller`."""
        ...

    @property
    def unclaimed(self) -> "dict[str, Task[Any]]":
        """Paid tasks without a caller, by ref: whoever waits for one claims it."""
        ...

    def on_handle_dropped(self, task: "Task[Any]") -> None:
        """Keep a task whose handle was garbage-collected before a caller used it."""
        ...

    async def delete(self, kind: "TaskKind[..., Any]", id: str) -> None:
        """Delete one remote task at the service."""
        ...

    async def record_end(self, task: "Task[Any]", record: Record | None) -> None:
        """Record that the task has ended; ``record`` is None if the service lost it."""
        ...

    async def record_delivered(self, task: "Task[Any]") -> None:
        """Record that the task's results are delivered."""
        ...


class Task(NotCopyable, Generic[R]):
    """A task at the service. Made by ``start()`` or ``attach()``, never by hand.

    Await it for its final record, any number of times and from many asyncio tasks; cancelling a
    wait affects neither the task nor other waits. Only `wait`, `updates`, `download`, `ack` and
    `delete` do I/O.
    """

    __slots__ = (
        "__weakref__",
        "_created_at",
        "_end_recorded",
        "_handle_created_at",
        "_last_polled_at",
        "_merged_record",
        "_parts",
        "_services",
        "_start_price",
        "_unclaimed_on_gc",
        "_unfinished_ids",
        "_webhook_token_id",
        "ids",
        "key",
        "kind",
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
        webhook_id: str | None = None,
    ) -> None:
        self.kind: TaskKind[..., R] = kind
        self.ids: tuple[str, ...] = ids
        self.meta: Mapping[str, Any] | None = meta
        self.key: str | None = key
        self._webhook_token_id = webhook_id
        self._last_polled_at = now
        self._unclaimed_on_gc = False
        self._end_recorded = False
        self._created_at = NEVER if now is None else now
        self._handle_created_at = wall_time()
        self._services = services
        self._parts: tuple[R | None, ...] = ()
        """The last known record of each id, in the order of the ids; empty before the first one."""
        self._unfinished_ids: tuple[str, ...] = ids
        """Ids of the remote tasks that are not known to have ended."""
        self._merged_record: R | None = None
        for record in records:
            if record.id in ids:
                self._set_part(ids.index(record.id), record, final=kind.is_final(record))
        self._start_price = parse_price(self.record.coins) if self.record else None

    def __repr__(self) -> str:
        return f"<Task {self.kind.ref(self.ids)} {self.status or 'not polled yet'}>"

    def __del__(self) -> None:
        # The task was paid for, and its handle is garbage-collected before the caller waited for it
        # or read its ref (as when a sibling in a gather fails): list it in `A2E.unclaimed`.
        if self._unclaimed_on_gc and not self.done:
            self._unclaimed_on_gc = False
            self._services.on_handle_dropped(self)

    def __await__(self) -> Generator[Any, None, R]:
        return self.wait().__await__()

    # -- without I/O -----------------------------------------------------------------------

    @property
    def ref(self) -> str:
        """The text that identifies the task in any process: ``a2e.attach(ref)``."""
        self._unclaimed_on_gc = False
        return self.kind.ref(self.ids)

    @property
    def caller(self) -> str | None:
        """The caller it was started or attached for, see `A2E.for_caller`."""
        caller = self._services.tenant
        return None if caller is None else caller.name

    @property
    def record(self) -> R | None:
        """The last known record, None before the first poll of an attached task."""
        if self._merged_record is None:
            parts = self.parts
            if len(parts) < len(self.ids):
                return None
            self._merged_record = merge_records(parts)
        return self._merged_record

    @property
    def parts(self) -> tuple[R, ...]:
        """The last known records of its remote tasks; those that were never polled are missing."""
        return tuple(part for part in self._parts if part is not None)

    @property
    def status(self) -> Status | None:
        """The last known status."""
        return self.record.status if self.record else None

    @property
    def done(self) -> bool:
        """True once it is known to have ended, successfully or not, with its results."""
        return not self._unfinished_ids

    @property
    def coins(self) -> int | None:
        """Its price in coins, None if the service did not report a valid one."""
        # Not every poll response repeats the price that the start response contained.
        coins = parse_price(self.record.coins) if self.record else None
        return self._start_price if coins is None else coins

    @property
    def elapsed(self) -> float:
        """Seconds since its creation or, if that is unknown, since this handle was made."""
        created = self.record.created_at if self.record else None
        begun = self._handle_created_at if created is None else created.timestamp()
        return max(0.0, wall_time() - begun)

    def _observe(self, record: Record, now: float) -> bool:
        """Store a polled record (called by the poller); return False if it changes nothing."""
        index = self.ids.index(record.id)
        before = self._parts[index] if self._parts else None
        self._last_polled_at = now
        unfinished = record.id in self._unfinished_ids
        final = self.kind.is_final(record)
        if not final and not unfinished:
            return False  # an outdated version of a record that was final
        # Equal records may differ in `extra`, which decides whether all results are there.
        if (before is record or before == record) and not (final and unfinished):
            return False
        self._set_part(index, record, final=final)  # type: ignore[arg-type]  # the poller decodes it by this kind
        return True

    def _set_part(self, index: int, record: R, *, final: bool) -> None:
        if len(self.ids) == 1:
            self._parts, self._merged_record = (record,), record
            if final:
                self._unfinished_ids = ()
            return
        parts = list(self._parts or (None,) * len(self.ids))
        parts[index] = record
        self._parts = tuple(parts)
        self._merged_record = None
        if final:
            self._unfinished_ids = tuple(id for id in self._unfinished_ids if id != record.id)

    # -- with I/O --------------------------------------------------------------------------

    async def wait(self, *, timeout: float | None = None) -> R:
        """Wait until the task has ended and return its record.

        ``timeout`` in seconds; by default that of the kind (2 hours for most). Raises `TaskFailed`
        (its ``record`` has the reason and any good outputs), `TaskTimeout` (the task keeps running;
        its ``__cause__`` is the last error, if polls failed), `ResultMissing` (completed, but
        without its result two minutes later), `TaskGone`, `ClientClosed`, or `AuthenticationError`
        and `PermissionDenied` if the API itself refuses.
        """
        deadline = self._claim(timeout)
        poller = self._services.poller
        try:
            while self._unfinished_ids:
                # The same as `Poller.wait`, inlined: its coroutine frame would use more memory than
                # the rest of a wait.
                wait = poller.add_waiter(self, deadline=deadline)
                try:
                    await wait.future
                except BaseException as error:
                    poller.remove_waiter(wait, error)
                    raise
                poller.remove_waiter(wait)
        except TaskGone:
            await self._record_end(None)
            raise
        record = self.record
        assert record is not None  # noqa: S101  # done means that every part has a record
        await self._record_end(record)
        if record.status is Status.FAILED:
            raise _failed_error(self, record)
        return record

    async def updates(self, *, timeout: float | None = None) -> AsyncIterator[R]:
        """Yield the known record, then each changed one, up to and including the final one.

        A failed task is yielded like any other, a completed one once its result is available.
        Raises the same errors as `wait`, except `TaskFailed`.
        """
        deadline = self._claim(timeout)
        yielded: R | None = None
        while True:
            record = self.record
            if record is not None and record is not yielded and (self.done or not record.done):
                # Includes changes that another wait saw while this iterator's consumer was busy.
                yielded = record
                if self.done:
                    await self._record_end(record)
                yield record
            elif self.done:
                return
            else:
                try:
                    await self._services.poller.wait(self, deadline=deadline, any_change=True)
                except TaskGone:
                    await self._record_end(None)
                    raise

    async def download(
        self, directory: str | os.PathLike[str], *, name: str | None = None
    ) -> list[Path]:
        """Wait if necessary, save every output into ``directory`` and return the paths, in order.

        The directory is created if it is missing. ``name`` is a template for the file names:
        ``{key}-{index}{ext}``, also with ``{kind}`` and ``{id}``. A file of that name that is not
        this result is kept; the result gets a longer name.

        Raises the errors of `wait` and `Output.save`, and `InvalidInput` at once for a wrong
        template. Before it raises `TaskFailed` or `ResultMissing`, it saves the outputs that are
        available; the message of `TaskFailed` says how many are saved.
        """
        where = _directory_path(directory)  # report a bad path now, not after two hours of waiting
        naming = None if name is None else ResultNaming(_parse_name(name), self.key)
        try:
            record = await self.wait()
        except TaskFailed as failed:
            if not failed.record.outputs:
                raise
            error, _ = await save_good_outputs(self, failed, where, naming)
            raise error from error.__cause__
        except ResultMissing as error:
            if error.record.outputs:
                with suppress(DecodeError):  # it reports the missing ones, as `ResultMissing` does
                    await save_outputs(error.record, where, naming)
            raise
        return await save_outputs(record, where, naming)

    async def ack(self) -> None:
        """Mark the task's results as delivered in the journal: `A2E.unfinished` then omits it.

        For results that are passed on and not saved as files (a bot's reply). Does nothing without
        a journal. Raises `InvalidInput` if the task has not ended, and `JournalError`.
        """
        if not self.done and not (self.record is not None and self.record.done):
            raise InvalidInput(f"{self.ref} has not ended yet; wait for it before ack().")
        await self._services.record_delivered(self)

    async def delete(self) -> None:
        """Delete the task and its results at the service (the kind's ``DELETE`` operation).

        The service refunds only tasks that it has not begun, and refuses with `InvalidRequest`
        while the task is running. There is no other way to cancel a task.
        """
        failed: Exception | None = None
        for id in self.ids:
            try:
                await self._services.delete(self.kind, id)
            except A2EError as error:
                failed = failed or error  # delete the others anyway: they may be refunded
        if failed is not None:
            raise failed

    async def _record_end(self, record: R | None) -> None:
        if not self._end_recorded:
            await self._services.record_end(self, record)
            # A task that was reported missing may reappear.
            self._end_recorded = record is not None

    def _claim(self, timeout: float | None) -> float:
        """Note that the task has a caller, and return the time of the loop until it waits."""
        if unclaimed := self._services.unclaimed:
            unclaimed.pop(self.kind.ref(self.ids), None)
        seconds = self.kind.default_timeout if timeout is None else timeout
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
            raise InvalidInput("timeout must be a number of seconds, 0 or more.", field="timeout")
        return asyncio.get_running_loop().time() + seconds


def _failed_error(task: Task[Any], record: Record, kept: str = "") -> TaskFailed:
    """Return the error of a failed task; ``kept`` says where its good outputs are."""
    failure = record.failure
    reason = failure.message if failure else "no reason given"
    code = f" (code {failure.code})" if failure and failure.code else ""
    if record.outputs and not kept:
        kept = f" {len(record.outputs)} good outputs are in error.record."
    return TaskFailed(
        f"{task.ref} failed: {reason.rstrip('.')}{code}.{kept} A new start is charged again.",
        task=task,
        record=record,
    )


def _parse_name(text: str) -> "NameTemplate":
    from a2e_async._core.files.name_template import NameTemplate

    return NameTemplate.parse(text, many_tasks=False)


class ResultNaming:
    """How the results of one task are named: a template, and the task's key."""

    def __init__(self, template: "NameTemplate", key: str | None) -> None:
        template.check_key(key)
        self._template = template
        self._key = key

    def stem_of(self, output: Output, index: int) -> str:
        """Return the file name, without its suffix, of the task's output number ``index``."""
        kind, ids = split_ref(output.ref or "")
        return self._template.file_stem(key=self._key, kind=kind, id=ids[0], index=index)


async def save_outputs(
    record: Record, directory: str | os.PathLike[str], naming: ResultNaming | None = None
) -> list[Path]:
    """Save every output of a record into ``directory``, concurrently; return the paths in order."""
    if not record.outputs:
        _ = record.output  # raises with the reason
    paths: dict[int, Path] = {}
    await _save_into(paths, record, directory, naming)
    for part in record.parts:
        if not part.outputs and part.status is not Status.FAILED:
            _ = part.output  # raises for this part; the outputs of the others are saved
    return [paths[index] for index in sorted(paths)]


async def save_good_outputs(
    task: Task[Any],
    failed: TaskFailed,
    directory: str | os.PathLike[str],
    naming: ResultNaming | None = None,
    *,
    saved: Sequence[Path] = (),
) -> tuple[TaskFailed, list[Path]]:
    """Save the good outputs of a failed task; return its error, which says how many, and the paths.

    An output that cannot be saved does not hide the failure: the reason is the error's cause.
    Nothing is downloaded if an earlier run has ``saved`` them.
    """
    record, paths = failed.record, dict(enumerate(saved))
    problem: Exception | None = None
    try:
        if not paths:
            await _save_into(paths, record, directory, naming)
    except Exception as error:
        problem = error
    kept = f" {len(paths)} of {len(record.outputs)} good outputs saved in {os.fspath(directory)}"
    reason = "." if problem is None else f": {str(problem).rstrip('.')}."
    failure = _failed_error(task, record, kept + reason)
    failure.__cause__ = problem
    return failure, [paths[index] for index in sorted(paths)]


async def _save_into(
    paths: dict[int, Path],
    record: Record,
    directory: str | os.PathLike[str],
    naming: ResultNaming | None,
) -> None:
    """Save every output of a record, concurrently, and add its path under its index."""
    from anyio import create_task_group

    target = local_path(directory, "directory")

    async def save(index: int) -> None:
        output = record.outputs[index]
        stem = None if naming is None else naming.stem_of(output, index)
        paths[index] = await save_in(output, target, stem)

    if len(record.outputs) == 1:
        await save(0)
    else:
        try:
            async with create_task_group() as group:
                for index in range(len(record.outputs)):
                    group.start_soon(save, index)
        except BaseExceptionGroup as errors:
            error = _first_leaf_error(errors)
            raise error from error.__cause__


def _directory_path(given: str | os.PathLike[str]) -> str:
    return str(local_path(given, "directory"))


def _first_leaf_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    first: BaseException = errors.exceptions[0]
    return (
        _first_leaf_error(cast("BaseExceptionGroup[BaseException]", first))
        if _is_group(first)
        else first
    )


def _is_group(error: BaseException) -> bool:
    return isinstance(error, BaseExceptionGroup)
