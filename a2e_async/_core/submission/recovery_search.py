"""Searches for starts whose response was lost: one scan of a kind's lists serves all searches.

This module reads the pages, waits between scans and returns each search its result.
`a2e_async._core.submission.recovery_match` decides which records match.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from a2e_async._core.clock import wall_time
from a2e_async._core.http.envelope import without_charge_advice
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.http.request_events import context_of_start
from a2e_async._core.journal.rules import MAX_TIME_IN_FLIGHT, is_same_start
from a2e_async._core.submission.recovery_match import (
    MAX_RECORD_TIME_ERROR,
    SCAN_DELAYS,
    CompetingStart,
    RawRecord,
    SearchResult,
    earliest_creation,
    has_mark,
    match_starts,
    record_created_at,
    shows_marks,
)
from a2e_async._core.tasks.kind import Endpoint, TaskKind
from a2e_async._core.tasks.parsing import (
    ListEndDetector,
    contains_list,
    read_id,
    read_raw_records,
    read_total_count,
)
from a2e_async.errors import A2EError, StartOutcomeUnknown
from a2e_async.models import Record, Recovery

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiResponse, ApiSession
    from a2e_async._core.journal.recorder import JournalRecorder

MAX_PAGES: Final = 20
"""Maximum number of pages of a list that one scan reads."""

LAST_SCAN_TIMEOUT: Final = 5.0
"""Maximum duration of the last scan (s)."""

MAX_REMEMBERED_TASKS: Final = 10_000
"""How many task ids a client remembers with their starts, so that no search claims them again."""

StartId = object
"""Identifies one start: its key, or a unique object if it has none."""


class KnownTaskIds:
    """Which task belongs to which start, as far as the client and its journal know.

    There is one per client. A start claims its tasks before it uses them, and a task can be
    claimed only once. Remembers the newest `MAX_REMEMBERED_TASKS` tasks and as many starts
    without a task.
    """

    def __init__(
        self, recorder: "JournalRecorder | None", wall_clock: Callable[[], float] = wall_time
    ) -> None:
        self._recorder = recorder
        self._wall_clock = wall_clock
        self._start_by_task: OrderedDict[tuple[str, str], StartId] = OrderedDict()
        self._unresolved: OrderedDict[StartId, CompetingStart] = OrderedDict()

    def claim(
        self, kind: TaskKind[..., Any], ids: Sequence[str], start_id: StartId
    ) -> tuple[str, ...]:
        """Claim tasks for a start; return those that belong to it and to no other start."""
        owners = self._start_by_task
        own = tuple(id for id in ids if owners.setdefault((kind.name, id), start_id) == start_id)
        while len(owners) > MAX_REMEMBERED_TASKS:
            owners.popitem(last=False)
        return own

    def release(self, kind: TaskKind[..., Any], ids: Collection[str], start_id: StartId) -> None:
        """Release tasks that a search has claimed for a start which did not use them."""
        for id in ids:
            if self._start_by_task.get((kind.name, id)) == start_id:
                del self._start_by_task[kind.name, id]

    def mark_sent(self, recovery: Recovery, start_id: StartId) -> None:
        """Note that a start is being sent: until it has a task, any new record may be its own."""
        self._unresolved[start_id] = CompetingStart(recovery, in_flight=True)

    def mark_lost(self, recovery: Recovery, start_id: StartId) -> None:
        """Note that no response will arrive: only a search can find the start's task."""
        self._unresolved[start_id] = CompetingStart(recovery, in_flight=False)
        while len(self._unresolved) > MAX_REMEMBERED_TASKS:
            self._unresolved.popitem(last=False)

    def mark_resolved(self, start_id: StartId) -> None:
        """Note that the start has its task, or is known to have none."""
        self._unresolved.pop(start_id, None)

    def start_id_of(self, recovery: Recovery) -> StartId | None:
        """Return the id of an unresolved start of this client, None for any other start."""
        return next(
            (
                start_id
                for start_id, one in self._unresolved.items()
                if is_same_start(one.recovery, recovery)
            ),
            None,
        )

    def claimed_by_client(self, kind: TaskKind[..., Any], ids: Collection[str]) -> set[str]:
        """Return which of these tasks this client's starts have claimed."""
        return {id for id in ids if (kind.name, id) in self._start_by_task}

    async def claimed(self, kind: TaskKind[..., Any], ids: Collection[str]) -> set[str]:
        """Return which of these tasks are claimed, in this client or in its journal."""
        known = self.claimed_by_client(kind, ids)
        if self._recorder is not None:
            known |= await self._recorder.claimed_ids(kind, set(ids) - known)
        return known

    async def competing_starts(
        self, kind: TaskKind[..., Any], searched_ids: Collection[StartId]
    ) -> list[CompetingStart]:
        """Return the starts of a kind without a task, except the searched ones.

        Call this after reading the lists. Then the start of each listed record either is
        returned here, or has claimed the record, or is unknown to this client and its journal.
        In the other order a start could be sent, and its record listed, in between.
        """
        entries = [] if self._recorder is None else await self._recorder.unresolved_starts(kind)
        competing = [
            one
            for start_id, one in self._unresolved.items()
            if one.recovery.kind == kind.name and start_id not in searched_ids
        ]
        for key, recovery in entries:
            if key in searched_ids or key in self._unresolved:
                continue
            age = self._wall_clock() - recovery.sent_at.timestamp()
            competing.append(
                CompetingStart(
                    recovery, in_flight=recovery.lost_at is None and age < MAX_TIME_IN_FLIGHT
                )
            )
        return competing


@define(eq=False)
class _Search:
    """One search for a start, with the future of its caller. Times are event loop times (s).

    Created and changed by `RecoverySearch` alone; lives until its result is known.
    """

    recovery: Recovery
    start_id: StartId
    allow_clock_error: bool
    delays: Sequence[float]
    future: "asyncio.Future[SearchResult]"
    next_scan_at: float
    deadline: float
    scan_count: int = 0
    last_result: SearchResult = field(factory=SearchResult)

    def is_last_scan(self, now: float) -> bool:
        """Whether the scan that begins now is the last one.

        The last scan reads further back, in case the times of the records are wrong.
        """
        after = self.delays[self.scan_count + 1 :]
        return not after or now + after[0] >= self.deadline - LAST_SCAN_TIMEOUT


@define(eq=False)
class _KindSearches:
    """The searches in one kind's lists. ``search_added`` is set when a search is added.

    Created and changed by `RecoverySearch` alone; lives while a search of the kind is running.
    """

    searches: list[_Search]
    search_added: asyncio.Event = field(factory=asyncio.Event)


class RecoverySearch:
    """Searches for lost starts of one client. ``known_tasks`` has the ids of other starts.

    ``wall_clock`` returns seconds since 1970; ``delays`` are the seconds before each scan.

    Created and closed by the client's `StartRegistry`; changed on the client's event loop only.
    """

    def __init__(
        self,
        session: "ApiSession",
        *,
        request_timeout: float,
        known_tasks: KnownTaskIds,
        wall_clock: Callable[[], float] = wall_time,
        delays: Sequence[float] | None = None,
    ) -> None:
        self._session = session
        self._request_timeout = request_timeout
        self._known_tasks = known_tasks
        self._wall_clock = wall_clock
        self._delays = SCAN_DELAYS if delays is None else delays
        self._searches_by_kind: dict[str, _KindSearches] = {}
        self._scan_tasks: set[asyncio.Task[None]] = set()
        self._lists_showing_marks: set[Endpoint] = set()
        """Lists that have shown a mark unchanged."""
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the client is closing: results of a search prove nothing from then on."""
        return self._closed

    async def find(
        self,
        kind: TaskKind[..., Any],
        recovery: Recovery,
        start_id: StartId,
        *,
        allow_clock_error: bool = False,
        delays: Sequence[float] | None = None,
    ) -> SearchResult:
        """Search for a start's tasks; return at once if the kind has no list.

        A certain result is claimed for ``start_id``. ``allow_clock_error``: read the lists so far
        back that absence is proved even if the service's clock is wrong by hours. ``delays``
        replace the default seconds before each scan.
        """
        if not list_endpoints(kind) or self._closed:
            return SearchResult()
        loop = asyncio.get_running_loop()
        now = loop.time()
        delays = self._delays if delays is None else delays
        deadline = now + sum(delays) + LAST_SCAN_TIMEOUT
        future: asyncio.Future[SearchResult] = loop.create_future()
        search = _Search(
            recovery, start_id, allow_clock_error, delays, future, now + delays[0], deadline
        )
        kind_searches = self._searches_by_kind.get(kind.name)
        if kind_searches is None:
            kind_searches = self._searches_by_kind[kind.name] = _KindSearches([search])
            scan_task = loop.create_task(
                self._run_scans(kind, kind_searches), context=context_of_start()
            )
            self._scan_tasks.add(scan_task)
            scan_task.add_done_callback(self._scan_tasks.discard)
        else:
            kind_searches.searches.append(search)
            kind_searches.search_added.set()
        try:
            return await future
        except asyncio.CancelledError:
            # A scan may have claimed tasks for this search just before. Release them, so that the
            # next search for the start can claim them.
            if future.done() and not future.cancelled() and future.result().is_certain:
                self._known_tasks.release(kind, future.result().ids, start_id)
            raise
        finally:
            if search in kind_searches.searches:
                kind_searches.searches.remove(search)

    async def find_by_mark(
        self, kind: TaskKind[..., Any], recovery: Recovery, start_id: StartId
    ) -> SearchResult:
        """Do the same as `find`, but tasks with the start's mark suffice, even if they are too few.

        A mark is unique, so they belong to the start.
        """
        result = await self.find(kind, recovery, start_id)
        if result.is_certain or recovery.mark is None:
            return result
        rows = tuple(raw for raw in result.records if has_mark(kind, raw, recovery.mark))
        own = self._known_tasks.claim(kind, SearchResult(rows).ids, start_id)
        rows = tuple(raw for raw in rows if read_id(raw) in own)
        return SearchResult(rows, is_certain=True) if rows else result

    async def aclose(self) -> None:
        """Stop all searches; each returns the result of its last scan."""
        self._closed = True
        for kind_searches in self._searches_by_kind.values():
            for search in kind_searches.searches:
                if not search.future.done():
                    search.future.set_result(search.last_result)
        for scan_task in list(self._scan_tasks):
            scan_task.cancel()
        if self._scan_tasks:
            await asyncio.wait(self._scan_tasks)

    async def _run_scans(self, kind: TaskKind[..., Any], kind_searches: "_KindSearches") -> None:
        loop = asyncio.get_running_loop()
        try:
            while searches := [one for one in kind_searches.searches if not one.future.done()]:
                seconds = min(search.next_scan_at for search in searches) - loop.time()
                if seconds > 0:
                    kind_searches.search_added.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(seconds):
                            await kind_searches.search_added.wait()
                    continue
                # All searches of the kind use this scan, due or not: it costs no extra request.
                await self._scan(kind, searches)
                for search in searches:
                    self._schedule_next_scan(search, loop.time())
        except BaseException as error:
            for search in kind_searches.searches:
                if not search.future.done():
                    search.future.set_exception(error)
            raise
        finally:
            if self._searches_by_kind.get(kind.name) is kind_searches:
                del self._searches_by_kind[kind.name]

    def _schedule_next_scan(self, search: _Search, now: float) -> None:
        if search.future.done():
            return
        if now < search.next_scan_at:
            return  # it was not due and only used the scan of another search
        search.scan_count += 1
        if search.scan_count >= len(search.delays) or now >= search.deadline:
            search.future.set_result(search.last_result)
        else:
            search.next_scan_at = now + search.delays[search.scan_count]

    async def _scan(self, kind: TaskKind[..., Any], searches: list[_Search]) -> None:
        now = asyncio.get_running_loop().time()
        # Several callers may search for the same start.
        by_start_id = {search.start_id: search for search in searches}
        recoveries = [search.recovery for search in by_start_id.values()]
        try:
            scan = await scan_lists(
                self._session,
                kind,
                recoveries,
                timeout=self._request_timeout,
                deadline=max(search.deadline for search in searches),
                wall_clock=self._wall_clock,
                allow_clock_error=any(
                    search.allow_clock_error or search.is_last_scan(now) for search in searches
                ),
            )
            # Claims are read after the competing starts: a start that stops competing in
            # between has claimed its tasks by then.
            # Competing starts need a journal query, and matter only for names without a mark.
            named = any(one.mark is None and one.name for one in recoveries)
            competing = await self._known_tasks.competing_starts(kind, by_start_id) if named else []
            claimed = await self._known_tasks.claimed(kind, scan.records)
        except A2EError:
            return  # the next scan may succeed; the last result is kept
        self._lists_showing_marks |= scan.lists_showing_marks
        results = match_starts(
            kind,
            recoveries,
            list(scan.records.values()),
            claimed=claimed | self._known_tasks.claimed_by_client(kind, scan.records),
            clock_offset=scan.clock_offset,
            reached_back=scan.reached_back
            and self._lists_showing_marks.issuperset(_endpoints_proving_absence(kind)),
            competing=competing,
        )
        for start_id, result in zip(by_start_id, results, strict=True):
            waiting = [s for s in searches if s.start_id == start_id and not s.future.done()]
            for search in waiting:
                search.last_result = result
            if result.is_certain and waiting:
                self._known_tasks.claim(
                    kind, [read_id(raw) or "" for raw in result.records], start_id
                )
                for search in waiting:
                    search.future.set_result(result)


def list_endpoints(kind: TaskKind[..., Any]) -> tuple[Endpoint, ...]:
    """Return the endpoints that list tasks of a kind: running tasks first, then all or the rest.

    In this order a task is seen even if it ends between the two requests.
    """
    lists = (kind.recovery_lists, kind.processing_list, kind.list)
    return tuple(dict.fromkeys(endpoint for endpoint in lists if endpoint is not None))


def _endpoints_proving_absence(kind: TaskKind[..., Any]) -> tuple[Endpoint, ...]:
    """Return the lists that all must have shown a mark before absence counts as proved.

    A list that drops or changes names would hide the task.
    """
    if kind.list is not None and kind.recovery_lists is None:
        return (kind.list,)  # this list includes running tasks
    return list_endpoints(kind)


@define(eq=False)
class ListScan:
    """The records of a kind's lists back to before the searched starts, newest first.

    ``clock_offset``: the service's clock minus the local one (s). ``reached_back``: all lists
    were read far enough. ``lists_showing_marks``: the lists with a name that ends with a mark.

    Created and filled by `scan_lists`; lives for one scan.
    """

    records: dict[str, RawRecord] = field(factory=dict[str, RawRecord])
    clock_offset: float = 0.0
    reached_back: bool = True
    lists_showing_marks: set[Endpoint] = field(factory=set[Endpoint])


async def scan_lists(
    session: "ApiSession",
    kind: TaskKind[..., Any],
    recoveries: Sequence[Recovery],
    *,
    timeout: float,
    deadline: float,
    wall_clock: Callable[[], float],
    allow_clock_error: bool = False,
) -> ListScan:
    """Read a kind's lists back to before these starts.

    With ``allow_clock_error`` read `MAX_RECORD_TIME_ERROR` further, because the times of the
    records may be wrong. If no list can be read, raise the error of the first request.
    """
    scan = ListScan()
    failures: list[A2EError] = []
    lists = list_endpoints(kind)
    for endpoint in lists:
        reading = _ListReader(
            session, kind, endpoint, recoveries, timeout, deadline, allow_clock_error
        )
        try:
            complete = await reading.read(wall_clock)
        except A2EError as error:
            # The other lists may still show the task, but prove no absence any more.
            failures.append(error)
            complete = False
        else:
            scan.clock_offset = scan.clock_offset or reading.clock_offset or 0.0
        scan.records |= reading.records
        scan.reached_back = scan.reached_back and complete
        if shows_marks(kind, list(reading.records.values())):
            scan.lists_showing_marks.add(endpoint)
    if len(failures) == len(lists):
        raise failures[0]
    return scan


@define(eq=False)
class _ListReader:
    """Reads one list page by page, newest first.

    Created by `scan_lists` for one list.
    """

    session: "ApiSession"
    kind: TaskKind[..., Any]
    endpoint: Endpoint
    recoveries: Sequence[Recovery]
    timeout: float
    deadline: float
    allow_clock_error: bool
    records: dict[str, RawRecord] = field(factory=dict[str, RawRecord])
    clock_offset: float | None = None
    """The service's clock minus the local one (s); None if a response has no date."""

    async def read(self, wall_clock: Callable[[], float]) -> bool:
        """Read the list back to before the starts; return whether that succeeded."""
        rows, end = self.records, ListEndDetector(thorough=True)
        paging = self.kind.paging if self.endpoint is self.kind.list else None
        for page in range(1, MAX_PAGES + 1):
            params = (
                {paging.page_parameter: page, paging.size_parameter: paging.max_size}
                if paging
                else None
            )
            response = await self.session.request(
                self.endpoint.method,
                self.endpoint.path,
                params=params,
                priority=Priority.LIST,
                timeout=self.timeout,
                deadline=self.deadline,
            )
            if page == 1:
                self.clock_offset = _read_clock_offset(response, wall_clock())
            found = read_raw_records(response.data)
            if not found and not contains_list(response.data):
                return False
            fresh = {id: raw for raw in found if (id := read_id(raw)) and id not in rows}
            rows |= fresh
            times = [when for raw in found if (when := record_created_at(raw)) is not None]
            # Only in a list sorted by time does an old record mean that no newer one follows.
            sorted_back = bool(times) and times == sorted(times, reverse=True)
            total = read_total_count(response.data)
            # A short page is not necessarily the last one: the service may return fewer records
            # than requested.
            ended = end.reached(
                shows_new=bool(fresh), has_records=bool(found), seen_count=len(rows), total=total
            )
            begin = earliest_creation(self.recoveries, self.clock_offset or 0.0)
            if self.allow_clock_error or self.clock_offset is None:
                begin -= MAX_RECORD_TIME_ERROR
            if paging is None or ended or (sorted_back and times[-1] < begin):
                return True
        return False


def _read_clock_offset(response: "ApiResponse", now: float) -> float | None:
    """Return the service's clock minus the local one (s); None without a date header."""
    try:
        moment = parsedate_to_datetime(response.headers.get("Date", ""))
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now


def unknown_start_error(
    kind: TaskKind[..., Any], recovery: Recovery, reason: str, candidates: Sequence[Record]
) -> StartOutcomeUnknown:
    """Return the error of a start that may have been charged, with advice for the user."""
    if candidates:
        advice = (
            "error.candidates are tasks that may belong to it: attach the right one with "
            f"{kind.label}.attach(id)"
        )
    elif not list_endpoints(kind):
        advice = (
            "The service lists no tasks of this kind: check its website or "
            "a2e.credits.history() before you start it again"
        )
    elif recovery.name is None:
        advice = (
            f"These tasks have no name: compare inputs and times in {kind.label}.list() "
            "before you start it again"
        )
    else:
        advice = (
            f"Before you start it again, search {kind.label}.list() for the name "
            f"{recovery.name!r}, or call a2e.recover(error.recovery)"
        )
    return StartOutcomeUnknown(
        f"The {recovery.kind} start was sent, but its outcome is unknown "
        f"({without_charge_advice(reason)}). It may "
        f"have been accepted and charged, so it was not sent again. {advice}; "
        "error.recovery holds the details.",
        recovery=recovery,
        candidates=tuple(candidates),
    )
