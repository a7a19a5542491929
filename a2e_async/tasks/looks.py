"""Makes one look: the call that the schedule chose, and the records it shows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from a2e_async.errors import DecodeError
from a2e_async.narrow import is_map
from a2e_async.tasks.kind import TaskKind
from a2e_async.tasks.status import read_id, read_one, read_rows, read_total
from a2e_async.tasks.watches import Look, Mode
from a2e_async.transport.ratelimit import Priority

if TYPE_CHECKING:
    from a2e_async.transport.session import Answer, Session

LIST_PAGES: Final = 5
"""Pages of a list read for one look; who is further back is asked for alone, if it can be."""


LAST_PAGE: Final = 20
"""The same for tasks that cannot be asked for alone."""


class Looker:
    """Carries looks over a session. ``request_timeout`` in seconds bounds each call."""

    def __init__(self, session: "Session", request_timeout: float) -> None:
        self._session = session
        self._request_timeout = request_timeout

    async def fetch(self, look: Look) -> tuple[Mapping[str, Any], bool]:
        """Return the records by id, and whether who is missing is certainly not in the answer.

        Raises the `ApiError`, `TransportError` or `DecodeError` that came instead.
        """
        kind = look.kind
        if look.mode is Mode.DETAIL and kind.look_at is not None:
            id = look.watches[0].id
            path, params = kind.look_at.for_id(id)
            answer = await self._get(kind.look_at.method, path, params=params)
            row = read_one(kind, answer.data, id)
            if row is None and not _empty(answer.data):
                raise _shapeless(kind, path, answer)
            return ({} if row is None else {id: row}), True
        if look.mode is Mode.BATCH and kind.batch_at is not None:
            ids = [watch.id for watch in look.watches]
            answer = await self._get(kind.batch_at.method, kind.batch_at.path, json={"ids": ids})
            return _by_id(kind, kind.batch_at.path, answer), True
        if look.mode is Mode.PROCESSING and kind.processing_at is not None:
            answer = await self._get(kind.processing_at.method, kind.processing_at.path)
            return _by_id(kind, kind.processing_at.path, answer), True
        return await self._read_list(look)

    async def _read_list(self, look: Look) -> tuple[Mapping[str, Any], bool]:
        kind = look.kind
        assert kind.list_at is not None  # noqa: S101  # the schedule plans LIST only for kinds that have one
        found: dict[str, Any] = {}
        wanted = {watch.id for watch in look.watches}
        alone = kind.look_at is not None
        for page in range(1, (LIST_PAGES if alone else LAST_PAGE) + 1):
            names = kind.paging
            paging = {names.page: page, names.size: names.most} if names else None
            answer = await self._get(kind.list_at.method, kind.list_at.path, params=paging)
            rows = _by_id(kind, kind.list_at.path, answer)
            fresh = rows.keys() - found.keys()
            found.update(rows)
            total = read_total(answer.data)
            # A service that ignores paging gives the same page again and again; one that gives
            # fewer records than it is asked for must not make the rest look gone.
            short = len(rows) < kind.page_most and (alone or names is None)
            whole = len(found) >= total if total is not None else short
            if not fresh or whole or wanted <= found.keys():
                return found, True
        return found, alone

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
            retry=False,
        )


def _by_id(kind: TaskKind[..., Any], path: str, answer: "Answer") -> dict[str, Any]:
    rows = read_rows(answer.data)
    if not rows and not _empty(answer.data):
        raise _shapeless(kind, path, answer)
    return {id: row for row in rows if (id := read_id(row))}


def _empty(data: Any) -> bool:
    """Tell an answer that holds no record from one that holds something else instead."""
    if data is None or data == [] or data == {}:
        return True
    return is_map(data) and any(value == [] for value in data.values())


def _shapeless(kind: TaskKind[..., Any], path: str, answer: "Answer") -> DecodeError:
    return DecodeError(
        f"{path} gave {type(answer.data).__name__} where {kind.name} records are due.",
        path=path,
        http_status=answer.http_status,
        trace_id=answer.trace_id,
    )
