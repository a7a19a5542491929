"""The way of a paid start: check, upload, send once, keep what came of it.

The sending is carried by an asyncio task that the client owns. Cancelling ``start()`` before a
byte has left withdraws it; afterwards the start runs to its end and the task is kept for
`unclaimed`. An answer that is lost is never answered by a second start.
"""

import asyncio
import copy
import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from contextvars import Context
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from attrs import define

from a2e_async.errors import (
    A2EError,
    ClientClosed,
    InvalidInput,
    InvalidRequest,
    KeyConflict,
    StartOutcomeUnknown,
)
from a2e_async.events import Accepted, Event, StartLost
from a2e_async.inputs import Media, MediaInput, TaskInput, clean_url, is_url
from a2e_async.models import MediaType, Output, Record, Recovery
from a2e_async.redact import excerpt, stable_url
from a2e_async.tasks.kind import TaskKind
from a2e_async.tasks.status import Refusal, read_id, read_record, read_start
from a2e_async.tasks.task import Task, TaskServices
from a2e_async.transport.ratelimit import Priority
from a2e_async.transport.retry import Repeat, could_be_accepted

if TYPE_CHECKING:
    from a2e_async.models import OutputSource
    from a2e_async.transport.session import Answer, Session
    from a2e_async.transport.upload import Prepared

R = TypeVar("R", bound=Record)

logger = logging.getLogger("a2e_async.starter")

FINISH_STARTS: Final = 30.0
"""Seconds that closing the client leaves to starts under way."""

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"


class MediaDesk(Protocol):
    """Turns media inputs into URLs; the client's files do."""

    async def prepare(
        self, source: MediaInput, allowed: tuple[MediaType, ...], field: str
    ) -> "Prepared": ...

    async def upload_prepared(self, prepared: "Prepared") -> str: ...

    async def renew(self, output: Output) -> Output: ...


@define(eq=False)
class _Flight:
    """One start on its way, and the callers that wait for it.

    ``sent`` turns True at the instant its bytes leave: from then on it is never withdrawn,
    unless the service refuses it because of the pace.
    """

    digest: str
    services: TaskServices
    carry: "asyncio.Task[Task[Any]] | None" = None
    riders: int = 0
    sent: bool = False
    withdrawn: bool = False
    delivered: bool = False
    task: "Task[Any] | None" = None
    lost: StartOutcomeUnknown | None = None


def new_mark() -> str:
    """Return a name no other start has: 100 random bits."""
    return "a2e-" + "".join(secrets.choice(_ALPHABET) for _ in range(20))


class Starter:
    """Starts tasks of any kind for one client."""

    def __init__(
        self,
        session: "Session",
        services: TaskServices,
        desk: MediaDesk,
        *,
        mark_names: bool,
        emit: Callable[[Event], None],
        mark: Callable[[], str] = new_mark,
    ) -> None:
        self.source: OutputSource | None = None
        self._session = session
        self._services = services
        self._desk = desk
        self._mark_names = mark_names
        self._emit = emit
        self._mark = mark
        self._carrying: set[asyncio.Task[Task[Any]]] = set()
        self._unclaimed: dict[str, Task[Any]] = {}
        self._lost: list[Recovery] = []
        self._keys: dict[str, _Flight] = {}
        self._closed = False

    def unclaimed(self) -> tuple[Task[Any], ...]:
        """Return paid tasks that nobody holds: cancelled, or dropped without a look at them."""
        return tuple(self._unclaimed.values())

    def unknown(self) -> tuple[Recovery, ...]:
        """Return starts whose outcome is unknown and whose callers were gone by then."""
        return tuple(self._lost)

    def dropped(self, task: Task[Any]) -> None:
        """A handle was collected that nobody ever waited for or noted."""
        if not self._closed:
            self._unclaimed[_ref(task)] = task

    def claim(self, task: Task[Any]) -> None:
        """Somebody waits for the task: it is nobody's no longer."""
        self._unclaimed.pop(_ref(task), None)

    def keep(self, task: Task[Any]) -> None:
        """Nobody holds the task: its caller was cancelled before it could be handed over."""
        self._unclaimed[_ref(task)] = task
        logger.info("%s was started, and its caller was cancelled", _ref(task))

    async def start(
        self,
        kind: "TaskKind[..., R]",
        inputs: TaskInput,
        *,
        timeout: float,
        services: TaskServices | None = None,
    ) -> "Task[R]":
        """Start a task and return its handle.

        ``timeout`` in seconds bounds the one answer, not the task; ``services`` are what the
        handle works with, where they are not the client's own. Raises `InvalidInput` before
        anything is spent; `StartOutcomeUnknown` when the answer was lost; `ApiError` when the
        service refused.
        """
        self._check_open()
        self._services.poller.check_loop()
        media = await self._prepare(inputs)
        self._check_open()
        digest = input_digest(kind, inputs, media)
        flight = self._under_key(inputs.key, digest)
        if flight is None:
            name, mark = self._name(kind, inputs.name)
            flight = _Flight(digest, services or self._services)
            flight.carry = asyncio.get_running_loop().create_task(
                self._carry(kind, inputs, media, flight, name, mark, timeout), context=Context()
            )
            self._carrying.add(flight.carry)
            flight.carry.add_done_callback(partial(self._carried, flight, inputs.key))
            if inputs.key is not None:
                self._keys[inputs.key] = flight
        return await self._ride(flight, inputs.key)

    async def aclose(self) -> None:
        """Let starts under way end (at most 30 s), then give them up, loudly."""
        self._closed = True
        carrying = list(self._carrying)
        if not carrying or self._services.poller.outlived():
            return
        _, late = await asyncio.wait(carrying, timeout=FINISH_STARTS)
        for carry in late:
            carry.cancel()
        if late:
            await asyncio.wait(late)

    # -- before money is spent ---------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("The client is closed; nothing was sent. Make a new A2E().")

    async def _prepare(self, inputs: TaskInput) -> "dict[tuple[str, int | None], Prepared | str]":
        """Return each media input as a URL or as a checked, hashed local file (no network)."""
        made: dict[tuple[str, int | None], Prepared | str] = {}
        for f, place, value in inputs.media():
            if isinstance(value, Output):
                made[f.name, place] = clean_url((await self._desk.renew(value)).url, f.name)
            elif isinstance(value, str) and is_url(value):
                made[f.name, place] = clean_url(value, f.name)
            else:
                made[f.name, place] = await self._desk.prepare(value, f.note(Media).types, f.name)
        return made

    def _under_key(self, key: str | None, digest: str) -> _Flight | None:
        """Return the start that this key stands for, None for a new one."""
        flight = self._keys.get(key) if key is not None else None
        if flight is None or key is None:
            return None
        if flight.digest != digest:
            raise KeyConflict(
                f"key {key!r} was used before with other inputs. "
                "Use another key, or the same inputs.",
                key=key,
                ref=flight.task.ref if flight.task else None,
            )
        return flight

    # -- the sending -------------------------------------------------------------------------

    async def _ride(self, flight: _Flight, key: str | None) -> Task[Any]:
        """Wait for a start under way. The last caller to be cancelled withdraws it if it can."""
        assert flight.carry is not None  # noqa: S101  # set where the flight is made
        flight.riders += 1
        try:
            if not flight.carry.done():
                await asyncio.wait([flight.carry])
        except asyncio.CancelledError:
            flight.riders -= 1
            if not flight.riders and not flight.delivered:
                self._abandon(flight, key)
            raise
        flight.riders -= 1
        flight.delivered = True
        if flight.carry.cancelled():
            raise ClientClosed(
                "The client was closed before the start was sent; nothing was spent."
            )
        if flight.lost is not None and key is not None:
            # Callers of one key each get their own, or they would share one traceback.
            mine = copy.copy(flight.lost)
            raise mine from flight.lost.__cause__
        task = flight.carry.result()
        if key is None:
            # A kept connection remembers, by its context, the request that opened it, and with
            # it this flight; the task must not live as long.
            flight.carry = flight.task = None
        self.claim(task)
        task.loose = True
        return task

    def _abandon(self, flight: _Flight, key: str | None) -> None:
        if flight.task is not None:
            self.keep(flight.task)
        elif flight.lost is not None:
            self._lost.append(flight.lost.recovery)
        elif not flight.sent:
            self._withdraw(flight, key)

    def _withdraw(self, flight: _Flight, key: str | None) -> None:
        assert flight.carry is not None  # noqa: S101  # set where the flight is made
        flight.withdrawn = True
        flight.carry.cancel()
        if key is not None and self._keys.get(key) is flight:
            del self._keys[key]

    async def _carry(
        self,
        kind: "TaskKind[..., R]",
        inputs: TaskInput,
        media: "Mapping[tuple[str, int | None], Prepared | str]",
        flight: _Flight,
        name: str | None,
        mark: str | None,
        timeout: float,
    ) -> "Task[R]":
        body = inputs.to_wire(await self._upload(media))
        if kind.name_wire and name:
            body[kind.name_wire] = name
        recovery = Recovery(
            kind=kind.name,
            path=kind.start_at.path,
            name=name,
            mark=mark,
            digest=flight.digest,
            sent_at=datetime.now(UTC),
            expected=kind.expected(inputs),
        )

        def sent() -> None:
            if flight.withdrawn:
                # The cancellation is on its way and would come only after the bytes.
                raise asyncio.CancelledError
            flight.sent = True

        def refused() -> None:
            # A 429: nothing is at the service, so the start may be withdrawn again.
            flight.sent = False
            if not flight.riders:
                self._withdraw(flight, inputs.key)

        try:
            answer = await self._session.request(
                kind.start_at.method,
                kind.start_at.path,
                json=body,
                repeat=Repeat.CHARGED,
                priority=Priority.START,
                timeout=timeout,
                on_sent=sent,
                on_refused=refused,
            )
            return self._accept(kind, inputs, answer, flight, recovery)
        except asyncio.CancelledError as error:
            if flight.sent:
                raise self._lose(
                    kind, recovery, "the client stopped before the answer came"
                ) from error
            raise
        except A2EError as error:
            if flight.sent and could_be_accepted(error):
                raise self._lose(kind, recovery, str(error)) from error
            raise
        except Exception as error:
            # A fault of this package must not make a paid start look like one that never was.
            if flight.sent:
                raise self._lose(kind, recovery, f"{type(error).__name__}: {error}") from error
            raise

    async def _upload(
        self, media: "Mapping[tuple[str, int | None], Prepared | str]"
    ) -> dict[tuple[str, int | None], str]:
        urls = {place: item for place, item in media.items() if isinstance(item, str)}
        local = {place: item for place, item in media.items() if not isinstance(item, str)}
        if local:
            # One after the other: a start rarely has two files, and the connections are shared.
            for place, item in local.items():
                urls[place] = await self._desk.upload_prepared(item)
        return urls

    def _accept(
        self,
        kind: "TaskKind[..., R]",
        inputs: TaskInput,
        answer: "Answer",
        flight: _Flight,
        recovery: Recovery,
    ) -> "Task[R]":
        start = read_start(kind, answer.data)
        if isinstance(start, Refusal):
            raise InvalidRequest(
                http_status=answer.http_status,
                code=answer.code,
                message=excerpt(start.reason),
                trace_id=answer.trace_id,
                method=kind.start_at.method,
                path=kind.start_at.path,
                advice="The service made no task.",
            )
        if start is None:
            raise self._lose(kind, recovery, "the service answered success without a task")
        records = self._read(kind, start)
        ids = tuple(dict.fromkeys(id for raw in start if (id := read_id(raw))))
        now = asyncio.get_running_loop().time()
        task: Task[R] = Task(flight.services, kind, ids, records=records, now=now, meta=inputs.meta)
        flight.task = task
        claimed = flight.riders > 0
        if not claimed:
            self.keep(task)
        self._emit(Accepted(ref=_ref(task), kind=kind.name, coins=task.coins, claimed=claimed))
        return task

    def _read(
        self, kind: "TaskKind[..., R]", start: "tuple[Mapping[str, Any], ...]"
    ) -> tuple[R, ...]:
        try:
            return tuple(read_record(kind, raw, self.source) for raw in start)
        except Exception:
            # The ids are what was paid for; the first look will show the rest.
            logger.exception("the first record of a %s could not be read", kind.name)
            return ()

    def _carried(self, flight: _Flight, key: str | None, carry: "asyncio.Task[Task[Any]]") -> None:
        self._carrying.discard(carry)
        error = None if carry.cancelled() else carry.exception()
        if isinstance(error, StartOutcomeUnknown):
            flight.lost = error
            if not flight.riders:
                self._lost.append(error.recovery)
        # A key keeps standing for a task, and for a start that may have been charged.
        free = flight.task is None and flight.lost is None
        if free and key is not None and self._keys.get(key) is flight:
            del self._keys[key]

    def _lose(self, kind: TaskKind[..., Any], recovery: Recovery, why: str) -> StartOutcomeUnknown:
        logger.warning(
            "the outcome of a %s start is unknown (name %s); it was not sent again",
            recovery.kind,
            recovery.mark or f"of the user's, inputs {recovery.digest[:12]}",
        )
        self._emit(StartLost(recovery=recovery))
        if kind.list_at is None:
            advice = (
                "The service lists no tasks of this kind: look at its site, or at "
                "a2e.credits.history(), before you start it anew"
            )
        elif recovery.name is None:
            advice = (
                f"Its start takes no name: look at the newest of a2e.{kind.name}.list(), by their "
                "inputs and time, before you start it anew"
            )
        else:
            advice = (
                f"Look for the name {recovery.name!r} among the newest of a2e.{kind.name}.list() "
                "before you start it anew"
            )
        return StartOutcomeUnknown(
            f"The {recovery.kind} start was sent, but its outcome is unknown ({why}). It may "
            f"have been accepted and charged, so it was not sent again. {advice}; error.recovery "
            "holds the details.",
            recovery=recovery,
        )

    def _name(self, kind: TaskKind[..., Any], name: str | None) -> tuple[str | None, str | None]:
        """Return the name that goes out and the mark in it, None each where there is none."""
        if kind.name_wire is None:
            if name:
                raise InvalidInput(f"{kind.name} takes no name at the service.", field="name")
            return None, None
        if name is not None and len(name) > kind.name_most:
            raise InvalidInput(
                f"name must have at most {kind.name_most} characters, got {len(name)}.",
                field="name",
            )
        if name and not self._mark_names:
            return name, None
        mark = self._mark()
        if not name:
            return mark, mark
        if len(name) + 1 + len(mark) > kind.name_most:
            raise InvalidInput(
                f"name must have at most {kind.name_most - len(mark) - 1} characters where the "
                "client marks names.",
                field="name",
            )
        return f"{name} {mark}", mark


def _ref(task: Task[Any]) -> str:
    """Return a task's ref without counting as somebody who notes it down."""
    return task.kind.ref(task.ids)


def input_digest(
    kind: TaskKind[..., Any],
    inputs: TaskInput,
    media: "Mapping[tuple[str, int | None], Prepared | str]",
) -> str:
    """Return a digest of what a start asks for: equal inputs, equal digest.

    Local media count by content, URLs without their signature, names not at all.
    """
    urls = {
        place: stable_url(item) if isinstance(item, str) else f"sha256:{item.digest}"
        for place, item in media.items()
    }
    wire = json.dumps([kind.name, inputs.to_wire(urls)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(wire.encode()).hexdigest()
