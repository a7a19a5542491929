"""The journal as starts and tasks use it: each step written down before the next one is taken."""

import asyncio
import atexit
import logging
import weakref
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from a2e_async._clock import wall_time
from a2e_async.errors import JournalError, KeyConflict
from a2e_async.models import Output, Record, Recovery, Status
from a2e_async.narrow import price
from a2e_async.redact import redact
from a2e_async.tasks.flight import Flight, made_key, rest_key
from a2e_async.tasks.journal import (
    AccountEntries,
    ClosedBy,
    Entry,
    Journal,
    State,
    TakenOver,
    Upload,
)
from a2e_async.tasks.kind import TaskKind, split_ref
from a2e_async.tasks.recovery import UNDER_WAY, same_recovery

if TYPE_CHECKING:
    from a2e_async.tasks.task import Task

logger = logging.getLogger("a2e_async.journal")

_CANCELLED_AT_MOST: Final = 5
"""How often dropping an entry is tried again because its coroutine was cancelled."""

LOOK_AGAIN: Final = 5.0
"""Seconds after which a start that another process owns is asked for again: it may have died."""


class Book:
    """Writes what happens to a client's starts into its journal.

    ``account`` is the one that it serves. ``former`` names it by its key, where the user has named
    it otherwise: who has the key may take over the entries from before the name was given.
    """

    def __init__(self, journal: Journal, account: str, *, former: str | None = None) -> None:
        journal.bind(account)
        self.journal = journal
        self._account = account
        self._former = None if former == account else former
        self._saving: dict[str, asyncio.Lock] = {}
        self._owed: list[Entry] = []
        """Paid tasks that the journal could not take. Each leaves once it is written."""
        self._settling = asyncio.Lock()
        """Held while they are written: of two writers one would remove what the other wrote."""
        self._told_of_others = False
        self._unsent: dict[str, float] = {}
        """When starts were about to be sent (seconds since 1970) whose bytes have not left yet."""
        _BOOKS.add(self)
        _withdraw_at_exit()

    async def aclose(self) -> None:
        """Write what is owed and close the journal.

        Raises `JournalError` that names the paid tasks which could not be written.
        """
        failure: JournalError | None = None
        if self._owed:
            try:
                await self._settle()
            except JournalError as error:
                failure = error
        await self.journal.aclose()
        if failure is not None:
            refs = ", ".join(str(entry.ref) for entry in self._owed)
            self._owed.clear()  # it is said once
            logger.error("paid and never written into the journal: %s", refs)
            raise JournalError(f"{failure} Paid, and not in the journal: {refs}.") from failure

    # -- a start -----------------------------------------------------------------------------

    async def reserve(self, flight: Flight, *, look: bool = True) -> Entry | None:
        """Take a start's key; return the entry of the task that it stands for already.

        When a process died while it sent this very start, ``flight.recovery`` tells what to
        look for; also when another process has lost it, and holds its key. While that waits for
        its response, this waits. A free key is not taken yet where
        nothing is paid before the start itself: `intend` does both in one durable step. Without
        ``look`` such a key is not even asked for: `intend` finds out. Raises `KeyConflict`.
        """
        await (self._settle() if flight.key is None else self.ready())
        if flight.key is None:
            flight.key, flight.own_key = made_key("auto"), True
        if flight.own_key:
            if not flight.uploaded:
                await self.journal.open()  # before an upload is paid for
            return None
        flight.begun = flight.foreign = False
        if flight.uploaded and (not look or await self.journal.get(flight.key) is None):
            return None
        while True:
            begun = await self.journal.begin(self._entry(flight, State.RESERVED))
            entry = begun.entry
            if (entry.kind, entry.digest) != (flight.kind.name, flight.digest):
                raise KeyConflict(
                    f"key {flight.key!r:.60} was used before with other inputs. "
                    "Use another key, or the same inputs.",
                    key=flight.key,
                    ref=entry.ref,
                )
            if entry.state >= State.ACCEPTED:
                if not entry.ids:
                    raise KeyConflict(
                        f"key {flight.key!r:.60} stands for a start that was paid and never "
                        "found, and was closed by hand. Use another key to start, and pay, again.",
                        key=flight.key,
                    )
                return entry
            flight.foreign = not begun.mine and _given_up(entry)
            if begun.mine or flight.foreign:
                flight.begun = begun.mine
                if entry.state is State.INTENT:
                    flight.recovery = recovery_of(entry)
                    if entry.reserved is not None and not flight.held:
                        flight.held.owe(entry.reserved, flight.reserved_for or "")
                    flight.name, flight.mark = entry.name, entry.mark
                    flight.hook = entry.hook
                return None
            await self._news(entry)

    async def intend(self, flight: Flight) -> None:
        """Write down that the start's bytes are about to leave.

        Raises `TakenOver` when its key was taken meanwhile: then nothing may be sent.
        """
        assert flight.key is not None  # noqa: S101  # given by reserve()
        recovery = flight.recovery
        assert recovery is not None  # noqa: S101  # made before the request
        self._unsent[flight.key] = recovery.sent_at.timestamp()
        if flight.own_key:
            await self.journal.begin(self._entry(flight, State.INTENT))
        elif not flight.begun:
            begun = await self.journal.begin(self._entry(flight, State.INTENT))
            if not begun.new:
                raise TakenOver("Another start has taken this key; nothing was sent by this one.")
            flight.begun = True
        else:
            await self.journal.advance(
                flight.key,
                State.INTENT,
                path=recovery.path,
                name=recovery.name,
                mark=recovery.mark,
                echo=dict(recovery.echo),
                expected=recovery.expected,
                sent_at=recovery.sent_at.timestamp(),
                lost_at=None,
                reserved=flight.held.price,
                uploads=flight.upload_coins,
                hook=flight.hook,
            )

    def sent(self, key: str | None) -> None:
        """The bytes of a start leave now: from here on it is never withdrawn."""
        if key is not None:
            self._unsent.pop(key, None)

    def refused(self, key: str | None, sent_at: datetime) -> None:
        """Nothing of a start is at the service: it may be withdrawn until it is sent again."""
        if key is not None:
            self._unsent[key] = sent_at.timestamp()

    def withdraw(self, key: str | None) -> None:
        """Drop the entry of a start that was not sent, without waiting, where the journal can.

        For the end of a loop or of a process, which leaves no time for a coroutine.
        """
        sent_at = None if key is None else self._unsent.pop(key, None)
        drop: Callable[[str, float], None] | None = getattr(self.journal, "withdraw", None)
        if key is not None and sent_at is not None and drop is not None:
            with suppress(JournalError):  # at worst it is looked for in vain
                drop(key, sent_at)

    def withdraw_all(self) -> None:
        """Drop the entries of all starts that were not sent."""
        for key in list(self._unsent):
            self.withdraw(key)

    async def accept(
        self, flight: Flight, ids: tuple[str, ...], coins: int | None
    ) -> tuple[str, ...]:
        """Write down what was paid for; return the ids without those of another entry.

        A journal that fails now must not cost the task: then the ids are kept, and nothing more is
        started before they are written.
        """
        if flight.key is None:
            return ids  # looked for by what the user kept of it, without the journal
        # What cannot be asked for again has come as far as it ever will.
        watchable = flight.kind.watchable
        paid = self._entry(flight, State.ACCEPTED if watchable else State.SAVED, ids, coins)
        if not watchable:
            paid = evolve(paid, closed_by=ClosedBy.NO_FILES)
        try:
            written = await self._write(paid)
        except JournalError:
            self._owed.append(paid)
            logger.exception(
                "%s was paid and could not be written into the journal",
                flight.kind.ref(ids),
            )
            return ids
        except BaseException:  # the client stops; what was asked for may not have come about
            self._owed.append(paid)
            raise
        ours = tuple(id for id in ids if id in written.ids)
        if len(ours) < len(ids):
            held = tuple(id for id in ids if id not in written.ids)
            logger.error("%s belongs to another start already", flight.kind.ref(held))
        return ours

    async def _write(self, paid: Entry) -> Entry:
        """Write the ids of a paid task into its entry, which may be gone; return that."""
        if not paid.ids:  # the rest of a start, whose tasks are still searched for
            return (await self.journal.begin(paid)).entry
        values: dict[str, Any] = {"ids": paid.ids, "coins": paid.coins}
        if paid.closed_by is not None:
            values["closed_by"] = paid.closed_by
        written = await self.journal.advance(paid.key, paid.state, **values)
        return written or (await self.journal.begin(paid)).entry

    async def _settle(self) -> None:
        """Write what is owed, each by itself. Raises `JournalError` when one of them fails."""
        if not self._owed and self._former is None:
            return
        async with self._settling:
            if self._former is not None:
                await self.journal.adopt(self._former)
                self._former = None
            failure: JournalError | None = None
            for paid in tuple(self._owed):
                try:
                    await self._write(paid)
                except JournalError as error:
                    failure = error
                else:
                    self._owed.remove(paid)
            if failure is not None:
                raise failure

    async def lose(self, flight: Flight) -> None:
        """Write down when hope for the start's answer was given up."""
        recovery = flight.recovery
        if flight.key is None or flight.foreign or recovery is None or recovery.lost_at is None:
            return
        try:
            await self.journal.advance(
                flight.key, State.INTENT, lost_at=recovery.lost_at.timestamp()
            )
        except JournalError as error:
            logger.warning("%s", error)  # what counts, the intent, is there

    async def drop(self, flight: Flight) -> None:
        """Forget a start of which nothing is at the service."""
        if flight.key is None:
            return
        # Cancelled while its key was being taken: what stands there may be another's.
        own = flight.own_key or flight.begun
        # The end of `asyncio.run` cancels what is already being cancelled: go on all the same.
        for _ in range(_CANCELLED_AT_MOST):
            try:
                await self._drop(flight, flight.key, own=own)
            except asyncio.CancelledError:
                own = False  # dropped perhaps, and taken again since
                continue
            break
        self._unsent.pop(flight.key, None)

    async def _drop(self, flight: Flight, key: str, *, own: bool) -> None:
        try:
            if own or await self._is_of(flight, key):
                await self.journal.drop(key)
        except JournalError as error:
            logger.warning("%s", error)  # at worst it is looked for in vain

    async def unresolved(self, kind: TaskKind[..., Any]) -> list[tuple[str, Recovery]]:
        """Return what to look for of each start of a kind that was sent and has no task yet.

        By their keys; also those that other clients are at work on. Raises `JournalError`.
        """
        found: list[tuple[str, Recovery]] = []
        after = 0
        while True:
            entries, after = await self.journal.entries(states=[State.INTENT], after=after)
            found += [(one.key, recovery_of(one)) for one in entries if one.kind == kind.name]
            if not after:
                return found

    # -- a paid call that is no task ---------------------------------------------------------

    async def intend_call(self, key: str, recovery: Recovery) -> None:
        """Write down that the bytes of a paid call without a task are about to leave."""
        await self._settle()
        self._unsent[key] = recovery.sent_at.timestamp()
        await self.journal.begin(
            Entry(
                key=key,
                kind=recovery.kind,
                digest=recovery.digest,
                state=State.INTENT,
                path=recovery.path,
                sent_at=recovery.sent_at.timestamp(),
                own_key=True,
            )
        )

    async def adopt(self, task: "Task[Any]", recovery: Recovery) -> None:
        """Write down a task that a paid call has made, unless the journal knows it."""
        if await self.claimed(task.kind, task.ids):
            return
        made = Entry(
            key=made_key("auto"),
            kind=task.kind.name,
            digest=recovery.digest,
            state=State.ACCEPTED,
            path=recovery.path,
            ids=task.ids,
            meta=task.meta,
            own_key=True,
        )
        try:
            begun = await self.journal.begin(made)
            if not begun.entry.ids:  # another start has just claimed it
                await self.journal.drop(made.key)
        except JournalError:
            self._owed.append(made)
            logger.exception("%s could not be written into the journal", made.ref)

    async def end_call(self, key: str, urls: tuple[str, ...]) -> None:
        """Write down what a paid call gave: there is no other way back to it."""
        await self._note(key, State.SAVED, succeeded=True, urls=urls, closed_by=ClosedBy.RETURNED)

    async def drop_call(self, key: str) -> None:
        """Forget a call that was refused or never sent."""
        self._unsent.pop(key, None)
        try:
            await self.journal.drop(key)
        except JournalError as error:
            logger.warning("%s", error)

    async def know(self, flight: Flight) -> None:
        """Give a start that is searched for by its recovery the key of its entry, if it has one."""
        recovery = flight.recovery
        assert recovery is not None  # noqa: S101  # it is what is looked for
        for key, lost in await self.unresolved(flight.kind):
            if same_recovery(lost, recovery):
                entry = await self.journal.get(key)
                if entry is not None:
                    flight.key, flight.own_key = key, entry.own_key
                    return

    # -- tasks of a start that its response did not name ---------------------------------------

    async def intend_rest(
        self, key: str, rest: Recovery, meta: Mapping[str, Any] | None
    ) -> Entry | None:
        """Write down what the response to a start left out, as an entry of its own; return that.

        The start's own entry closes with the files that are known, so it cannot stand for tasks
        that are still to be found. None where the rest is found already, was settled, or another
        client searches for it. A journal that fails now writes it later, like a paid id.
        """
        missing = _rest_entry(key, rest, meta)
        try:
            begun = await self.journal.begin(missing)
        except JournalError:
            self._owed.append(missing)
            logger.exception("what a start still lacks could not be written into the journal")
            return missing
        entry = begun.entry
        ours = begun.mine and entry.own_key and entry.state is State.INTENT
        return entry if ours else None

    async def accept_rest(self, key: str, task: "Task[Any]", rest: Recovery) -> None:
        """Write down the tasks that were found of a start whose response left them out."""
        paid = evolve(
            _rest_entry(key, rest, task.meta),
            state=State.ACCEPTED,
            ids=task.ids,
            coins=task.coins,
        )
        try:
            await self._write(paid)
        except JournalError:
            self._owed.append(paid)
            logger.exception("%s could not be written into the journal", paid.ref)
        await self.complete(key)

    async def drop_rest(self, key: str) -> None:
        """Write down that a start has no further tasks: the lists prove it, or its outputs do."""
        try:
            if await self.journal.take(rest_key(key)):
                await self.journal.drop(rest_key(key))
        except JournalError as error:
            logger.warning("%s", error)  # at worst they are searched for once more
        await self.complete(key)

    async def lacks(self, key: str) -> bool:
        """Return whether tasks of a start are missing still; True where the journal cannot tell."""
        try:
            entry = await self.journal.get(key)
        except JournalError:
            return True
        return entry is None or len(entry.ids) < entry.expected

    async def complete(self, key: str) -> None:
        """Write down that no further task of an accepted start is searched for."""
        try:
            await complete(self.journal, key)
        except JournalError as error:
            logger.warning("%s", error)  # at worst they are searched for once more

    async def rest_of(self, entry: Entry) -> Entry | None:
        """Give what an accepted start lacks an entry of its own, where it lacks something.

        Before its own entry closes. Returns the new entry if this client may search for it.
        """
        if not entry.ids or len(entry.ids) >= entry.expected or not entry.name:
            return None
        rest = evolve(recovery_of(entry), expected=entry.expected - len(entry.ids))
        return await self.intend_rest(entry.key, rest, entry.meta)

    # -- events ------------------------------------------------------------------------------

    async def heard(self, hooks: Collection[str]) -> list[Entry]:
        """Tell the other clients that webhook events came; return the entries of these starts."""
        told = await asyncio.gather(*(self._hear(hook) for hook in hooks))
        return [entry for entry in told if entry is not None]

    async def _hear(self, hook: str) -> Entry | None:
        try:
            return await self.journal.heard(hook)
        except JournalError as error:
            logger.warning("%s", error)  # they look in their own time
            return None

    # -- its task ----------------------------------------------------------------------------

    async def finish(self, task: "Task[Any]", record: Record | None) -> None:
        """Write down how a task ended; None when the service does not know it any more.

        Only what the API said itself closes an entry: a task that it does not know is missing,
        and one that is completed without its result is still to be waited for.
        """
        entry = await self._of(task.kind.name, task.ids[0])
        if entry is None or not entry.open:
            return
        if record is None:
            # Without an account, from an older journal, it may be another account's.
            if entry.account and not entry.missing:
                await self._note(entry.key, entry.state, missing_since=wall_time())
            return
        if entry.state >= State.FINISHED and not entry.missing:
            return
        good = record.status is Status.SUCCEEDED
        coins = _more(price(record.coins), entry.coins)
        if good and task.kind.results and not all(part.outputs for part in record.parts):
            await self._note(entry.key, entry.state, coins=coins, missing_since=None)
            return
        changes: dict[str, Any] = {}
        if good and entry.expected > len(entry.ids) and len(record.outputs) >= entry.expected:
            await self.drop_rest(entry.key)  # one record carries all that was ordered
        else:
            await self.rest_of(entry)
        if not good:
            changes["closed_by"] = ClosedBy.FAILED
        elif not record.outputs:
            changes["closed_by"] = ClosedBy.NO_FILES
        await self._note(
            entry.key,
            State.SAVED if good and not record.outputs else State.FINISHED,
            succeeded=good,
            failure=_text(record.failure.message) if record.failure else None,
            coins=coins,
            outputs=len(record.outputs),
            missing_since=None,
            **changes,
        )

    async def save(self, output: Output, path: Path) -> None:
        """Write down that one output of a task is on disk."""
        if output.ref is None:
            return
        kind, ids = split_ref(output.ref)
        entry = await self._of(kind, ids[0])
        if entry is None:
            return
        # Outputs of one task are saved side by side; each adds its path to those before it.
        lock = self._saving.setdefault(entry.key, asyncio.Lock())
        async with lock:
            entry = await self._of(kind, ids[0]) or entry
            paths = {**entry.paths, f"{ids[0]}#{output.index}": _whole(path)}
            done = entry.outputs is not None and len(paths) >= entry.outputs
            if done:
                await self.rest_of(entry)
                await self._note(
                    entry.key, State.SAVED, paths=paths, closed_by=entry.closed_by or ClosedBy.SAVED
                )
            else:
                await self._note(entry.key, entry.state, paths=paths)
        if done:
            self._saving.pop(entry.key, None)

    async def deliver(self, task: "Task[Any]") -> None:
        """Write down that nothing is left to do for a task; its user has the results."""
        entry = await self.journal.find(task.kind.name, task.ids[0])
        if entry is not None:
            await self.rest_of(entry)
            reason = entry.closed_by or ClosedBy.ACKNOWLEDGED
            await self.journal.advance(entry.key, State.SAVED, closed_by=reason)

    async def claimed(self, kind: TaskKind[..., Any], ids: Collection[str]) -> set[str]:
        """Return which of these tasks belong to starts that the journal knows."""
        asked = list(ids)
        entries = await asyncio.gather(*(self._of(kind.name, id) for id in asked))
        return {id for id, entry in zip(asked, entries, strict=True) if entry is not None}

    # -- uploads -----------------------------------------------------------------------------

    async def uploaded(self, digest: str, content_type: str) -> tuple[str, float] | None:
        """Return the URL of a content that a client of this account has uploaded, and its end."""
        upload = await self.journal.uploaded(digest, content_type)
        return None if upload is None else (upload.url, upload.until)

    async def keep_upload(self, digest: str, content_type: str, url: str, until: float) -> None:
        """Keep where a content was uploaded to, for the other clients of this account."""
        upload = Upload(digest=digest, content_type=content_type, url=url, until=until)
        try:
            await self.journal.keep_upload(upload)
        except JournalError as error:
            logger.warning("%s", error)  # they upload, and pay for, it again

    async def pay_upload(self, coins: int) -> None:
        """Count what was paid for an upload."""
        try:
            await self.journal.pay_upload(coins)
        except JournalError as error:
            logger.warning("%s", error)  # it is paid: to lose it, too, would cost more

    # -- accounts ----------------------------------------------------------------------------

    async def ready(self) -> None:
        """Write what is owed; log, once, what is left to other accounts."""
        await self._settle()
        if self._told_of_others:
            return
        self._told_of_others = True
        others = await others_in(self.journal, self._account)
        if others:
            logger.warning("%s", others_word(others))

    # -- inside ------------------------------------------------------------------------------

    async def _is_of(self, flight: Flight, key: str) -> bool:
        entry, recovery = await self.journal.get(key), flight.recovery
        if entry is None or recovery is None or entry.owner != self.journal.owner:
            return False
        return (entry.mark, entry.sent_at) == (flight.mark, recovery.sent_at.timestamp())

    async def _of(self, kind: str, id: str) -> Entry | None:
        try:
            return await self.journal.find(kind, id)
        except JournalError as error:
            logger.warning("%s", error)
            return None

    async def _note(self, key: str, state: State, **values: Any) -> None:
        try:
            await self.journal.advance(key, state, **values)
        except JournalError as error:
            logger.warning("%s", error)  # it is learnt again at the next look

    async def _news(self, seen: Entry) -> None:
        """Wait until another client has changed the entry, or may have died."""
        told = asyncio.Event()
        end = self.journal.watch(seen.key, lambda _: told.set())
        try:
            # What changed before the watch began is not told by it.
            if await self.journal.get(seen.key) == seen:
                async with asyncio.timeout(LOOK_AGAIN):
                    await told.wait()
        except TimeoutError:
            pass
        finally:
            end()

    def _entry(
        self, flight: Flight, state: State, ids: tuple[str, ...] = (), coins: int | None = None
    ) -> Entry:
        assert flight.key is not None  # noqa: S101  # given by reserve()
        recovery = flight.recovery
        return Entry(
            key=flight.key,
            kind=flight.kind.name,
            digest=flight.digest,
            state=state,
            path=flight.kind.start_at.path,
            name=flight.name,
            mark=flight.mark,
            echo={} if recovery is None else dict(recovery.echo),
            expected=flight.kind.expected(flight.inputs),
            sent_at=None if recovery is None else recovery.sent_at.timestamp(),
            ids=ids,
            coins=coins,
            reserved=flight.held.price,
            uploads=flight.upload_coins,
            meta=flight.inputs.meta,
            own_key=flight.own_key,
            hook=flight.hook,
        )


async def complete(journal: Journal, key: str) -> None:
    """Write down that an accepted start has no tasks but those that its entry names."""
    entry = await journal.get(key)
    if entry is not None and entry.ids:
        await journal.advance(key, entry.state, expected=len(entry.ids))


def _rest_entry(key: str, rest: Recovery, meta: Mapping[str, Any] | None) -> Entry:
    """Return the entry for what the response to the start of a key left out."""
    return Entry(
        key=rest_key(key),
        kind=rest.kind,
        digest=rest.digest,
        state=State.INTENT,
        path=rest.path,
        name=rest.name,
        mark=rest.mark,
        echo=dict(rest.echo),
        expected=rest.expected,
        sent_at=rest.sent_at.timestamp(),
        lost_at=wall_time(),
        meta=meta,
        own_key=True,
    )


def _given_up(entry: Entry) -> bool:
    """Whether no response to the start of an entry can come any more."""
    if entry.state is not State.INTENT or entry.sent_at is None:
        return False
    return entry.lost_at is not None or wall_time() - entry.sent_at > UNDER_WAY


def _more(told: int | None, known: int | None) -> int | None:
    """Return what a task has cost: it never falls below what was known before."""
    return known if told is None else max(told, known or 0)


async def others_in(journal: Journal, account: str) -> list[AccountEntries]:
    """Return the other accounts that have entries in a journal."""
    return [one for one in await journal.accounts() if one.account not in ("", account)]


def others_word(others: Collection[AccountEntries]) -> str:
    """Return what to say where a journal holds entries of other accounts."""
    count, left = sum(one.entries for one in others), sum(one.open for one in others)
    return (
        f"{count} entries of other accounts in this journal were skipped ({left} of them open): "
        f"{', '.join(one.account for one in others)}. If the API key of this account has changed, "
        "a2e journal adopt gives it the entries of its former key"
    )


def _text(said: str) -> str:
    """Return a text of the service as every journal can hold it."""
    return redact(said)[:500].encode(errors="replace").decode().replace("\0", "")


_BOOKS: "Final[weakref.WeakSet[Book]]" = weakref.WeakSet()


@cache
def _withdraw_at_exit() -> None:
    """Have intents of which nothing was sent dropped when the interpreter ends.

    Called when a journal is there: what is registered last at exit is run first, and the journal
    has to be open still.
    """
    atexit.register(_withdraw_all)


def _withdraw_all() -> None:
    for book in list(_BOOKS):
        book.withdraw_all()


def _whole(path: Path) -> str:
    """Return the path as it holds in any directory: the next run may be called from another."""
    return str(path.absolute())


def recovery_of(entry: Entry) -> Recovery:
    """Return what to look for when an entry's start was sent and nothing more is known."""
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
