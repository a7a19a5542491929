"""Records the steps of a client's starts and tasks in its journal, each before the next one."""

import asyncio
import atexit
import logging
import weakref
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from a2e_async._core.clock import wall_time
from a2e_async._core.journal.keys import generate_key, key_conflict, remaining_tasks_key
from a2e_async._core.journal.protocol import (
    AccountEntries,
    ClosedBy,
    Entry,
    EntryChanges,
    Journal,
    LeaseLost,
    State,
    UploadedInput,
    capabilities_of,
    entry_pages,
)
from a2e_async._core.journal.recorded_request import RecordedRequest, RecordedStart
from a2e_async._core.journal.rules import MAX_TIME_IN_FLIGHT, is_same_start
from a2e_async._core.redact import redact
from a2e_async._core.tasks.kind import TaskKind, split_ref
from a2e_async._core.typeguards import parse_price
from a2e_async.errors import JournalError, KeyConflict
from a2e_async.models import Output, Record, Recovery, Status

if TYPE_CHECKING:
    from a2e_async._core.tasks.task import Task

logger = logging.getLogger("a2e_async.journal")

_MAX_DROP_ATTEMPTS: Final = 5
"""How often dropping an entry is attempted if its coroutine is cancelled."""

RECHECK_INTERVAL: Final = 5.0
"""Seconds between two checks of a start that another process owns, because it may have died."""


class JournalRecorder:
    """Records a client's starts, paid calls, tasks and uploads in its journal.

    ``account`` is the client's account. ``former_account`` is the account name derived from the
    API key, if the user has given a name: entries from before that are moved to ``account``.

    Created once per client, which closes it after everything that writes through it; changed on the
    client's event loop, and at exit by the handler that withdraws unsent starts.
    """

    def __init__(
        self, journal: Journal, account: str, *, former_account: str | None = None
    ) -> None:
        journal.bind(account)
        self.journal = journal
        self._account = account
        self._former_account = None if former_account == account else former_account
        self._path_locks: dict[str, asyncio.Lock] = {}
        self._unwritten: list[Entry] = []
        """Entries of paid tasks that could not be written yet."""
        self._flush_lock = asyncio.Lock()
        """Held while they are written: two writers would remove each other's entries."""
        self._reported_other_accounts = False
        self._intents: dict[str, RecordedRequest] = {}
        """Requests in progress whose intent is recorded, or about to be, by key."""
        _RECORDERS.add(self)
        _withdraw_at_exit()

    async def aclose(self) -> None:
        """Write what is still unwritten and close the journal.

        Raises a `JournalError` that names the paid tasks which could not be written.
        """
        failure: JournalError | None = None
        if self._unwritten:
            try:
                await self.flush_unwritten()
            except JournalError as error:
                failure = error
        await self.journal.aclose()
        if failure is not None:
            refs = ", ".join(str(entry.ref) for entry in self._unwritten)
            self._unwritten.clear()  # report it once, even if the client is closed again
            logger.error("paid tasks could not be written to the journal: %s", refs)
            raise JournalError(
                f"{failure} These tasks are paid and not in the journal: {refs}. Attach them with "
                "a2e.attach(ref)."
            ) from failure

    # -- a paid request ----------------------------------------------------------------------

    async def record_intent(self, request: RecordedRequest) -> None:
        """Record that the request is about to be sent.

        Raises `LeaseLost` if another client has taken the key meanwhile; then nothing may be sent.
        """
        assert request.key is not None  # noqa: S101  # set by reserve_key(), or by a paid call
        self._intents[request.key] = request
        while not (request.key_acquired and await self._update_intent(request)):
            result = await self.journal.begin(request.entry(State.INTENT))
            if result.created:
                request.key_acquired = True
                return
            if not request.key_generated:
                raise LeaseLost("Another start has this key; nothing was sent by this one.")
            request.key_acquired = result.is_owner  # written before, without a response
            if not result.is_owner:
                self._replace_generated_key(request)

    async def _update_intent(self, request: RecordedRequest) -> bool:
        """Record the intent in the entry that the request has; return False if it has none."""
        entry = request.entry(State.INTENT)
        try:
            written = await self.journal.advance(
                entry.key,
                State.INTENT,
                path=entry.path,
                name=entry.name,
                mark=entry.mark,
                echo=entry.echo,
                expected=entry.expected,
                sent_at=entry.sent_at,
                lost_at=None,
                reserved=entry.reserved,
                uploads=entry.uploads,
                hook=entry.hook,
            )
        except LeaseLost:
            if not request.key_generated:
                raise
            # While the request waited for another turn, a client took the entry over.
            self._replace_generated_key(request)
            return False
        request.key_acquired = written is not None
        return request.key_acquired

    def _replace_generated_key(self, request: RecordedRequest) -> None:
        """Go on under another key. No caller knows a generated one, so nothing refers to it."""
        assert request.key is not None  # noqa: S101  # generated before
        self.end_intent(request)
        request.key, request.key_acquired = generate_key(request.key.partition(":")[0]), False
        self._intents[request.key] = request

    def end_intent(self, request: RecordedRequest) -> None:
        """Note that a request has ended: it was sent, or its entry is dropped."""
        if request.key is not None and self._intents.get(request.key) is request:
            del self._intents[request.key]

    def withdraw(self, key: str | None, request: RecordedRequest | None = None) -> None:
        """Drop the entry of a request that was not sent, without waiting, if the journal can.

        Used when an event loop or a process ends and no coroutine can run any more. Does nothing
        if the key is another request's than the given one.
        """
        if key is None or request not in (None, self._intents.get(key)):
            return
        request = self._intents.pop(key, None)
        if request is None or request.sent or request.recovery is None:
            return
        with suppress(JournalError):  # at worst the next run searches for it in vain
            sent_at = request.recovery.sent_at.timestamp()
            capabilities_of(self.journal).withdraw(key, sent_at)

    def withdraw_all(self) -> None:
        """Drop the entries of all requests that were not sent."""
        for key in list(self._intents):
            self.withdraw(key)

    async def drop_start(self, request: RecordedRequest) -> None:
        """Drop the entry of a request that the service did not accept."""
        if request.key is None:
            return
        # If it was cancelled while its key was being reserved, the entry may be another start's.
        own = request.key_generated or request.key_acquired
        # `asyncio.run` may cancel this a second time at its end: try again all the same, or the
        # next run would search for a start that was never sent.
        for _ in range(_MAX_DROP_ATTEMPTS):
            try:
                await self._drop_entry(request, request.key, is_own=own)
            except asyncio.CancelledError:
                own = False  # it may have been dropped, and reserved by another start since
                continue
            break
        self.end_intent(request)

    async def _drop_entry(self, request: RecordedRequest, key: str, *, is_own: bool) -> None:
        try:
            if is_own or await self._entry_belongs_to(request, key):
                await self.journal.drop(key)
        except JournalError as error:
            logger.warning("%s", error)  # at worst the next run searches for it in vain

    # -- a start -----------------------------------------------------------------------------

    async def reserve_key(
        self, attempt: RecordedStart, *, check_first: bool = True
    ) -> Entry | None:
        """Reserve a start's key; return its entry if it has a task, or was sent already.

        It was sent if an earlier process died while it sent this start, or if another process owns
        the key and has lost the response. While another process waits for its response, this
        method waits, too.

        If no upload has to be paid first, a free key is not reserved here: `record_intent` does
        both in one durable write. Without ``check_first`` such a key is not even read here.
        Raises `KeyConflict`.
        """
        await (self.flush_unwritten() if attempt.key is None else self.flush_and_report_others())
        if attempt.key is None:
            attempt.key, attempt.key_generated = generate_key("auto"), True
        if attempt.key_generated:
            if not attempt.spec.needs_no_upload:
                await self.journal.open()  # fail before an upload is paid for
            return None
        attempt.key_acquired = attempt.owned_by_other_client = False
        if attempt.spec.needs_no_upload and (
            not check_first or await self.journal.get(attempt.key) is None
        ):
            return None
        while True:
            result = await self.journal.begin(attempt.entry(State.RESERVED))
            entry = result.entry
            if (entry.kind, entry.digest) != (attempt.spec.kind.name, attempt.spec.digest):
                changed = attempt.spec.changed_inputs(entry)
                raise key_conflict(
                    attempt.key, entry.ref, changed=changed, paths=entry.paths.values()
                )
            if entry.state >= State.ACCEPTED:
                if not entry.ids:
                    raise KeyConflict(
                        f"key {attempt.key!r:.60} belongs to a start that was charged, was never "
                        "found and was closed by hand (a2e journal settle). To start again "
                        "(charged again), use another key.",
                        key=attempt.key,
                    )
                return entry
            attempt.owned_by_other_client = not result.is_owner and _no_response_possible(entry)
            if result.is_owner or attempt.owned_by_other_client:
                attempt.key_acquired = result.is_owner
                return entry if entry.state is State.INTENT else None
            await self._wait_for_change(entry)

    async def record_accepted(
        self, attempt: RecordedStart, ids: tuple[str, ...], coins: int | None
    ) -> tuple[str, ...]:
        """Record the ids of an accepted start; return those that no other entry holds.

        If the journal fails now, the task must not be lost: the entry is kept in memory, and no
        further start is made before it is written.
        """
        if attempt.key is None:
            return ids  # a recover() of a start that is not in this journal
        # A task that cannot be polled will never get any further than this.
        pollable = attempt.spec.kind.pollable
        entry = attempt.entry(State.ACCEPTED if pollable else State.SAVED, ids, coins)
        if not pollable:
            entry = evolve(entry, closed_by=ClosedBy.NO_FILES)
        try:
            written = await self._write_accepted(entry)
        except JournalError:
            self._unwritten.append(entry)
            logger.exception(
                "%s is paid but could not be written to the journal; retrying later",
                attempt.spec.kind.ref(ids),
            )
            return ids
        except BaseException:  # the client is closing: the write may not have happened
            self._unwritten.append(entry)
            raise
        own_ids = tuple(id for id in ids if id in written.ids)
        if len(own_ids) < len(ids):
            others_ids = tuple(id for id in ids if id not in written.ids)
            logger.error("%s already belongs to another start", attempt.spec.kind.ref(others_ids))
        return own_ids

    async def _write_accepted(self, entry: Entry) -> Entry:
        """Write the ids of a paid task; create the entry again if it is gone. Return it."""
        if not entry.ids:  # remaining tasks of a start, which are still being searched for
            return (await self.journal.begin(entry)).entry
        values: dict[str, Any] = {"ids": entry.ids, "coins": entry.coins}
        if entry.closed_by is not None:
            values["closed_by"] = entry.closed_by
        written = await self.journal.advance(entry.key, entry.state, **values)
        return written or (await self.journal.begin(entry)).entry

    async def flush_unwritten(self) -> None:
        """Write all unwritten entries. Raises `JournalError` if one of them fails."""
        if not self._unwritten and self._former_account is None:
            return
        async with self._flush_lock:
            if self._former_account is not None:
                await self.journal.adopt_account(self._former_account)
                self._former_account = None
            failure: JournalError | None = None
            for entry in tuple(self._unwritten):
                try:
                    await self._write_accepted(entry)
                except JournalError as error:
                    failure = error
                else:
                    self._unwritten.remove(entry)
            if failure is not None:
                raise failure

    async def record_lost(self, attempt: RecordedStart) -> None:
        """Record that no response will arrive for the start."""
        recovery = attempt.recovery
        if (
            attempt.key is None
            or attempt.owned_by_other_client
            or recovery is None
            or recovery.lost_at is None
        ):
            return
        try:
            await self.journal.advance(
                attempt.key, State.INTENT, lost_at=recovery.lost_at.timestamp()
            )
        except JournalError as error:
            logger.warning("%s", error)  # the intent is recorded, which is what matters

    async def unresolved_starts(self, kind: TaskKind[..., Any]) -> list[tuple[str, Recovery]]:
        """Return key and recovery of each start of a kind that was sent and has no task yet.

        Includes those that other clients are working on. Raises `JournalError`.
        """
        return [
            (entry.key, recovery_from_entry(entry))
            async for entries in entry_pages(self.journal, states=[State.INTENT])
            for entry in entries
            if entry.kind == kind.name
        ]

    # -- paid calls without a task -----------------------------------------------------------

    async def record_found_task(self, task: "Task[Any]", recovery: Recovery) -> bool:
        """Record a task that a paid call has started or restarted; return whether it is new.

        The entry of a task that failed before is open again: there will be a result to save.
        """
        entry = await self._find_entry(task.kind.name, task.ids[0])
        if entry is not None:
            if entry.failed:
                await self._advance_or_log(
                    entry.key,
                    State.FINISHED,
                    succeeded=None,
                    failure=None,
                    outputs=None,
                    closed_by=None,
                )
            return False
        made = Entry(
            key=generate_key("auto"),
            kind=task.kind.name,
            digest=recovery.digest,
            state=State.ACCEPTED,
            path=recovery.path,
            ids=task.ids,
            meta=task.meta,
            own_key=True,
        )
        try:
            result = await self.journal.begin(made)
            if not result.entry.ids:  # another start has claimed the task just now
                await self.journal.drop(made.key)
        except JournalError:
            self._unwritten.append(made)
            logger.exception("%s could not be written to the journal; retrying later", made.ref)
        return True

    async def record_call_result(
        self, key: str, urls: tuple[str, ...], coins: int | None = None
    ) -> None:
        """Record result and price of a paid call; the service has no list to find it in."""
        await self._advance_or_log(
            key,
            State.SAVED,
            succeeded=True,
            urls=urls,
            coins=coins,
            reserved=None,
            closed_by=ClosedBy.RETURNED,
        )

    async def restore_key(self, attempt: RecordedStart) -> None:
        """Set the key of an attempt that searches by its recovery, if the journal has its entry."""
        recovery = attempt.recovery
        assert recovery is not None  # noqa: S101  # a search is always for a recovery
        for key, other_recovery in await self.unresolved_starts(attempt.spec.kind):
            if is_same_start(other_recovery, recovery):
                entry = await self.journal.get(key)
                if entry is not None:
                    attempt.key, attempt.key_generated = key, entry.own_key
                    return

    # -- tasks that a start response left out --------------------------------------------------

    async def record_remaining_intent(
        self, key: str, remaining: Recovery, meta: Mapping[str, Any] | None
    ) -> Entry | None:
        """Record the tasks that a start response left out as a separate entry; return it.

        The start's own entry closes once the known files are saved, so it cannot represent tasks
        that are still to be found. Return None if they have been found, the entry was settled,
        or another client searches for them. If the journal fails now, the entry is kept in memory
        and written later, like the ids of a paid task.
        """
        missing = _remaining_entry(key, remaining, meta)
        try:
            begun = await self.journal.begin(missing)
        except JournalError:
            self._unwritten.append(missing)
            logger.exception("the remaining tasks of a start could not be written to the journal")
            return missing
        entry = begun.entry
        is_own = begun.is_owner and entry.own_key and entry.state is State.INTENT
        return entry if is_own else None

    async def record_remaining_accepted(
        self, key: str, task: "Task[Any]", remaining: Recovery
    ) -> None:
        """Record found tasks that a start response had left out."""
        paid = evolve(
            _remaining_entry(key, remaining, task.meta),
            state=State.ACCEPTED,
            ids=task.ids,
            coins=task.coins,
        )
        try:
            await self._write_accepted(paid)
        except JournalError:
            self._unwritten.append(paid)
            logger.exception("%s could not be written to the journal; retrying later", paid.ref)
        await self.record_no_remaining_tasks(key)

    async def drop_remaining(self, key: str, sent_at: datetime) -> None:
        """Record that a start has no further tasks, as the lists or its outputs prove."""
        remaining_key = remaining_tasks_key(key, sent_at)
        try:
            if await self.journal.acquire(remaining_key):
                await self.journal.drop(remaining_key)
        except JournalError as error:
            logger.warning("%s", error)  # at worst the next run searches again
        await self.record_no_remaining_tasks(key)

    async def is_incomplete(self, key: str) -> bool:
        """Return whether tasks of a start are still missing; True if the journal fails."""
        try:
            entry = await self.journal.get(key)
        except JournalError:
            return True
        return entry is None or len(entry.ids) < entry.expected

    async def record_no_remaining_tasks(self, key: str) -> None:
        """Record that an accepted start has no further tasks to search for."""
        try:
            await clear_expected_tasks(self.journal, key)
        except JournalError as error:
            logger.warning("%s", error)  # at worst the next run searches again

    async def split_remaining(self, entry: Entry) -> Entry | None:
        """Record the remaining tasks of an accepted start as a separate entry, if there are any.

        Called before the start's own entry closes. Return the new entry if this client may
        search for these tasks, else None.
        """
        if not entry.ids or len(entry.ids) >= entry.expected or not entry.name:
            return None
        rest = evolve(recovery_from_entry(entry), expected=entry.expected - len(entry.ids))
        return await self.record_remaining_intent(entry.key, rest, entry.meta)

    # -- webhook events ------------------------------------------------------------------------

    async def record_events(self, webhook_ids: Collection[str]) -> list[Entry]:
        """Record webhook events, which notifies other clients; return the starts' entries."""
        entries = await asyncio.gather(*(self._record_event(hook) for hook in webhook_ids))
        return [entry for entry in entries if entry is not None]

    async def _record_event(self, webhook_id: str) -> Entry | None:
        try:
            return await self.journal.record_event(webhook_id)
        except JournalError as error:
            logger.warning("%s", error)  # without the notification they poll at their own pace
            return None

    # -- tasks -------------------------------------------------------------------------------

    async def record_end(self, task: "Task[Any]", record: Record | None) -> None:
        """Record how a task ended; ``record`` is None if the service no longer knows the task.

        Only an answer of the API closes an entry. A task that the service does not know is
        recorded as missing. One that is completed without a result remains open, and so does one
        that failed in part, until its good outputs are saved or acknowledged.
        """
        entry = await self._find_entry(task.kind.name, task.ids[0])
        if entry is None or not entry.open:
            return
        if record is None:
            # Entries of older journals have no account: the task may be another account's, whose
            # key would find it.
            if entry.account and not entry.missing:
                await self._advance_or_log(entry.key, entry.state, missing_since=wall_time())
            return
        if (entry.succeeded is not None or entry.failed) and not entry.missing:
            return
        good = record.status is Status.SUCCEEDED
        coins = _known_price(parse_price(record.coins), entry.coins)
        if good and task.kind.outputs and not all(part.outputs for part in record.parts):
            await self._advance_or_log(entry.key, entry.state, coins=coins, missing_since=None)
            return
        changes: EntryChanges = {
            "succeeded": good,
            "failure": _storable_text(record.failure.message) if record.failure else None,
            "coins": coins,
            "outputs": len(record.outputs),
            "missing_since": None,
        }
        if good and entry.expected > len(entry.ids) and len(record.outputs) >= entry.expected:
            # One task has all outputs that were ordered.
            await self.drop_remaining(entry.key, recovery_from_entry(entry).sent_at)
        else:
            await self.split_remaining(entry)
        if not good and len(entry.paths) < len(record.outputs):
            # Its outcome is set when it closes. Whatever the rest cost, a failure reserves nothing.
            changes["succeeded"] = changes["reserved"] = None
        elif not good:
            changes["closed_by"] = ClosedBy.FAILED
        elif not record.outputs:
            changes["closed_by"] = ClosedBy.NO_FILES
        state = State.SAVED if good and not record.outputs else State.FINISHED
        await self._advance_or_log(entry.key, state, **changes)

    async def was_saved_at(self, output: Output, path: Path) -> bool:
        """Return whether an output of a task was saved at this path before."""
        if output.ref is None:
            return False
        kind, ids = split_ref(output.ref)
        entry = await self._find_entry(kind, ids[0])
        saved = entry.paths.get(f"{ids[0]}#{output.index}") if entry else None
        return saved is not None and _is_same_path(saved, path)

    async def record_saved_file(self, output: Output, path: Path) -> None:
        """Record that one output of a task is saved."""
        if output.ref is None:
            return
        kind, ids = split_ref(output.ref)
        entry = await self._find_entry(kind, ids[0])
        if entry is None:
            return
        # Outputs of one task are saved concurrently, and each adds its path to the stored ones.
        lock = self._path_locks.setdefault(entry.key, asyncio.Lock())
        async with lock:
            entry = await self._find_entry(kind, ids[0]) or entry
            paths = {**entry.paths, f"{ids[0]}#{output.index}": _absolute_path(path)}
            paths = _in_order_of_outputs(paths, entry.ids)
            done = entry.outputs is not None and len(paths) >= entry.outputs
            if done:
                await self.split_remaining(entry)
                changes: EntryChanges = {"paths": paths, **_closing(entry, ClosedBy.SAVED)}
                await self._advance_or_log(entry.key, State.SAVED, **changes)
            else:
                await self._advance_or_log(entry.key, entry.state, paths=paths)
        if done:
            self._path_locks.pop(entry.key, None)

    async def find_entry(self, task: "Task[Any]") -> Entry | None:
        """Return the entry of a task. Raises `JournalError`."""
        return await self.journal.find(task.kind.name, task.ids[0])

    async def record_acknowledged(self, task: "Task[Any]") -> None:
        """Record that the user has the results of a task: nothing is left to do."""
        entry = await self.find_entry(task)
        if entry is not None:
            await self.split_remaining(entry)
            changes = _closing(entry, ClosedBy.ACKNOWLEDGED)
            await self.journal.advance(entry.key, State.SAVED, **changes)

    async def claimed_ids(self, kind: TaskKind[..., Any], ids: Collection[str]) -> set[str]:
        """Return which of these task ids the journal has."""
        id_list = list(ids)
        entries = await asyncio.gather(*(self._find_entry(kind.name, id) for id in id_list))
        return {id for id, entry in zip(id_list, entries, strict=True) if entry is not None}

    # -- uploads -----------------------------------------------------------------------------

    async def find_upload(self, digest: str, content_type: str) -> tuple[str, float] | None:
        """Return the URL of uploaded content and its expiry (seconds since 1970), if any."""
        upload = await self.journal.find_upload(digest, content_type)
        return None if upload is None else (upload.url, upload.valid_until)

    async def save_upload(
        self, digest: str, content_type: str, url: str, valid_until: float
    ) -> None:
        """Store the URL of uploaded content for the other clients of this account."""
        upload = UploadedInput(
            digest=digest, content_type=content_type, url=url, valid_until=valid_until
        )
        try:
            await self.journal.save_upload(upload)
        except JournalError as error:
            logger.warning("%s", error)  # at worst they upload it, and pay for it, again

    async def record_upload_cost(self, coins: int, *, is_certain: bool = True) -> None:
        """Record the price of an upload (coins); it may have been charged unless ``is_certain``."""
        try:
            if is_certain:
                await self.journal.record_upload_cost(coins)
            else:
                await self.journal.record_upload_cost(0, reserved=coins)
        except JournalError as error:
            logger.warning("%s", error)  # failing now would waste the paid upload

    # -- accounts ----------------------------------------------------------------------------

    async def flush_and_report_others(self) -> None:
        """Write unwritten entries; log, once, that the journal has entries of other accounts."""
        await self.flush_unwritten()
        if self._reported_other_accounts:
            return
        self._reported_other_accounts = True
        others = await other_accounts(self.journal, self._account)
        if others:
            logger.warning("%s", other_accounts_message(others))

    # -- inside ------------------------------------------------------------------------------

    async def _entry_belongs_to(self, request: RecordedRequest, key: str) -> bool:
        entry, recovery = await self.journal.get(key), request.recovery
        if entry is None or recovery is None or entry.owner != self.journal.owner:
            return False
        own = request.entry(entry.state)
        return (entry.mark, entry.sent_at) == (own.mark, own.sent_at)

    async def _find_entry(self, kind: str, id: str) -> Entry | None:
        try:
            return await self.journal.find(kind, id)
        except JournalError as error:
            logger.warning("%s", error)
            return None

    async def _advance_or_log(self, key: str, state: State, **values: Any) -> None:
        try:
            await self.journal.advance(key, state, **values)
        except JournalError as error:
            logger.warning("%s", error)  # the next poll or the next run records it again

    async def _wait_for_change(self, entry: Entry) -> None:
        """Wait until another client has changed the entry, or may have died."""
        changed = asyncio.Event()
        stop_watching = self.journal.watch(entry.key, lambda _: changed.set())
        try:
            # A change before the listener was added is not reported, so compare once.
            if await self.journal.get(entry.key) == entry:
                async with asyncio.timeout(RECHECK_INTERVAL):
                    await changed.wait()
        except TimeoutError:
            pass
        finally:
            stop_watching()


async def clear_expected_tasks(journal: Journal, key: str) -> None:
    """Record that an accepted start has only the tasks in its entry."""
    entry = await journal.get(key)
    if entry is not None and entry.ids:
        await journal.advance(key, entry.state, expected=len(entry.ids))


def _remaining_entry(key: str, remaining: Recovery, meta: Mapping[str, Any] | None) -> Entry:
    """Return the entry for the tasks that the response to a key's start left out."""
    return Entry(
        key=remaining_tasks_key(key, remaining.sent_at),
        kind=remaining.kind,
        digest=remaining.digest,
        state=State.INTENT,
        path=remaining.path,
        name=remaining.name,
        mark=remaining.mark,
        echo=dict(remaining.echo),
        expected=remaining.expected,
        sent_at=remaining.sent_at.timestamp(),
        lost_at=wall_time(),
        meta=meta,
        own_key=True,
    )


def _closing(entry: Entry, reason: str) -> EntryChanges:
    """Return what closes an entry whose results the user has; it keeps an earlier reason."""
    closed: EntryChanges = {"closed_by": entry.closed_by or reason}
    return {**closed, "succeeded": False} if entry.failed else closed


def _no_response_possible(entry: Entry) -> bool:
    """Whether a response to the start of an entry can no longer arrive."""
    if entry.state is not State.INTENT or entry.sent_at is None:
        return False
    return entry.lost_at is not None or wall_time() - entry.sent_at > MAX_TIME_IN_FLIGHT


def _known_price(reported: int | None, known: int | None) -> int | None:
    """Return the price of a task (coins): the reported one, but never below the known one."""
    return known if reported is None else max(reported, known or 0)


async def other_accounts(journal: Journal, account: str) -> list[AccountEntries]:
    """Return the other accounts that have entries in a journal."""
    return [one for one in await journal.accounts() if one.account not in ("", account)]


def other_accounts_message(others: Collection[AccountEntries]) -> str:
    """Return the log message for a journal with entries of other accounts."""
    count, open_count = sum(one.entries for one in others), sum(one.open for one in others)
    names = ", ".join(one.account for one in others)
    return (
        f"{count} entries of other accounts in this journal were skipped ({open_count} of them "
        f"open): {names}. If the API key of this account has changed, run a2e journal adopt to "
        "move the entries of the former key to this account"
    )


def _storable_text(text: str) -> str:
    """Return a text of the service in a form that every journal can store.

    Secrets are removed. NUL and lone surrogates are valid in JSON, but not in PostgreSQL.
    """
    return redact(text)[:500].encode(errors="replace").decode().replace("\0", "")


_RECORDERS: "Final[weakref.WeakSet[JournalRecorder]]" = weakref.WeakSet()


@cache
def _withdraw_at_exit() -> None:
    """Drop unsent intents when the interpreter exits.

    Registered after the journal's own handler: exit handlers run in reverse order, and the
    journal must still be open.
    """
    atexit.register(_withdraw_all)


def _withdraw_all() -> None:
    for recorder in list(_RECORDERS):
        recorder.withdraw_all()


def _is_same_path(one: str, other: Path) -> bool:
    return Path(one).resolve() == other.resolve()


def _in_order_of_outputs(paths: Mapping[str, str], ids: Sequence[str]) -> dict[str, str]:
    """Return the saved paths in the order of a record's outputs, whichever was saved first."""

    def position(item: tuple[str, str]) -> tuple[int, int]:
        task_id, _, index = item[0].rpartition("#")
        return (ids.index(task_id) if task_id in ids else len(ids)), int(index)

    return dict(sorted(paths.items(), key=position))


def _absolute_path(path: Path) -> str:
    """Return the absolute path: the next run may have another working directory."""
    return str(path.absolute())


def recovery_from_entry(entry: Entry) -> Recovery:
    """Return what identifies an entry's start at the service."""
    sent = entry.sent_at if entry.sent_at is not None else entry.created_at
    return Recovery(
        kind=entry.kind,
        path=entry.path,
        name=entry.name,
        mark=entry.mark,
        digest=entry.digest,
        sent_at=datetime.fromtimestamp(sent, UTC),
        lost_at=None if entry.lost_at is None else datetime.fromtimestamp(entry.lost_at, UTC),
        expected=entry.expected,
        echo=entry.echo,
    )
