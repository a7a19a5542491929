"""Searches for starts whose response was lost: one scan of a kind's lists serves all searches.

This module reads the pages, waits between scans and returns each search its result.
`a2e_async.tasks.recovery` decides which records match.
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
"""Maximum number of pages of a list that one scan reads."""

LAST_SCAN: Final = 5.0
"""Maximum duration of the last scan (s)."""

REMEMBERED: Final = 10_000
"""How many task ids a client remembers with their starts, so that no search claims them again."""

Token = object
"""Identifies one start: its key, or a unique object if it has none."""


@define(eq=False)
class _Open:
    """A start that was sent and has no task yet. ``in_flight``: a response may still arrive."""

    kind: str
    lost: Recovery
    in_flight: bool


class Claims:
    """Which task belongs to which start, as far as the client and its journal know.

    There is one per client. A start claims its tasks before it uses them, and a task can be
    claimed only once. Remembers the newest `MAX_REMEMBERED_TASKS` tasks and as many starts
    without a task.
    """

    def __init__(self, book: "Book | None", wall: Callable[[], float] = wall_time) -> None:
        self._book = book
        self._wall = wall
        self._owners: OrderedDict[tuple[str, str], Token] = OrderedDict()
        self._open: OrderedDict[Token, _Open] = OrderedDict()

    def claim(self, kind: TaskKind[..., Any], ids: Sequence[str], token: Token) -> tuple[str, ...]:
        """Claim tasks for a start; return those that belong to it and to no other start."""
        owners = self._owners
        own = tuple(id for id in ids if owners.setdefault((kind.name, id), token) == token)
        while len(owners) > REMEMBERED:
            owners.popitem(last=False)
        return own

    def release(self, kind: TaskKind[..., Any], ids: Collection[str], token: Token) -> None:
        """Release tasks that a search has claimed for a start which did not use them."""
        for id in ids:
            if self._owners.get((kind.name, id)) == token:
                del self._owners[kind.name, id]

    def sent(self, kind: TaskKind[..., Any], lost: Recovery, token: Token) -> None:
        """Note that a start is being sent: until it has a task, any new record may be its own."""
        self._open[token] = _Open(kind.name, lost, in_flight=True)

    def lost(self, kind: TaskKind[..., Any], lost: Recovery, token: Token) -> None:
        """Note that no response will arrive: only a search can find the start's task."""
        self._open[token] = _Open(kind.name, lost, in_flight=False)
        while len(self._open) > REMEMBERED:
            self._open.popitem(last=False)

    def settled(self, token: Token) -> None:
        """Note that the start has its task, or is known to have none."""
        self._open.pop(token, None)

    def token_of(self, lost: Recovery) -> Token | None:
        """Return the id of an unresolved start of this client, None for any other start."""
        return next(
            (start_id for start_id, one in self._open.items() if same_recovery(one.lost, lost)),
            None,
        )

    def known(self, kind: TaskKind[..., Any], ids: Collection[str]) -> set[str]:
        """Return which of these tasks this client's starts have claimed."""
        return {id for id in ids if (kind.name, id) in self._owners}

    async def among(self, kind: TaskKind[..., Any], ids: Collection[str]) -> set[str]:
        """Return which of these tasks are claimed, in this client or in its journal."""
        known = self.known(kind, ids)
        if self._book is not None:
            known |= await self._book.claimed(kind, set(ids) - known)
        return known

    async def rivals(self, kind: TaskKind[..., Any], searched: Collection[Token]) -> list[Rival]:
        """Return the starts of a kind without a task, except the searched ones.

        Call this after reading the lists. Then the start of each listed record either is
        returned here, or has claimed the record, or is unknown to this client and its journal.
        In the other order a start could be sent, and its record listed, in between.
        """
        entries = [] if self._book is None else await self._book.unresolved(kind)
        competing = [
            Rival(one.lost, one.in_flight)
            for start_id, one in self._open.items()
            if one.kind == kind.name and start_id not in searched
        ]
        for key, recovery in entries:
            if key in searched or key in self._open:
                continue
            age = self._wall() - recovery.sent_at.timestamp()
            competing.append(
                Rival(recovery, in_flight=recovery.lost_at is None and age < UNDER_WAY)
            )
        return competing


@define(eq=False)
class _Search:
    """One search for a start, with the future of its caller. Times are event loop times (s)."""

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
        """Whether the scan that begins now is the last one.

        The last scan reads further back, in case the times of the records are wrong.
        """
        after = self.pauses[self.tries + 1 :]
        return not after or now + after[0] >= self.deadline - LAST_SCAN


@define(eq=False)
class _Lane:
    """The searches in one kind's lists. ``search_added`` is set when a search is added."""

    searches: list[_Search]
    joined: asyncio.Event = field(factory=asyncio.Event)


class Recoverer:
    """Searches for lost starts of one client. ``known_tasks`` has the ids of other starts.

    ``wall_clock`` returns seconds since 1970; ``delays`` are the seconds before each scan.
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
        """Lists that have shown a mark unchanged."""
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the client is closing: results of a search prove nothing from then on."""
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
        """Search for a start's tasks; return at once if the kind has no list.

        A certain result is claimed for ``start_id``. ``allow_clock_error``: read the lists so far
        back that absence is proved even if the service's clock is wrong by hours. ``delays``
        replace the default seconds before each scan.
        """
        if not listings(kind) or self._closed:
            return Found()
        loop = asyncio.get_running_loop()
        now = loop.time()
        pauses = self._pauses if pauses is None else pauses
        deadline = now + sum(pauses) + LAST_SCAN
        future: asyncio.Future[Found] = loop.create_future()
        search = _Search(lost, token, far, pauses, future, now + pauses[0], deadline)
        kind_searches = self._lanes.get(kind.name)
        if kind_searches is None:
            kind_searches = self._lanes[kind.name] = _Lane([search])
            scan_task = loop.create_task(self._run(kind, kind_searches), context=Context())
            self._running.add(scan_task)
            scan_task.add_done_callback(self._running.discard)
        else:
            kind_searches.searches.append(search)
            kind_searches.joined.set()
        try:
            return await future
        except asyncio.CancelledError:
            # A scan may have claimed tasks for this search just before. Release them, so that the
            # next search for the start can claim them.
            if future.done() and not future.cancelled() and future.result().sure:
                ids = [id for raw in future.result().records if (id := read_id(raw))]
                self._claims.release(kind, ids, token)
            raise
        finally:
            if search in kind_searches.searches:
                kind_searches.searches.remove(search)

    async def aclose(self) -> None:
        """Stop all searches; each returns the result of its last scan."""
        self._closed = True
        for kind_searches in self._lanes.values():
            for search in kind_searches.searches:
                if not search.future.done():
                    search.future.set_result(search.seen)
        for scan_task in list(self._running):
            scan_task.cancel()
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
                # All searches of the kind use this scan, due or not: it costs no extra request.
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
            return  # it was not due and only used the scan of another search
        search.tries += 1
        if search.tries >= len(search.pauses) or now >= search.deadline:
            search.future.set_result(search.seen)
        else:
            search.due = now + search.pauses[search.tries]

    async def _scan(self, kind: TaskKind[..., Any], searches: list[_Search]) -> None:
        now = asyncio.get_running_loop().time()
        # Several callers may search for the same start.
        by_start_id = {search.token: search for search in searches}
        recoveries = [search.lost for search in by_start_id.values()]
        try:
            scan = await read_back(
                self._session,
                kind,
                recoveries,
                timeout=self._request_timeout,
                deadline=max(search.deadline for search in searches),
                wall=self._wall,
                far=any(search.far or search.is_last(now) for search in searches),
            )
            # Claims are read after the competing starts: a start that stops competing in
            # between has claimed its tasks by then.
            # Competing starts need a journal query, and matter only for names without a mark.
            named = any(one.mark is None and one.name for one in recoveries)
            competing = await self._claims.rivals(kind, by_start_id) if named else []
            claimed = await self._claims.among(kind, scan.rows)
        except A2EError:
            return  # the next scan may succeed; the last result is kept
        self._echoing |= scan.echoing
        shown = match(
            kind,
            recoveries,
            list(scan.rows.values()),
            claimed=claimed | self._claims.known(kind, scan.rows),
            offset=scan.offset,
            complete=scan.complete and self._echoing.issuperset(_shows_absence(kind)),
            rivals=competing,
        )
        for start_id, result in zip(by_start_id, shown, strict=True):
            waiting = [s for s in searches if s.token == start_id and not s.future.done()]
            for search in waiting:
                search.seen = result
            if result.sure and waiting:
                self._claims.claim(kind, [read_id(raw) or "" for raw in result.records], start_id)
                for search in waiting:
                    search.future.set_result(result)


def listings(kind: TaskKind[..., Any]) -> tuple[Endpoint, ...]:
    """Return the endpoints that list tasks of a kind: running tasks first, then all or the rest.

    In this order a task is seen even if it ends between the two requests.
    """
    lists = (kind.shows_new, kind.processing_at, kind.list_at)
    return tuple(dict.fromkeys(endpoint for endpoint in lists if endpoint is not None))


def _shows_absence(kind: TaskKind[..., Any]) -> tuple[Endpoint, ...]:
    """Return the lists that all must have shown a mark before absence counts as proved.

    A list that drops or changes names would hide the task.
    """
    if kind.list_at is not None and kind.shows_new is None:
        return (kind.list_at,)  # this list includes running tasks
    return listings(kind)


@define(eq=False)
class Scan:
    """The records of a kind's lists back to before the searched starts, newest first.

    ``clock_offset``: the service's clock minus the local one (s). ``reached_back``: all lists
    were read far enough. ``lists_showing_marks``: the lists with a name that ends with a mark.
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

    With ``allow_clock_error`` read `MAX_RECORD_TIME_ERROR` further, because the times of the
    records may be wrong. If no list can be read, raise the error of the first request.
    """
    scan = Scan()
    failures: list[A2EError] = []
    lists = listings(kind)
    for endpoint in lists:
        reading = _List(session, kind, endpoint, lost, timeout, deadline, far)
        try:
            complete = await reading.read(wall)
        except A2EError as error:
            # The other lists may still show the task, but prove no absence any more.
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
    """Reads one list page by page, newest first."""

    session: "Session"
    kind: TaskKind[..., Any]
    endpoint: Endpoint
    lost: Sequence[Recovery]
    timeout: float
    deadline: float
    far: bool
    rows: dict[str, Raw] = field(factory=dict[str, Raw])
    offset: float | None = None
    """The service's clock minus the local one (s); None if a response has no date."""

    async def read(self, wall: Callable[[], float]) -> bool:
        """Read the list back to before the starts; return whether that succeeded."""
        rows, end = self.rows, ListEnd(thorough=True)
        paging = self.kind.paging if self.endpoint is self.kind.list_at else None
        for page in range(1, PAGES + 1):
            params = {paging.page: page, paging.size: paging.most} if paging else None
            response = await self.session.request(
                self.endpoint.method,
                self.endpoint.path,
                params=params,
                priority=Priority.LIST,
                timeout=self.timeout,
                deadline=self.deadline,
            )
            if page == 1:
                self.offset = _offset(response, wall())
            found = read_rows(response.data)
            if not found and not is_list_data(response.data):
                return False
            fresh = {id: raw for raw in found if (id := read_id(raw)) and id not in rows}
            rows |= fresh
            times = [when for raw in found if (when := made_at(raw)) is not None]
            # Only in a list sorted by time does an old record mean that no newer one follows.
            sorted_back = bool(times) and times == sorted(times, reverse=True)
            total = read_total(response.data)
            # A short page is not necessarily the last one: the service may return fewer records
            # than requested.
            ended = end.reached(fresh=bool(fresh), rows=bool(found), seen=len(rows), total=total)
            begin = begins_at(self.lost, self.offset or 0.0)
            if self.far or self.offset is None:
                begin -= CLOCK_ERROR
            if paging is None or ended or (sorted_back and times[-1] < begin):
                return True
        return False


def _offset(answer: "Answer", now: float) -> float | None:
    """Return the service's clock minus the local one (s); None without a date header."""
    try:
        moment = parsedate_to_datetime(answer.headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now


def unknown_start(
    kind: TaskKind[..., Any], recovery: Recovery, why: str, candidates: Sequence[Record]
) -> StartOutcomeUnknown:
    """Return the error of a start that may have been charged, with advice for the user."""
    if candidates:
        advice = (
            "error.candidates are tasks that may belong to it: attach the right one with "
            f"a2e.{kind.name}.attach(id)"
        )
    elif not listings(kind):
        advice = (
            "The service lists no tasks of this kind: check its website or "
            "a2e.credits.history() before you start it again"
        )
    elif recovery.name is None:
        advice = (
            f"These tasks have no name: compare inputs and times in a2e.{kind.name}.list() "
            "before you start it again"
        )
    else:
        advice = (
            f"Before you start it again, search a2e.{kind.name}.list() for the name "
            f"{recovery.name!r}, or call a2e.recover(error.recovery)"
        )
    return StartOutcomeUnknown(
        f"The {recovery.kind} start was sent, but its outcome is unknown ({why}). It may "
        f"have been accepted and charged, so it was not sent again. {advice}; "
        "error.recovery holds the details.",
        recovery=recovery,
        candidates=tuple(candidates),
    )
