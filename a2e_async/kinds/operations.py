"""The free operations shared by all kinds: records, lists, quotes, deletion."""

import logging
import math
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from a2e_async._core.context import RequestContext
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.tasks.detail_request import request_detail
from a2e_async._core.tasks.kind import Endpoint, TaskKind, check_pollable, check_task_id
from a2e_async._core.tasks.parsing import (
    ListEndDetector,
    read_id,
    read_raw_records,
    read_record,
    read_record_on_demand,
    read_total_count,
    records_by_id,
    unwrap_detail,
)
from a2e_async._core.typeguards import is_mapping, parse_price
from a2e_async.errors import ApiError, InvalidInput, InvalidRequest, NotFound
from a2e_async.models import Page, Record

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiResponse

R = TypeVar("R", bound=Record)
T = TypeVar("T")

logger: Final = logging.getLogger("a2e_async.kinds")


def require_endpoint(
    kind: TaskKind[..., Any], endpoint: Endpoint | None, operation: str
) -> Endpoint:
    """Return the endpoint; raise `InvalidInput` if the service has none."""
    if endpoint is None:
        raise InvalidInput(f"{kind.name} has no {operation} operation at the service.")
    return endpoint


def read_records(context: RequestContext, kind: TaskKind[..., R], data: Any) -> tuple[R, ...]:
    """Return the records of a list response; rows without an id are skipped and logged."""
    rows = read_raw_records(data)
    nameless = sum(1 for raw in rows if read_id(raw) is None)
    if nameless:
        logger.warning("skipped %d %s records without an id", nameless, kind.name)
    return tuple(
        read_record(kind, raw, context.source) for raw in records_by_id(kind, rows).values()
    )


async def get_many(
    context: RequestContext, kind: TaskKind[..., R], ids: Sequence[str]
) -> dict[str, R]:
    """Return records by id, in the order of ``ids``; see `TaskNamespace.get_many`."""
    if kind.batch_detail is None:
        raise InvalidInput(f"{kind.name} has no batchDetail operation; use get().")
    given_ids: Any = ids
    if isinstance(given_ids, str | bytes | Mapping) or not isinstance(given_ids, Iterable):
        raise InvalidInput("get_many takes a list of ids; for one id use get().", field="ids")
    found: dict[str, R] = {}
    wanted = list(dict.fromkeys(map(check_task_id, ids)))
    for first in range(0, len(wanted), kind.max_batch_size):
        chunk = wanted[first : first + kind.max_batch_size]
        response = await context.session.request(
            kind.batch_detail.method,
            kind.batch_detail.path,
            json={"ids": chunk},
            **context.request_options(),
        )
        found.update((record.id, record) for record in read_records(context, kind, response.data))
    return {id: found[id] for id in wanted if id in found}


async def list_page(
    context: RequestContext,
    kind: TaskKind[..., R],
    page: int,
    page_size: int,
    status: str | None = None,
) -> Page[R]:
    """Return one page of a kind's list; see `TaskNamespace.list`."""
    endpoint = require_endpoint(kind, kind.list, "list")
    params = _page_params(kind, page, page_size, status)
    response = await context.session.request(
        endpoint.method, endpoint.path, params=params, **context.request_options(Priority.LIST)
    )
    return Page(read_records(context, kind, response.data), read_total_count(response.data))


def _page_params(
    kind: TaskKind[..., Any], page: int, page_size: int, status: str | None
) -> dict[str, str | int]:
    paging = kind.paging
    most = paging.max_size if paging else 10**9
    for name, value, bound in (("page", page, 10**9), ("page_size", page_size, most)):
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= bound:
            raise InvalidInput(f"{name} must be an integer from 1 to {bound}.", field=name)
    words = paging.status_filters if paging else ()
    if status is not None and status not in words:
        can = f"can be filtered by {', '.join(words)}" if words else "cannot be filtered by status"
        raise InvalidInput(f"The list of {kind.name} {can}.", field="status")
    if paging is None:
        if page > 1:
            raise InvalidInput(f"The list of {kind.name} has one page only.", field="page")
        return {}
    params: dict[str, str | int] = {paging.page_parameter: page, paging.size_parameter: page_size}
    return params if status is None else {**params, "status": status}


async def paginate(
    read: Callable[[int], Awaitable[Page[T]]],
    id_of: Callable[[T], str | None],
    *,
    end: ListEndDetector | None = None,
    max_pages: float = math.inf,
) -> AsyncGenerator[T]:
    """Yield the items of all pages of a list, at most ``max_pages``, each item once.

    New items move others to later pages; those are recognised by their id. Deleted items move
    others to earlier pages; then the previous page is read again. A page of items without ids is
    skipped if it equals the page before. `ListEndDetector` decides where the list ends.
    """
    seen: set[str] = set()
    total: int | None = None
    before: tuple[T, ...] = ()
    page = next_page = 1
    if end is None:
        end = ListEndDetector()
    while page <= max_pages:
        try:
            found = await read(page)
        except (NotFound, InvalidRequest):
            if page == 1 or total is None or len(seen) < total:
                raise
            end.at_end = True  # some lists answer the page after the last one with an error
            return
        new = False
        for item in found.items if found.items != before else ():
            id = id_of(item)
            if id not in seen:
                new = True
                if id is not None:
                    seen.add(id)
                yield item
        before = found.items
        list_shrank = total is not None and found.total is not None and found.total < total
        total = found.total
        if page == next_page:
            # Deleted items have moved others to the previous page; it may hold items not seen yet.
            if list_shrank and page > 1:
                page -= 1
                continue
            if end.reached(
                shows_new=new, has_records=bool(found.items), seen_count=len(seen), total=total
            ):
                return
        next_page += 1
        page = next_page


MAX_SEARCH_PAGES: Final = 10
"""Pages of a list that are searched for a task that has no detail operation."""


async def find_record(context: RequestContext, kind: TaskKind[..., R], id: str) -> R:
    """Return one record from the kind's detail operation, its batchDetail or its list.

    Raises `NotFound`, or the error of the detail operation if the others do not find it.
    """
    check_pollable(kind)
    refusal: ApiError | None = None
    if kind.detail is not None:
        try:
            return await _fetch_detail(context, kind, kind.detail, id)
        except (NotFound, InvalidRequest) as error:
            if not kind.unreliable_detail:
                raise
            refusal = error
    if kind.batch_detail is not None:
        found = await get_many(context, kind, [id])
        if id in found:
            return found[id]
    elif kind.list is not None:
        end, seen_count = ListEndDetector(), 0
        page_size = min(kind.max_page_size, 100)
        pages = paginate(
            lambda page: list_page(context, kind, page, page_size),
            lambda record: record.id,
            end=end,
            max_pages=MAX_SEARCH_PAGES if kind.paging else 1,
        )
        async with aclosing(pages) as records:
            async for record in records:
                if record.id == id:
                    return record
                seen_count += 1
        if kind.paging and not end.at_end:
            advice = f"It is not among the newest {seen_count}; iter() also reads older ones."
            raise refusal or _not_found_error(kind, advice)
    raise refusal or _not_found_error(kind, _GONE_ADVICE)


def _not_found_error(kind: TaskKind[..., Any], advice: str) -> NotFound:
    return NotFound(
        http_status=200,
        code=None,
        message="no such task",
        trace_id=None,
        method="GET",
        path=(kind.list or kind.start).path,
        advice=advice,
    )


_GONE_ADVICE: Final = "It was deleted, has expired, or belongs to another account."


async def _fetch_detail(
    context: RequestContext, kind: TaskKind[..., R], endpoint: Endpoint, id: str
) -> R:
    send = partial(context.session.request, **context.request_options())
    response, path = await request_detail(send, kind, endpoint, id)
    return read_detail(context, kind, response, path, id)


def read_detail(
    context: RequestContext, kind: TaskKind[..., R], response: "ApiResponse", path: str, id: str
) -> R:
    """Return the record of a detail response. Raises `NotFound` if there is none."""
    raw = unwrap_detail(kind, response.data, id)
    if raw is None and response.data and not read_raw_records(response.data):
        raw = response.data  # neither empty nor a record: the reader raises what is wrong with it
    if raw is None:
        raise NotFound(
            http_status=response.http_status,
            code=response.code,
            message="no such task",
            trace_id=response.trace_id,
            method="GET",
            path=path,
            advice=_GONE_ADVICE,
        )
    return read_record_on_demand(kind, raw, context.source)


_NO_QUOTE_MESSAGE: Final = re.compile(r"(?i)unsupported|not supported|cannot be quoted")
"""Messages with which the service reports that it has no price; they are undocumented."""


async def request_quote(context: RequestContext, path: str, body: Mapping[str, Any]) -> int | None:
    """Return the price of a start in coins, or None if the service gives none."""
    try:
        response = await context.session.request(
            "POST",
            "/api/v1/generation/quote",
            json={"endpoint": path, "requestBody": dict(body)},
            **context.request_options(),
        )
    except InvalidRequest as error:
        if _NO_QUOTE_MESSAGE.search(error.message):
            return None
        raise
    data = response.data
    if is_mapping(data):
        # The response is undocumented; any of these names may hold the price.
        for key in ("coins", "credits", "cost", "price", "estimatedCoins", "estimated_coins"):
            if (coins := parse_price(data.get(key))) is not None:
                return coins
    return parse_price(data)


async def delete_record(context: RequestContext, kind: TaskKind[..., Any], id: str) -> None:
    """Delete one record. If a retry finds it missing, an earlier attempt has deleted it."""
    if kind.delete is None:
        raise InvalidInput(f"{kind.name} has no delete operation at the service.")
    path, params = kind.delete.for_id(check_task_id(id))
    json = {"_id": id} if kind.delete.method == "POST" else None
    try:
        await context.session.request(
            kind.delete.method, path, params=params, json=json, **context.request_options()
        )
    except ApiError as error:
        # A 404 after a retry: the first attempt deleted the record, but its response was lost.
        if not isinstance(error, NotFound) or error.attempts < 2:
            raise
    # A deleted task frees its slot here: no poll reports its end.
    context.starter.admission.task_ended(kind, id, end_was_observed=False)
