"""Sends one poll request and returns the records in its response."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.polling.polled_tasks import PollMode, PollRequest
from a2e_async._core.tasks.detail_request import request_detail
from a2e_async._core.tasks.kind import Endpoint, TaskKind
from a2e_async._core.tasks.parsing import (
    ListEndDetector,
    RawRecord,
    read_id,
    read_raw_records,
    read_total_count,
    records_by_id,
    unwrap_detail,
)
from a2e_async._core.typeguards import is_list, is_mapping
from a2e_async.errors import A2EError, DecodeError

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiResponse, ApiSession

MAX_LIST_PAGES: Final = 5
"""List pages read in one poll; a task further back is polled by its detail, if it has one."""


MAX_LIST_PAGES_WITHOUT_DETAIL: Final = 20
"""The same limit for tasks that have no usable detail endpoint."""


class StatusFetcher:
    """Sends poll requests. ``request_timeout`` limits each HTTP request (s)."""

    def __init__(self, session: "ApiSession", request_timeout: float) -> None:
        # The schedule retries failed polls itself, with its own back-off.
        self._request = partial(
            session.request, priority=Priority.POLL, timeout=request_timeout, retry=False
        )

    async def fetch(self, request: PollRequest) -> tuple[Mapping[str, Any], bool]:
        """Return the records by id, and whether a missing id is certainly not in the response.

        Raises `ApiError`, `TransportError` or `DecodeError` if there is no usable response.
        """
        kind = request.kind
        if request.mode is PollMode.DETAIL and kind.detail is not None:
            id = request.polled_tasks[0].id
            response, path = await request_detail(self._request, kind, kind.detail, id)
            row = unwrap_detail(kind, response.data, id)
            # A response without a record proves absence only if the list can confirm it.
            listed = kind.poll_endpoint is not None and kind.list is not None
            if row is None and not (listed and _has_no_records(response.data)):
                raise _wrong_shape_error(kind, path, response)
            return ({} if row is None else {id: row}), True
        if request.mode is PollMode.BATCH and kind.batch_detail is not None:
            ids = [polled.id for polled in request.polled_tasks]
            response = await self._request(
                kind.batch_detail.method, kind.batch_detail.path, json={"ids": ids}
            )
            return records_by_id(kind, _records_in(kind, kind.batch_detail.path, response)), True
        if request.mode is PollMode.PROCESSING and kind.processing_list is not None:
            return records_by_id(
                kind, await self._read_unpaged_list(kind, kind.processing_list)
            ), True
        return await (
            self._confirm_absence(request) if request.confirms_absence else self._read_list(request)
        )

    async def _read_list(self, request: PollRequest) -> tuple[Mapping[str, Any], bool]:
        kind = request.kind
        wanted = {polled.id for polled in request.polled_tasks}
        has_detail = kind.poll_endpoint is not None
        found: dict[str, RawRecord] = {}
        end = ListEndDetector(thorough=not has_detail)
        for page in range(1, (MAX_LIST_PAGES if has_detail else MAX_LIST_PAGES_WITHOUT_DETAIL) + 1):
            try:
                response, rows = await self._read_page(kind, page)
            except A2EError:
                if page == 1:
                    raise
                return found, False  # the records of the pages before it are still valid
            before = len(found)
            records_by_id(kind, rows, found)
            total = read_total_count(response.data)
            # A service that returns short pages or counts wrongly must not make tasks look deleted:
            # tasks without a detail endpoint are searched for up to the end of the list.
            is_short = len(rows) < kind.max_page_size
            complete = len(found) >= total if total is not None else is_short
            ends = kind.paging is None or (has_detail and complete)
            shows_new = len(found) > before
            ended = end.reached(
                shows_new=shows_new, has_records=bool(rows), seen_count=len(found), total=total
            )
            if ended or ends or wanted <= found.keys():
                return found, True
        return found, has_detail

    async def _confirm_absence(self, request: PollRequest) -> tuple[Mapping[str, Any], bool]:
        """Read every list that could contain the task, whatever the list reports as its length."""
        kind = request.kind
        wanted = {polled.id for polled in request.polled_tasks}
        found: dict[str, RawRecord] = {}
        for endpoint in {kind.processing_list, kind.recovery_lists} - {kind.list}:
            if endpoint is None:
                continue
            records_by_id(kind, await self._read_unpaged_list(kind, endpoint), found)
        shown, end = False, ListEndDetector(thorough=True)
        for page in range(1, MAX_LIST_PAGES_WITHOUT_DETAIL + 1):
            before = len(found)
            response, rows = await self._read_page(kind, page)
            records_by_id(kind, rows, found)
            # `null` is not a list: it does not prove that there are no tasks.
            shown = shown or _contains_list(response.data)
            shows_new, total = len(found) > before, read_total_count(response.data)
            ended = end.reached(
                shows_new=shows_new, has_records=bool(rows), seen_count=len(found), total=total
            )
            if wanted <= found.keys() or kind.paging is None or ended:
                return found, shown
        return found, shown and kind.poll_endpoint is not None

    async def _read_page(
        self, kind: TaskKind[..., Any], page: int
    ) -> "tuple[ApiResponse, list[RawRecord]]":
        assert kind.list is not None  # noqa: S101  # LIST is planned only for kinds with a list
        names = kind.paging
        paging = (
            {names.page_parameter: page, names.size_parameter: names.max_size} if names else None
        )
        response = await self._request(kind.list.method, kind.list.path, params=paging)
        return response, _records_in(kind, kind.list.path, response)

    async def _read_unpaged_list(
        self, kind: TaskKind[..., Any], endpoint: Endpoint
    ) -> list[RawRecord]:
        return _records_in(kind, endpoint.path, await self._request(endpoint.method, endpoint.path))


def _records_in(kind: TaskKind[..., Any], path: str, response: "ApiResponse") -> list[RawRecord]:
    rows = read_raw_records(response.data)
    if not any(map(read_id, rows)) and not _has_no_records(response.data):
        raise _wrong_shape_error(kind, path, response)
    return rows


def _contains_list(data: Any) -> bool:
    return is_list(data) or (is_mapping(data) and any(map(is_list, data.values())))


def _has_no_records(data: Any) -> bool:
    """Return whether a response holds no record, as opposed to something else than records."""
    if data is None or data == [] or data == {}:
        return True
    return is_mapping(data) and any(value == [] for value in data.values())


def _wrong_shape_error(kind: TaskKind[..., Any], path: str, response: "ApiResponse") -> DecodeError:
    return DecodeError(
        f"{path} returned {type(response.data).__name__} instead of {kind.name} records.",
        path=path,
        http_status=response.http_status,
        trace_id=response.trace_id,
    )
