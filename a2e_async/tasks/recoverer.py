"""Looks for starts whose answer was lost: one scan of a kind's list for all that is looked for.

What a scan shows is judged by `a2e_async.tasks.recovery`; this module reads the pages, waits
between scans and gives each start its result.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
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
    PAUSES,
    Found,
    Raw,
    begins_at,
    made_at,
    match,
    repeats_names,
)
from a2e_async.tasks.status import read_id, read_rows, read_total
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

Claimed = Callable[[TaskKind[..., Any], Collection[str]], Awaitable[Collection[str]]]


class Claims:
    """Whose is whose: which tasks belong to starts that the client, or its journal, knows."""

    def __init__(self, book: "Book | None") -> None:
        self._book = book
        self._ours: OrderedDict[tuple[str, str], None] = OrderedDict()

    def add(self, kind: TaskKind[..., Any], ids: Sequence[str]) -> None:
        """Remember the tasks of a start of this client."""
        for id in ids:
            self._ours[kind.name, id] = None
        while len(self._ours) > REMEMBERED:
            self._ours.popitem(last=False)

    async def among(self, kind: TaskKind[..., Any], ids: Collection[str]) -> set[str]:
        """Return which of these tasks are known to belong to starts."""
        known = {id for id in ids if (kind.name, id) in self._ours}
        if self._book is not None:
            known |= await self._book.claimed(kind, set(ids) - known)
        return known


@define(eq=False)
class _Search:
    """One start that is looked for, and who waits for what is found."""

    lost: Recovery
    future: "asyncio.Future[Found]"
    due: float
    deadline: float
    tries: int = 0
    seen: Found = field(factory=Found)


class Recoverer:
    """Searches for one client. ``claimed`` tells which ids belong to other starts.

    ``wall`` is the calendar clock in seconds since 1970; ``pauses`` the seconds before each scan.
    """

    def __init__(
        self,
        session: "Session",
        *,
        request_timeout: float,
        claimed: Claimed,
        wall: Callable[[], float] = wall_time,
        pauses: Sequence[float] | None = None,
    ) -> None:
        self._session = session
        self._request_timeout = request_timeout
        self._claimed = claimed
        self._wall = wall
        self._pauses = PAUSES if pauses is None else pauses
        self._lanes: dict[str, list[_Search]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._echoes: set[str] = set()
        """Kinds whose list was seen to repeat names."""
        self._closed = False

    async def find(self, kind: TaskKind[..., Any], lost: Recovery) -> Found:
        """Return what a search of bounded time showed; at once when the kind has no list."""
        if listing(kind) is None or self._closed:
            return Found()
        loop = asyncio.get_running_loop()
        now = loop.time()
        over = now + sum(self._pauses) + LAST_SCAN
        search = _Search(lost, loop.create_future(), now + self._pauses[0], over)
        lane = self._lanes.get(kind.name)
        if lane is None:
            lane = self._lanes[kind.name] = []
            runner = loop.create_task(self._run(kind, lane), context=Context())
            self._running.add(runner)
            runner.add_done_callback(self._running.discard)
        lane.append(search)
        try:
            return await search.future
        finally:
            if search in lane:
                lane.remove(search)

    async def aclose(self) -> None:
        """Stop searching; who waits gets what was seen so far."""
        self._closed = True
        for lane in self._lanes.values():
            for search in lane:
                if not search.future.done():
                    search.future.set_result(search.seen)
        for runner in list(self._running):
            runner.cancel()
        if self._running:
            await asyncio.wait(self._running)

    async def _run(self, kind: TaskKind[..., Any], lane: list[_Search]) -> None:
        loop = asyncio.get_running_loop()
        try:
            while lane:
                await asyncio.sleep(max(0.0, min(search.due for search in lane) - loop.time()))
                # Everyone rides along: a scan that is made anyway costs nothing more.
                searches = list(lane)
                if searches:
                    await self._scan(kind, searches)
                for search in searches:
                    self._next(search, loop.time())
        except BaseException as error:
            for search in lane:
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
        if search.tries >= len(self._pauses) or now >= search.deadline:
            search.future.set_result(search.seen)
        else:
            search.due = now + self._pauses[search.tries]

    async def _scan(self, kind: TaskKind[..., Any], searches: list[_Search]) -> None:
        lost = [search.lost for search in searches]
        try:
            rows, offset, complete = await read_back(
                self._session,
                kind,
                lost,
                timeout=self._request_timeout,
                deadline=max(search.deadline for search in searches),
                wall=self._wall,
            )
        except A2EError:
            return  # the next scan may do better; what was seen before stays
        claimed = await self._claimed(kind, [id for raw in rows if (id := read_id(raw))])
        if repeats_names(kind, rows):
            self._echoes.add(kind.name)
        known = complete and kind.name in self._echoes
        shown = match(kind, lost, rows, claimed=claimed, offset=offset, complete=known)
        for search, found in zip(searches, shown, strict=True):
            search.seen = found
            if found.sure and not search.future.done():
                search.future.set_result(found)


def listing(kind: TaskKind[..., Any]) -> Endpoint | None:
    """Return the operation that shows a kind's newest tasks, running ones too, or None."""
    return kind.shows_new or kind.list_at


async def read_back(
    session: "Session",
    kind: TaskKind[..., Any],
    lost: Sequence[Recovery],
    *,
    timeout: float,
    deadline: float,
    wall: Callable[[], float],
) -> tuple[list[Raw], float, bool]:
    """Return the list's records back to before these starts, newest first.

    With them the service's clock less ours (s), and whether the list was read far enough.
    """
    endpoint = listing(kind)
    if endpoint is None:
        return [], 0.0, False
    rows: dict[str, Raw] = {}
    offset = 0.0
    paging = kind.paging if endpoint is kind.list_at else None
    for page in range(1, PAGES + 1):
        params = {paging.page: page, paging.size: paging.most} if paging else None
        answer = await session.request(
            endpoint.method,
            endpoint.path,
            params=params,
            priority=Priority.LIST,
            timeout=timeout,
            deadline=deadline,
        )
        if page == 1:
            offset = _offset(answer, wall())
        found = read_rows(answer.data)
        fresh = {id: raw for raw in found if (id := read_id(raw)) and id not in rows}
        rows |= fresh
        times = [when for raw in found if (when := made_at(raw)) is not None]
        # Only where the newest come first do older ones tell that nothing newer is to follow.
        sorted_back = bool(times) and times == sorted(times, reverse=True)
        total = read_total(answer.data)
        # A short page alone does not tell the end: the service may give fewer than asked for.
        whole = paging is None or not fresh or (total is not None and len(rows) >= total)
        if whole or (sorted_back and times[-1] < begins_at(lost, offset)):
            return list(rows.values()), offset, True
    return list(rows.values()), offset, False


def _offset(answer: "Answer", now: float) -> float:
    """Return the service's clock less ours, in seconds; 0 where it tells no time."""
    try:
        moment = parsedate_to_datetime(answer.headers.get("Date", ""))
    except (TypeError, ValueError):
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now


def unknown_start(
    kind: TaskKind[..., Any], recovery: Recovery, why: str, candidates: Sequence[Record]
) -> StartOutcomeUnknown:
    """Return the error of a start that may have been paid, with what its user can do about it."""
    if candidates:
        advice = "error.candidates are tasks that may be it: attach the one that is"
    elif listing(kind) is None:
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
