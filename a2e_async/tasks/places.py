"""Carries out whose turn it is: starts wait here for their place, and tasks hold it to their end.

A place is held from a start's turn until its tasks are known to have ended. Nobody may be
waiting for them, so while a start waits for a place the client itself looks at the tasks that
hold those it could have; the poller makes these looks together with all others.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from a2e_async.errors import ClientClosed, TooBusy
from a2e_async.tasks.fair import Caller, FairQueue, Scope, Ticket, left_of, room_in
from a2e_async.tasks.kind import TaskKind
from a2e_async.tasks.task import Task, TaskServices

if TYPE_CHECKING:
    from a2e_async.tasks.flight import Flight

USUAL: Final = 60.0
"""Seconds that a task takes where nothing is known of its kind."""

NEWEST: Final = 0.3
"""Weight of the newest task in what its kind usually takes."""

LINGER: Final = 1.5
"""Intervals for which a refusal keeps the client looking, so that the next try finds the truth."""


@define(eq=False, kw_only=True)
class Place(Ticket):
    """A start's place: in the queue, then at the service."""

    kind: TaskKind[..., Any]
    counted: bool
    """Some cap is in force; else it only takes its turn."""
    granted: "asyncio.Future[None] | None" = None
    open: set[str] = field(factory=set[str])
    """Ids of its tasks that are not known to have ended."""
    since: float = 0.0
    handle: Task[Any] | None = None
    unfollow: Callable[[], object] | None = None


class Places:
    """The places of one client. ``most``: its cap on unfinished remote tasks."""

    def __init__(self, services: TaskServices, most: int | None) -> None:
        self.active = most is not None
        """Starts have to ask here: there is a cap, or there are callers."""
        self._services = services
        self._poller = services.poller
        self._fair: FairQueue[Place] = FairQueue(most)
        self._waiting: set[Place] = set()
        self._holding: set[Place] = set()
        self._held: dict[tuple[str, str], Place] = {}
        self._followed: set[Place] = set()
        self._refused: set[str | None] = set()
        """Callers that were refused of late; None where the client's own cap was reached."""
        self._lingering: asyncio.TimerHandle | None = None
        self._seeing: asyncio.Handle | None = None
        self._usual: dict[str, float] = {}
        self._closed = False
        self._poller.waits.ended = self.ended

    # -- the way of a start ------------------------------------------------------------------

    async def take(self, flight: "Flight") -> None:
        """Wait for a start's turn. Raises `TooBusy` when that takes too long for its caller."""
        if flight.place is not None:
            return  # sent for the second time, under the same place
        if self._closed:
            raise _closed()
        caller = flight.services.caller
        cost = flight.kind.expected(flight.inputs)
        flight.place = place = self._new(caller, flight.kind, cost)
        if self._fair.join(place):
            return
        try:
            await self._wait(place, caller.max_wait if caller else None)
        except BaseException:
            self.free(flight)
            raise

    def sent(self, flight: "Flight") -> None:
        """The start's bytes leave now."""
        if flight.place is None:
            return
        self._go(self._fair.sent(flight.place))
        if not flight.place.counted:
            self.free(flight)

    def accepted(self, flight: "Flight", task: Task[Any]) -> None:
        """The service has made the start's tasks: they hold its place until their end."""
        place, flight.place = flight.place, None
        if place is None:
            self.adopt(flight.services.caller, task)
        elif self._hold(place, task):
            self._go(self._fair.resize(place, len(place.open)))
        else:
            self._leave(place)

    def adopt(self, caller: Caller | None, task: Task[Any]) -> None:
        """Count a task that was begun before and found again; it does not wait."""
        if self._fair.most is None and (caller is None or caller.max_unfinished is None):
            return
        place = self._new(caller, task.kind, 0)
        if self._hold(place, task):
            place.cost = len(place.open)
            self._go(self._fair.add(place))

    def free(self, flight: "Flight") -> None:
        """Nothing of the start is at the service, or nothing can be known of it."""
        place, flight.place = flight.place, None
        if place is not None:
            self._leave(place)

    def ended(self, kind: TaskKind[..., Any], id: str, *, seen: bool) -> None:
        """A remote task has ended (``seen``), is gone, or cannot be looked at any more."""
        place = self._held.pop((kind.name, id), None)
        if place is None:
            return
        place.open.discard(id)
        if seen:
            self._learn(place)
        if place.open:
            self._go(self._fair.resize(place, len(place.open)))
        else:
            self._leave(place)

    def close(self) -> None:
        """End every wait for a place with `ClientClosed`; nothing of these starts was sent."""
        self._closed = True
        for place in self._waiting:
            if place.granted is not None and not place.granted.done():
                place.granted.set_exception(_closed())
        for timer in (self._lingering, self._seeing):
            if timer is not None:
                timer.cancel()

    # -- waiting for a place -----------------------------------------------------------------

    def _new(self, caller: Caller | None, kind: TaskKind[..., Any], cost: int) -> Place:
        if caller is None:
            return Place(caller=None, cost=cost, kind=kind, counted=self._fair.most is not None)
        most = caller.max_unfinished
        counted = most is not None or self._fair.most is not None
        return Place(caller=caller.name, cost=cost, most=most, kind=kind, counted=counted)

    async def _wait(self, place: Place, longest: float | None) -> None:
        if longest == 0 and (scope := self._fair.blocked(place)) is not None:
            raise self._too_busy(place, scope)
        loop = asyncio.get_running_loop()
        place.granted = loop.create_future()
        timer: asyncio.TimerHandle | None = None

        def late() -> None:
            nonlocal timer
            assert place.granted is not None  # noqa: S101  # made just now
            if place.granted.done():
                return
            scope = self._fair.blocked(place)
            if scope is not None:
                place.granted.set_exception(self._too_busy(place, scope))
            else:  # no cap keeps it: its turn comes as fast as the pace lets it
                timer = loop.call_later(self._poller.interval(), late)

        if longest is not None:
            timer = loop.call_later(longest or self._poller.interval(), late)
        self._waiting.add(place)
        self._see()
        try:
            await place.granted
        finally:
            self._waiting.discard(place)
            if timer is not None:
                timer.cancel()

    def _too_busy(self, place: Place, scope: Scope) -> TooBusy:
        ahead = self._fair.ahead(place, scope)
        own = scope == "caller"
        used = self._fair.unfinished(place.caller) if own else self._fair.used
        most = place.most if own else self._fair.most
        assert most is not None  # noqa: S101  # only a cap blocks
        now = asyncio.get_running_loop().time()
        left = [
            left_of(now - held.since, self._time(held.kind))
            for held in self._holding
            if not own or held.caller == place.caller
            for _ in held.open
        ]
        seconds = room_in(used + ahead + place.cost - most, left, self._time(place.kind))
        self._linger(place.caller if own else None)
        waiting = f", and {ahead} starts wait before this one" if ahead else ""
        return TooBusy(
            f"{'This caller' if own else 'The client'} has {used} of at most {most} unfinished "
            f"tasks{waiting}. Nothing was sent; try again in about {math.ceil(seconds)} s "
            "(error.retry_after).",
            retry_after=seconds,
            unfinished=used,
            max_unfinished=most,
            ahead=ahead,
            scope=scope,
        )

    # -- holding it --------------------------------------------------------------------------

    def _hold(self, place: Place, task: Task[Any]) -> bool:
        """Let a task's open parts hold a place; return whether any do."""
        kind = task.kind
        fresh = {id for id in task.open_ids if (kind.name, id) not in self._held}
        if not place.counted or not kind.watchable or not fresh:
            return False
        place.open = fresh
        place.since = asyncio.get_running_loop().time()
        self._held.update(((kind.name, id), place) for id in fresh)
        self._holding.add(place)
        return True

    def _leave(self, place: Place) -> None:
        self._holding.discard(place)
        for id in place.open:
            self._held.pop((place.kind.name, id), None)
        self._unfollow(place)
        self._go(self._fair.leave(place))

    def _go(self, going: Sequence[Place]) -> None:
        for place in going:
            # One that was cancelled meanwhile leaves by itself, and passes its turn on.
            if place.granted is not None and not place.granted.done():
                place.granted.set_result(None)
        self._see()

    def _learn(self, place: Place) -> None:
        took = asyncio.get_running_loop().time() - place.since
        kind = place.kind
        if kind.usual is not None:
            took = min(took, kind.usual[1])  # its end may have been seen long after
        known = self._usual.get(kind.name, took)
        self._usual[kind.name] = known + NEWEST * (took - known)

    def _time(self, kind: TaskKind[..., Any]) -> float:
        """Return the seconds that a task of this kind usually takes."""
        usual = sum(kind.usual) / 2 if kind.usual is not None else USUAL
        return self._usual.get(kind.name, usual)

    # -- looking at what holds them ------------------------------------------------------------

    def _linger(self, refused: str | None) -> None:
        """Look a little longer: who tries again must not meet tasks that ended long ago."""
        self._refused.add(refused)
        if self._lingering is None:
            loop = asyncio.get_running_loop()
            seconds = LINGER * self._poller.interval()
            self._lingering = loop.call_later(seconds, self._lingered)
        self._see()

    def _lingered(self) -> None:
        self._lingering = None
        self._refused.clear()
        self._see()

    def _see(self) -> None:
        """Look soon at whatever somebody waits for now."""
        needless = not (self._waiting or self._refused or self._followed)
        if self._seeing is None and not needless and not self._closed:
            self._seeing = asyncio.get_running_loop().call_soon(self._follow)

    def _follow(self) -> None:
        self._seeing = None
        everything, callers = self._fair.kept()
        everything = everything or None in self._refused
        callers |= self._refused
        wanted = {one for one in self._holding if everything or one.caller in callers}
        for place in self._followed - wanted:
            self._unfollow(place)
        for place in wanted - self._followed:
            self._followed.add(place)
            if place.handle is None:
                place.handle = Task(self._services, place.kind, tuple(place.open))
            place.unfollow = self._poller.follow(place.handle)

    def _unfollow(self, place: Place) -> None:
        self._followed.discard(place)
        if place.unfollow is not None:
            place.unfollow()
            place.unfollow = None


def _closed() -> ClientClosed:
    return ClientClosed("The client was closed before the start was sent; nothing was spent.")
