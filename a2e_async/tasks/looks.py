"""Sends one poll request and returns the records in its response."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from a2e_async.errors import A2EError, DecodeError
from a2e_async.narrow import is_list, is_map
from a2e_async.tasks.kind import Endpoint, TaskKind
from a2e_async.tasks.status import ListEnd, Raw, by_id, read_id, read_one, read_rows, read_total
from a2e_async.tasks.watches import Look, Mode
from a2e_async.transport.ratelimit import Priority

if TYPE_CHECKING:
    from a2e_async.transport.session import Answer, Session

LIST_PAGES: Final = 5
"""List pages read in one poll; a task further back is polled by its detail, if it has one."""


LAST_PAGE: Final = 20
"""The same limit for tasks that have no usable detail endpoint."""


class Looker:
    """Sends poll requests. ``request_timeout`` limits each HTTP request (s)."""

    def __init__(self, session: "Session", request_timeout: float) -> None:
        self._session = session
        self._request_timeout = request_timeout

    async def fetch(self, look: Look) -> tuple[Mapping[str, Any], bool]:
        """Return the records by id, and whether a missing id is certainly not in the response.

        Raises `ApiError`, `TransportError` or `DecodeError` if there is no usable response.
        """
        kind = look.kind
        if look.mode is Mode.DETAIL and kind.detail_at is not None:
            id = look.watches[0].id
            path, params = kind.detail_at.for_id(id)
            response = await self._get(kind.detail_at.method, path, params=params)
            row = read_one(kind, response.data, id)
            # A response without a record proves absence only if the list can confirm it.
            listed = kind.look_at is not None and kind.list_at is not None
            if row is None and not (listed and _empty(response.data)):
                raise _shapeless(kind, path, response)
            return ({} if row is None else {id: row}), True
        if look.mode is Mode.BATCH and kind.batch_at is not None:
            ids = [polled.id for polled in look.watches]
            response = await self._get(kind.batch_at.method, kind.batch_at.path, json={"ids": ids})
            return by_id(kind, _rows(kind, kind.batch_at.path, response)), True
        if look.mode is Mode.PROCESSING and kind.processing_at is not None:
            return by_id(kind, await self._read_new(kind, kind.processing_at)), True
        return await (self._confirm(look) if look.confirms else self._read_list(look))

    async def _read_list(self, look: Look) -> tuple[Mapping[str, Any], bool]:
        kind = look.kind
        wanted = {polled.id for polled in look.watches}
        alone = kind.look_at is not None
        found: dict[str, Raw] = {}
        end = ListEnd(thorough=not alone)
        for page in range(1, (LIST_PAGES if alone else LAST_PAGE) + 1):
            try:
                response, rows = await self._read_page(kind, page)
            except A2EError:
                if page == 1:
                    raise
                return found, False  # the records of the pages before it are still valid
            before = len(found)
            by_id(kind, rows, found)
            total = read_total(response.data)
            # A service that returns short pages or counts wrongly must not make tasks look deleted:
            # tasks without a detail endpoint are searched for up to the end of the list.
            short = len(rows) < kind.page_most
            whole = len(found) >= total if total is not None else short
            ends = kind.paging is None or (alone and whole)
            fresh = len(found) > before
            ended = end.reached(fresh=fresh, rows=bool(rows), seen=len(found), total=total)
            if ended or ends or wanted <= found.keys():
                return found, True
        return found, alone

    async def _confirm(self, look: Look) -> tuple[Mapping[str, Any], bool]:
        """Read every list that could contain the task, whatever the list reports as its length."""
        kind = look.kind
        wanted = {polled.id for polled in look.watches}
        found: dict[str, Raw] = {}
        for place in {kind.processing_at, kind.shows_new} - {None, kind.list_at}:
            assert place is not None  # noqa: S101  # removed from the set above
            by_id(kind, await self._read_new(kind, place), found)
        whole, end = False, ListEnd(thorough=True)
        for page in range(1, LAST_PAGE + 1):
            before = len(found)
            response, rows = await self._read_page(kind, page)
            by_id(kind, rows, found)
            # `null` is not a list: it does not prove that there are no tasks.
            whole = whole or _holds_list(response.data)
            fresh, total = len(found) > before, read_total(response.data)
            ended = end.reached(fresh=fresh, rows=bool(rows), seen=len(found), total=total)
            if wanted <= found.keys() or kind.paging is None or ended:
                return found, whole
        return found, whole and kind.look_at is not None

    async def _read_page(self, kind: TaskKind[..., Any], page: int) -> "tuple[Answer, list[Raw]]":
        assert kind.list_at is not None  # noqa: S101  # LIST is planned only for kinds with a list
        names = kind.paging
        paging = {names.page: page, names.size: names.most} if names else None
        response = await self._get(kind.list_at.method, kind.list_at.path, params=paging)
        return response, _rows(kind, kind.list_at.path, response)

    async def _read_new(self, kind: TaskKind[..., Any], at: Endpoint) -> list[Raw]:
        return _rows(kind, at.path, await self._get(at.method, at.path))

    async def _get(
        self, method: str, path: str, *, params: Any = None, json: Any = None
    ) -> "Answer":
        return await self._session.request(
            method,
            path,
            params=params,
            json=json,
            priority=Priority.LOOK,
            timeout=self._request_timeout,
            # The schedule retries failed polls itself, with its own back-off.
            retry=False,
        )


def _rows(kind: TaskKind[..., Any], path: str, answer: "Answer") -> list[Raw]:
    rows = read_rows(answer.data)
    if not any(map(read_id, rows)) and not _empty(answer.data):
        raise _shapeless(kind, path, answer)
    return rows


def _holds_list(data: Any) -> bool:
    return is_list(data) or (is_map(data) and any(map(is_list, data.values())))


def _empty(data: Any) -> bool:
    """Return whether a response holds no record, as opposed to something else than records."""
    if data is None or data == [] or data == {}:
        return True
    return is_map(data) and any(value == [] for value in data.values())


def _shapeless(kind: TaskKind[..., Any], path: str, answer: "Answer") -> DecodeError:
    return DecodeError(
        f"{path} returned {type(answer.data).__name__} instead of {kind.name} records.",
        path=path,
        http_status=answer.http_status,
        trace_id=answer.trace_id,
    )
