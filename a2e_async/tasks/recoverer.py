"""Looks for starts whose answer was lost: one scan of a kind's list for all that is looked for.

What a scan shows is judged by `a2e_async.tasks.recovery`; this module reads the pages, waits
between scans and gives each start its result.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from contextvars import Context
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from a2e_async._clock import wall_time
from a2e_async.errors import A2EError, StartOutcomeUnknown
from a2e_async.models import Record, Recovery
from a2e_async.tasks.kind import Endpoint, TaskKind
from a2e_async.tasks.recovery import (
    CLOCK_ERROR,
    PAUSES,
    UNDER_WAY,
    Found,
    Raw,
    Rival,
    begins_at,
    made_at,
    match,
    repeats_names,
    same_recovery,
)
from a2e_async.tasks.status import ListEnd, is_list_data, read_id, read_rows, read_total
from a2e_async.transport.ratelimit import Priority

if TYPE_CHECKING:
    from a2e_async.tasks.book import Book
    from a2e_async.transport.session import Answer, Session

PAGES: Final = 20
"""Pages of a list that one scan reads at most."""

LAST_SCAN: Final = 5.0
"""Seconds that the last scan may take."""

REMEMBERED: Final = 10_000
"""Ids of tasks whose starts a client knows: a search must not take them for another's."""

Token = object
"""What stands for one start: its key, or an object of its own where it has none."""


@define(eq=False)
class _Open:
    """A start that was sent and has no task yet. ``in_flight``: its response may still come."""

    kind: str
    lost: Recovery
    in_flight: bool


class Claims:
    """Which task belongs to which start, as the client and its journal know.

    The client makes one and its starts change it: a start claims its tasks before anything else is
    done with them, and no task can be claimed twice. It lives as long as the client and remembers
    the newest `REMEMBERED` tasks, and as many starts that have none.
    """

    def __init__(self, book: "Book | None", wall: Callable[[], float] = wall_time) -> None:
        self._book = book
        self._wall = wall
        self._owners: OrderedDict[tuple[str, str], Token] = OrderedDict()
        self._open: OrderedDict[Token, _Open] = OrderedDict()

    def claim(self, kind: TaskKind[..., Any], ids: Sequence[str], token: Token) -> tuple[str, ...]:
        """Claim tasks for a start; return those that are its own now: no other start's."""
        owners = self._owners
        own = tuple(id for id in ids if owners.setdefault((kind.name, id), token) == token)
        while len(owners) > REMEMBERED:
            owners.popitem(last=False)
        return own

    def release(self, kind: TaskKind[..., Any], ids: Collection[str], token: Token) -> None:
        """Give up what a search has claimed for a start that did not take it."""
        for id in ids:
            if self._owners.get((kind.name, id)) == token:
                del self._owners[kind.name, id]

    def sent(self, kind: TaskKind[..., Any], lost: Recovery, token: Token) -> None:
        """The start's bytes leave now; until it has a task, any new record may be its own."""
        self._open[token] = _Open(kind.name, lost, in_flight=True)

    def lost(self, kind: TaskKind[..., Any], lost: Recovery, token: Token) -> None:
        """No response will come any more: its task can only be found."""
        self._open[token] = _Open(kind.name, lost, in_flight=False)
        while len(self._open) > REMEMBERED:
            self._open.popitem(last=False)

    def settled(self, token: Token) -> None:
        """The start has its task, or is known to have none."""
        self._open.pop(token, None)

    def token_of(self, lost: Recovery) -> Token | None:
        """Return what stands for an unresolved start of this client; None for any other."""
        return next(
            (token for token, one in self._open.items() if same_recovery(one.lost, lost)), None
        )

    def known(self, kind: TaskKind[..., Any], ids: Collection[str]) -> set[str]:
        """Return which of these tasks belong to starts of this client."""
        return {id for id in ids if (kind.name, id) in self._owners}

    async def among(self, kind: TaskKind[..., Any], ids: Collection[str]) -> set[str]:
        """Return which of these tasks belong to starts that the client or its journal knows."""
        known = self.known(kind, ids)
        if self._book is not None:
            known |= await self._book.claimed(kind, set(ids) - known)
        return known

    async def rivals(self, kind: TaskKind[..., Any], searched: Collection[Token]) -> list[Rival]:
        """Return the starts of a kind that have no task yet, but for those of these tokens.

        Read the lists before: then each record that they show is of a start that is returned
        here, or has claimed it, or is not known to this client and its journal at all.
        """
        entries = [] if self._book is None else await self._book.unresolved(kind)
        rivals = [
            Rival(one.lost, one.in_flight)
            for token, one in self._open.items()
            if one.kind == kind.name and token not in searched
        ]
        for key, lost in entries:
            if key in searched or key in self._open:
                continue
            age = self._wall() - lost.sent_at.timestamp()
            rivals.append(Rival(lost, in_flight=lost.lost_at is None and age < UNDER_WAY))
        return rivals


@define(eq=False)
class _Search:
    """One start that is looked for, and who waits for what is found."""

    lost: Recovery
    token: Token
    far: bool
    pauses: Sequence[float]
    future: "asyncio.Future[Found]"
    due: float
    deadline: float
    tries: int = 0
    seen: Found = field(factory=Found)

    def is_last(self, now: float) -> bool:
        """Whether no scan follows the one that begins now, which then trusts no record's time."""
        after = self.pauses[self.tries + 1 :]
        return not after or now + after[0] >= self.deadline - LAST_SCAN


@define(eq=False)
class _Lane:
    """What is looked for in one kind's lists. ``joined`` is set when a search is added."""

    searches: list[_Search]
    joined: asyncio.Event = field(factory=asyncio.Event)


class Recoverer:
    """Searches for one client. ``claims`` tell which ids belong to other starts.

    ``wall`` is the calendar clock in seconds since 1970; ``pauses`` the seconds before each scan.
    """

    def __init__(
        self,
        session: "Session",
        *,
        request_timeout: float,
        claims: Claims,
        wall: Callable[[], float] = wall_time,
        pauses: Sequence[float] | None = None,
    ) -> None:
        self._session = session
        self._request_timeout = request_timeout
        self._claims = claims
        self._wall = wall
        self._pauses = PAUSES if pauses is None else pauses
        self._lanes: dict[str, _Lane] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._echoing: set[Endpoint] = set()
        """Lists that were seen to repeat a mark unchanged."""
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the client is closing: what a search shows from now on proves nothing."""
        return self._closed

    async def find(
        self,
        kind: TaskKind[..., Any],
        lost: Recovery,
        token: Token,
        *,
        far: bool = False,
        pauses: Sequence[float] | None = None,
    ) -> Found:
        """Return what a search of bounded time showed; at once when the kind has no list.

        What is found for certain is claimed for the start of ``token``. ``far``: read the lists so
        far back that absence holds even if the service's clock is wrong by hours. ``pauses`` are
        the seconds before each scan, where they are not the usual ones.
        """
        if not listings(kind) or self._closed:
            return Found()
        loop = asyncio.get_running_loop()
        now = loop.time()
        pauses = self._pauses if pauses is None else pauses
        over = now + sum(pauses) + LAST_SCAN
        future: asyncio.Future[Found] = loop.create_future()
        search = _Search(lost, token, far, pauses, future, now + pauses[0], over)
        lane = self._lanes.get(kind.name)
        if lane is None:
            lane = self._lanes[kind.name] = _Lane([search])
            runner = loop.create_task(self._run(kind, lane), context=Context())
            self._running.add(runner)
            runner.add_done_callback(self._running.discard)
        else:
            lane.searches.append(search)
            lane.joined.set()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result().sure:
                ids = [id for raw in future.result().records if (id := read_id(raw))]
                self._claims.release(kind, ids, token)
            raise
        finally:
            if search in lane.searches:
                lane.searches.remove(search)

    async def aclose(self) -> None:
        """Stop searching; who waits gets what was seen so far."""
        self._closed = True
        for lane in self._lanes.values():
            for search in lane.searches:
                if not search.future.done():
                    search.future.set_result(search.seen)
        for runner in list(self._running):
            runner.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def _run(self, kind: TaskKind[..., Any], lane: "_Lane") -> None:
        loop = asyncio.get_running_loop()
        try:
            while searches := [one for one in lane.searches if not one.future.done()]:
                left = min(search.due for search in searches) - loop.time()
                if left > 0:
                    lane.joined.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(left):
                            await lane.joined.wait()
                    continue
                # All take part: a scan that is made anyway costs nothing more.
                await self._scan(kind, searches)
                for search in searches:
                    self._next(search, loop.time())
        except BaseException as error:
            for search in lane.searches:
                if not search.future.done():
                    search.future.set_exception(error)
            raise
        finally:
            if self._lanes.get(kind.name) is lane:
                del self._lanes[kind.name]

    def _next(self, search: _Search, now: float) -> None:
        if search.future.done():
            return
        if now < search.due:
            return  # it only rode along
        search.tries += 1
        if search.tries >= len(search.pauses) or now >= search.deadline:
            search.future.set_result(search.seen)
        else:
            search.due = now + search.pauses[search.tries]

    async def _scan(self, kind: TaskKind[..., Any], searches: list[_Search]) -> None:
        now = asyncio.get_running_loop().time()
        # Several callers may look for the same start.
        by_token = {search.token: search for search in searches}
        lost = [search.lost for search in by_token.values()]
        try:
            scan = await read_back(
                self._session,
                kind,
                lost,
                timeout=self._request_timeout,
                deadline=max(search.deadline for search in searches),
                wall=self._wall,
                far=any(search.far or search.is_last(now) for search in searches),
            )
            # In this order: a start that is no rival any more has claimed its tasks.
            named = any(one.mark is None and one.name for one in lost)
            rivals = await self._claims.rivals(kind, by_token) if named else []
            claimed = await self._claims.among(kind, scan.rows)
        except A2EError:
            return  # the next scan may do better; what was seen before stays
        self._echoing |= scan.echoing
        shown = match(
            kind,
            lost,
            list(scan.rows.values()),
            claimed=claimed | self._claims.known(kind, scan.rows),
            offset=scan.offset,
            complete=scan.complete and self._echoing.issuperset(_shows_absence(kind)),
            rivals=rivals,
        )
        for token, found in zip(by_token, shown, strict=True):
            waiting = [s for s in searches if s.token == token and not s.future.done()]
            for search in waiting:
                search.seen = found
            if found.sure and waiting:
                self._claims.claim(kind, [read_id(raw) or "" for raw in found.records], token)
                for search in waiting:
                    search.future.set_result(found)


def listings(kind: TaskKind[..., Any]) -> tuple[Endpoint, ...]:
    """Return all operations that list tasks of a kind: of those that run, then of all or the rest.

    Read in this order they show a task also if it ends in between.
    """
    lists = (kind.shows_new, kind.processing_at, kind.list_at)
    return tuple(dict.fromkeys(endpoint for endpoint in lists if endpoint is not None))


def _shows_absence(kind: TaskKind[..., Any]) -> tuple[Endpoint, ...]:
    """Return the lists that all have to repeat marks before a task can be called absent."""
    if kind.list_at is not None and kind.shows_new is None:
        return (kind.list_at,)  # it shows what runs, too
    return listings(kind)


@define(eq=False)
class Scan:
    """The records of a kind's lists back to before some starts, newest first.

    ``offset``: the service's clock less ours, in seconds; ``complete``: all lists were read far
    enough; ``echoing``: the lists in which a name was seen to end with a client's mark.
    """

    rows: dict[str, Raw] = field(factory=dict[str, Raw])
    offset: float = 0.0
    complete: bool = True
    echoing: set[Endpoint] = field(factory=set[Endpoint])


async def read_back(
    session: "Session",
    kind: TaskKind[..., Any],
    lost: Sequence[Recovery],
    *,
    timeout: float,
    deadline: float,
    wall: Callable[[], float],
    far: bool = False,
) -> Scan:
    """Read a kind's lists back to before these starts.

    A day further where ``far``, for the times of the records may be wrong. Raises what the session
    raises when no list could be read.
    """
    scan = Scan()
    failures: list[A2EError] = []
    lists = listings(kind)
    for endpoint in lists:
        reading = _List(session, kind, endpoint, lost, timeout, deadline, far)
        try:
            complete = await reading.read(wall)
        except A2EError as error:
            failures.append(error)
            complete = False
        else:
            scan.offset = scan.offset or reading.offset or 0.0
        scan.rows |= reading.rows
        scan.complete = scan.complete and complete
        if repeats_names(kind, list(reading.rows.values())):
            scan.echoing.add(endpoint)
    if len(failures) == len(lists):
        raise failures[0]
    return scan


@define(eq=False)
class _List:
    """One list that is read page by page, newest first."""

    session: "Session"
    kind: TaskKind[..., Any]
    endpoint: Endpoint
    lost: Sequence[Recovery]
    timeout: float
    deadline: float
    far: bool
    rows: dict[str, Raw] = field(factory=dict[str, Raw])
    offset: float | None = None
    """The service's clock less ours (s); None where it tells no time."""

    async def read(self, wall: Callable[[], float]) -> bool:
        """Read it back to before the starts; return whether that succeeded."""
        rows, end = self.rows, ListEnd(thorough=True)
        paging = self.kind.paging if self.endpoint is self.kind.list_at else None
        for page in range(1, PAGES + 1):
            params = {paging.page: page, paging.size: paging.most} if paging else None
            answer = await self.session.request(
                self.endpoint.method,
                self.endpoint.path,
                params=params,
                priority=Priority.LIST,
                timeout=self.timeout,
                deadline=self.deadline,
            )
            if page == 1:
                self.offset = _offset(answer, wall())
            found = read_rows(answer.data)
            if not found and not is_list_data(answer.data):
                return False
            fresh = {id: raw for raw in found if (id := read_id(raw)) and id not in rows}
            rows |= fresh
            times = [when for raw in found if (when := made_at(raw)) is not None]
            # Only where the newest come first do older ones tell that nothing newer is to follow.
            sorted_back = bool(times) and times == sorted(times, reverse=True)
            total = read_total(answer.data)
            # A short page alone does not tell the end: the service may give fewer than asked for.
            ended = end.reached(fresh=bool(fresh), rows=bool(found), seen=len(rows), total=total)
            begin = begins_at(self.lost, self.offset or 0.0)
            if self.far or self.offset is None:
                begin -= CLOCK_ERROR
            if paging is None or ended or (sorted_back and times[-1] < begin):
                return True
        return False


def _offset(answer: "Answer", now: float) -> float | None:
    """Return the service's clock less ours, in seconds; None where it tells no time."""
    try:
        moment = parsedate_to_datetime(answer.headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now


def unknown_start(
    kind: TaskKind[..., Any], recovery: Recovery, why: str, candidates: Sequence[Record]
) -> StartOutcomeUnknown:
    """Return the error of a start that may have been paid, with what its user can do about it."""
    if candidates:
        advice = "error.candidates are tasks that may be it: attach the one that is"
    elif not listings(kind):
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
            "before you start it anew, or let a2e.recover(error.recovery) look"
        )
    return StartOutcomeUnknown(
        f"The {recovery.kind} start was sent, but its outcome is unknown ({why}). It may "
        f"have been accepted and charged, so it was not sent again. {advice}; error.recovery "
        "holds the details.",
        recovery=recovery,
        candidates=tuple(candidates),
    )
