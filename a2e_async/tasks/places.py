"""Admission control: starts wait here for a slot, and their tasks occupy it until they end.

A slot is occupied from the admission of a start until its tasks are known to have ended. No
caller may be waiting for these tasks. So while a start waits for a slot, the client itself polls
the tasks in slots that the start could use; the poller combines this with all other polling.
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
"""Assumed duration (s) of a task if nothing is known about its kind."""

NEWEST: Final = 0.3
"""Weight of the newest task in the moving average of its kind's duration."""

LINGER: Final = 1.5
"""Polling intervals during which the client keeps polling after `TooBusy`.

So the caller's next try sees the current number of unfinished tasks.
"""


@define(eq=False, kw_only=True)
class Place(Ticket):
    """A start's slot: first in the queue, then occupied by its tasks."""

    kind: TaskKind[..., Any]
    counted: bool
    """A cap applies; otherwise the start only waits for its turn and then frees the slot."""
    granted: "asyncio.Future[None] | None" = None
    open: set[str] = field(factory=set[str])
    """Ids of its tasks that may still be running."""
    since: float = 0.0
    handle: Task[Any] | None = None
    unfollow: Callable[[], object] | None = None


class Places:
    """The slots of one client. ``max_unfinished`` limits its unfinished remote tasks."""

    def __init__(self, services: TaskServices, most: int | None) -> None:
        self.active = most is not None
        """Whether starts need a slot: there is a cap, or there are tenants."""
        self._services = services
        self._poller = services.poller
        self._fair: FairQueue[Place] = FairQueue(most)
        self._waiting: set[Place] = set()
        self._holding: set[Place] = set()
        self._held: dict[tuple[str, str], Place] = {}
        self._followed: set[Place] = set()
        self._refused: set[str | None] = set()
        """Tenants with a recent `TooBusy`; None stands for the client's own cap."""
        self._lingering: asyncio.TimerHandle | None = None
        self._seeing: asyncio.Handle | None = None
        self._usual: dict[str, float] = {}
        self._closed = False
        self._poller.waits.ended = self.ended

    # -- steps of a start ----------------------------------------------------------------------

    async def take(self, flight: "Flight") -> None:
        """Wait for a slot. Raises `TooBusy` after the tenant's ``max_wait``."""
        if flight.place is not None:
            return  # a second submission keeps the slot of the first
        if self._closed:
            raise _closed()
        tenant = flight.services.caller
        task_count = flight.kind.expected(flight.inputs)
        flight.place = slot = self._new(tenant, flight.kind, task_count)
        if self._fair.join(slot):
            return
        try:
            await self._wait(slot, tenant.max_wait if tenant else None)
        except BaseException:
            self.free(flight)
            raise

    def sent(self, flight: "Flight") -> None:
        """Note that the start is being sent."""
        if flight.place is None:
            return
        self._go(self._fair.sent(flight.place))
        if not flight.place.counted:
            # Without a cap the slot only served the order of the starts.
            self.free(flight)

    def accepted(self, flight: "Flight", task: Task[Any]) -> None:
        """Pass the start's slot on to its tasks, which occupy it until they end."""
        slot, flight.place = flight.place, None
        if slot is None:
            self.adopt(flight.services.caller, task)
        elif self._hold(slot, task):
            self._go(self._fair.resize(slot, len(slot.open)))
        else:
            self._leave(slot)

    def adopt(self, caller: Caller | None, task: Task[Any]) -> None:
        """Count a task that was started earlier; it needs no admission."""
        if self._fair.most is None and (caller is None or caller.max_unfinished is None):
            return
        slot = self._new(caller, task.kind, 0)
        if self._hold(slot, task):
            slot.cost = len(slot.open)
            self._go(self._fair.add(slot))

    def free(self, flight: "Flight") -> None:
        """Free a start's slot: it was not accepted, or its outcome will remain unknown."""
        slot, flight.place = flight.place, None
        if slot is not None:
            self._leave(slot)

    def ended(self, kind: TaskKind[..., Any], id: str, *, seen: bool) -> None:
        """Free the slot of a remote task that ended, disappeared or cannot be polled any more.

        Only an end that was observed tells how long tasks of the kind take.
        """
        slot = self._held.pop((kind.name, id), None)
        if slot is None:
            return
        slot.open.discard(id)
        if seen:
            self._learn(slot)
        if slot.open:
            self._go(self._fair.resize(slot, len(slot.open)))
        else:
            self._leave(slot)

    def close(self) -> None:
        """Fail every waiting start with `ClientClosed`; none of them was sent."""
        self._closed = True
        for slot in self._waiting:
            if slot.granted is not None and not slot.granted.done():
                slot.granted.set_exception(_closed())
        for timer in (self._lingering, self._seeing):
            if timer is not None:
                timer.cancel()

    # -- waiting for a slot --------------------------------------------------------------------

    def _new(self, caller: Caller | None, kind: TaskKind[..., Any], cost: int) -> Place:
        if caller is None:
            return Place(caller=None, cost=cost, kind=kind, counted=self._fair.most is not None)
        max_unfinished = caller.max_unfinished
        counted = max_unfinished is not None or self._fair.most is not None
        return Place(caller=caller.name, cost=cost, most=max_unfinished, kind=kind, counted=counted)

    async def _wait(self, place: Place, longest: float | None) -> None:
        # With max_wait=0 a start still waits for its turn (below), but not for a cap.
        if longest == 0 and (scope := self._fair.blocked(place)) is not None:
            raise self._too_busy(place, scope)
        loop = asyncio.get_running_loop()
        place.granted = loop.create_future()
        timer: asyncio.TimerHandle | None = None

        def on_timeout() -> None:
            nonlocal timer
            assert place.granted is not None  # noqa: S101  # set above
            if place.granted.done():
                return
            scope = self._fair.blocked(place)
            if scope is not None:
                place.granted.set_exception(self._too_busy(place, scope))
            else:  # no cap blocks it, only the rate limiter: its turn will come
                timer = loop.call_later(self._poller.interval(), on_timeout)

        if longest is not None:
            timer = loop.call_later(longest or self._poller.interval(), on_timeout)
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
        own_cap = scope == "caller"
        unfinished = self._fair.unfinished(place.caller) if own_cap else self._fair.used
        max_unfinished = place.most if own_cap else self._fair.most
        assert max_unfinished is not None  # noqa: S101  # without a cap nothing is blocked
        now = asyncio.get_running_loop().time()
        remaining = [
            left_of(now - occupied.since, self._time(occupied.kind))
            for occupied in self._holding
            if not own_cap or occupied.caller == place.caller
            for _ in occupied.open
        ]
        seconds = room_in(
            unfinished + ahead + place.cost - max_unfinished, remaining, self._time(place.kind)
        )
        self._linger(place.caller if own_cap else None)
        waiting = f", and {ahead} starts are queued before this one" if ahead else ""
        return TooBusy(
            f"{'This caller' if own_cap else 'The client'} has {unfinished} of at most "
            f"{max_unfinished} unfinished tasks{waiting}. Nothing was sent. Try again in about "
            f"{math.ceil(seconds)} s (error.retry_after).",
            retry_after=seconds,
            unfinished=unfinished,
            max_unfinished=max_unfinished,
            ahead=ahead,
            scope=scope,
        )

    # -- occupying slots -----------------------------------------------------------------------

    def _hold(self, place: Place, task: Task[Any]) -> bool:
        """Let a task's unfinished parts occupy a slot; return whether there are any."""
        kind = task.kind
        fresh = {id for id in task.open_ids if (kind.name, id) not in self._held}
        # A task that cannot be polled would occupy its slot forever.
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
        for slot in going:
            # A start that was cancelled meanwhile frees the slot itself.
            if slot.granted is not None and not slot.granted.done():
                slot.granted.set_result(None)
        self._see()

    def _learn(self, place: Place) -> None:
        duration = asyncio.get_running_loop().time() - place.since
        kind = place.kind
        if kind.usual is not None:
            duration = min(duration, kind.usual[1])  # the end may have been observed much later
        average = self._usual.get(kind.name, duration)
        self._usual[kind.name] = average + NEWEST * (duration - average)

    def _time(self, kind: TaskKind[..., Any]) -> float:
        """Return how long a task of this kind typically takes (s)."""
        usual = sum(kind.usual) / 2 if kind.usual is not None else USUAL
        return self._usual.get(kind.name, usual)

    # -- polling the tasks in slots ------------------------------------------------------------

    def _linger(self, refused: str | None) -> None:
        """Keep polling for a while, so that a retry does not count tasks that have ended."""
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
        """Schedule `_update_polling`, if a start waits or was refused, or a slot is polled."""
        needless = not (self._waiting or self._refused or self._followed)
        if self._seeing is None and not needless and not self._closed:
            # Deferred, so that many changes in one iteration of the loop cause one update.
            self._seeing = asyncio.get_running_loop().call_soon(self._follow)

    def _follow(self) -> None:
        self._seeing = None
        # Poll only tasks whose end can admit a waiting start: each poll costs a request.
        all_tenants, tenants = self._fair.kept()
        all_tenants = all_tenants or None in self._refused
        tenants |= self._refused
        wanted = {
            occupied for occupied in self._holding if all_tenants or occupied.caller in tenants
        }
        for slot in self._followed - wanted:
            self._unfollow(slot)
        for slot in wanted - self._followed:
            self._followed.add(slot)
            if slot.handle is None:
                slot.handle = Task(self._services, slot.kind, tuple(slot.open))
            slot.unfollow = self._poller.follow(slot.handle)

    def _unfollow(self, place: Place) -> None:
        self._followed.discard(place)
        if place.unfollow is not None:
            place.unfollow()
            place.unfollow = None


def _closed() -> ClientClosed:
    return ClientClosed("The client was closed before the start was sent; nothing was charged.")
