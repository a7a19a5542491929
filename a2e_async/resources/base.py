"""The namespace of a kind, once for all: ``a2e.dubbing`` and its siblings."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, NotRequired, TypedDict, TypeVar

from attrs import define

from a2e_async.errors import ApiError, ConfigurationError, InvalidInput, InvalidRequest, NotFound
from a2e_async.inputs import Doc, TaskInput, build_input, clean_url, input_fields, is_url
from a2e_async.models import Output, OutputSource, Page, Record
from a2e_async.narrow import is_map
from a2e_async.tasks.kind import Endpoint, Job, P, TaskKind, check_id
from a2e_async.tasks.status import read_record, read_rows, read_total
from a2e_async.tasks.task import Task, TaskServices
from a2e_async.transport.ratelimit import Priority

if TYPE_CHECKING:
    from a2e_async.resources.files import Files
    from a2e_async.tasks.starter import Starter
    from a2e_async.transport.session import Answer, Session

R = TypeVar("R", bound=Record)


class CallOptions(TypedDict):
    """Keyword arguments of one request that the options of a client decide."""

    timeout: float
    priority: NotRequired[Priority]


@define(kw_only=True, frozen=True)
class Room:
    """What a namespace works with: the client's parts and the options in force."""

    session: "Session"
    starter: "Starter"
    tasks: TaskServices
    source: OutputSource
    files: "Files"
    request_timeout: float
    start_timeout: float
    priority: Priority | None = None

    def options(self, default: Priority = Priority.CALL) -> CallOptions:
        """Return timeout and priority of a call that is not a start."""
        return {
            "timeout": self.request_timeout,
            "priority": default if self.priority is None else self.priority,
        }


class TaskNamespace(Generic[P, R]):
    """All operations of one kind. ``start``, ``run``, ``job`` and ``quote`` take its inputs."""

    def __init__(self, room: Room, kind: TaskKind[P, R]) -> None:
        self._room = room
        self.kind = kind
        _show_inputs(self, kind)

    def __repr__(self) -> str:
        return f"<a2e.{self.kind.name}>"

    # -- what costs ------------------------------------------------------------------------

    async def start(self, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Start a task: checks the inputs, uploads local media, sends the start once.

        Costs coins. Raises `InvalidInput` (nothing sent), `StartOutcomeUnknown` (answer lost,
        not sent again), or the `ApiError` with which the service refused.
        """
        inputs = self._input(args, kwargs)
        return await self._room.starter.start(self.kind, inputs, timeout=self._room.start_timeout)

    async def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Start a task and wait for its record. Costs coins; raises as `start` and `Task.wait`.

        When it is cancelled while it waits, the task is listed by `A2E.unclaimed`.
        """
        task = await self.start(*args, **kwargs)
        try:
            return await task.wait()
        except asyncio.CancelledError:
            self._room.starter.keep(task)  # whose handle nobody else has
            raise

    def job(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Return a start that is checked but not made (for a batch)."""
        return Job(self.kind, self._input(args, kwargs))

    # -- what is free ----------------------------------------------------------------------

    async def quote(self, *args: P.args, **kwargs: P.kwargs) -> int | None:
        """Return the coins this start would cost, None where the service cannot tell.

        Nothing is uploaded or started. ``POST /api/v1/generation/quote``.
        """
        inputs = self._input(args, kwargs)
        urls = {
            (f.name, place): clean_url(value, f.name)
            if isinstance(value, str) and is_url(value)
            else value.url
            if isinstance(value, Output)
            else "https://example.invalid/not-uploaded"
            for f, place, value in inputs.media()
        }
        return await quote(self._room, self.kind.start_at.path, inputs.to_wire(urls))

    async def get(self, id: str) -> R:
        """Return the record of one task as it stands. Raises `NotFound`."""
        if self.kind.detail_at is None:
            raise InvalidInput(f"{self.kind.name} has no detail operation; use list().")
        room = self._room
        path, params = self.kind.detail_at.for_id(check_id(id))
        answer = await room.session.request(
            self.kind.detail_at.method,
            path,
            params=params,
            timeout=room.request_timeout,
            priority=Priority.CALL if room.priority is None else room.priority,
        )
        return read_detail(self.kind, answer, path, room.source)

    async def get_many(self, ids: Sequence[str]) -> dict[str, R]:
        """Return the records of these tasks by id; who is unknown to the service is missing.

        ``POST batchDetail``, 200 ids a call. Raises `InvalidInput` for kinds without it.
        """
        if self.kind.batch_at is None:
            raise InvalidInput(f"{self.kind.name} has no batchDetail operation; use get().")
        if isinstance(ids, str):
            raise InvalidInput("get_many takes a list of ids; for one id use get().", field="ids")
        found: dict[str, R] = {}
        wanted = [check_id(id) for id in dict.fromkeys(ids)]
        for first in range(0, len(wanted), self.kind.batch_most):
            some = wanted[first : first + self.kind.batch_most]
            answer = await self._call(
                self.kind.batch_at.method, self.kind.batch_at.path, json={"ids": some}
            )
            found.update((record.id, record) for record in self._records(answer))
        return {id: found[id] for id in wanted if id in found}

    async def list(self, *, page: int = 1, page_size: int = 20) -> Page[R]:
        """Return one page of the account's tasks of this kind, newest first.

        Expired tasks are not listed. ``page`` counts from 1.
        """
        paging = self.kind.paging
        for name, value, most in (("page", page, 10**9), ("page_size", page_size, paging.most)):
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise InvalidInput(f"{name} must be a whole number from 1 to {most}.", field=name)
        endpoint = self._needs(self.kind.list_at, "list")
        answer = await self._call(
            endpoint.method,
            endpoint.path,
            params={paging.page: page, paging.size: page_size},
            priority=Priority.LIST,
        )
        return Page(tuple(self._records(answer)), read_total(answer.data))

    async def processing(self) -> tuple[R, ...]:
        """Return the account's tasks of this kind that are being processed.

        Raises `InvalidInput` for kinds whose service has no such list.
        """
        endpoint = self._needs(self.kind.processing_at, "processing list")
        answer = await self._call(endpoint.method, endpoint.path, priority=Priority.LIST)
        return tuple(self._records(answer))

    async def iter(self, *, page_size: int = 100) -> AsyncIterator[R]:
        """Yield all of the account's tasks of this kind, newest first, page by page."""
        if not isinstance(page_size, int):
            raise InvalidInput("page_size must be a whole number.", field="page_size")
        seen: set[str] = set()
        page = 1
        while True:
            found = await self.list(page=page, page_size=min(page_size, self.kind.paging.most))
            fresh = [record for record in found if record.id not in seen]
            for record in fresh:
                seen.add(record.id)
                yield record
            # New tasks push old ones onto the next page, so a page may hold known ones; a page
            # without any news means that the service ignores paging.
            if not fresh or len(found) < min(page_size, self.kind.paging.most):
                return
            page += 1

    async def delete(self, id: str) -> None:
        """Delete a task and its results. Raises `NotFound`, or `InvalidRequest` while it runs."""
        await delete(self._room.session, self._room.request_timeout, self.kind, id)

    def attach(self, id: str) -> Task[R]:
        """Return the handle of a task by its id (``id+id`` for one start that made several)."""
        parts = id.split("+") if isinstance(id, str) else (id,)
        return Task(self._room.tasks, self.kind, tuple(dict.fromkeys(map(check_id, parts))))

    # -- inside ----------------------------------------------------------------------------

    def _input(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TaskInput:
        return build_input(self.kind.input, args, kwargs)

    def _records(self, answer: "Answer") -> Sequence[R]:
        return [read_record(self.kind, raw, self._room.source) for raw in read_rows(answer.data)]

    def _needs(self, endpoint: Endpoint | None, what: str) -> Endpoint:
        if endpoint is None:
            raise InvalidInput(f"{self.kind.name} has no {what} operation at the service.")
        return endpoint

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        json: Any = None,
        priority: Priority = Priority.CALL,
        **more: Any,
    ) -> "Answer":
        options = self._room.options(priority)
        return await self._room.session.request(
            method, path, params=params, json=json, **options, **more
        )


def read_detail(
    kind: TaskKind[..., R], answer: "Answer", path: str, source: OutputSource | None
) -> R:
    """Return the record of a detail answer. Raises `NotFound` where there is none."""
    data = answer.data
    if is_map(data) and "_id" in data:
        return read_record(kind, data, source)
    rows = read_rows(data)
    if not rows and not data:
        raise NotFound(
            http_status=answer.http_status,
            code=answer.code,
            message="no such task",
            trace_id=answer.trace_id,
            method="GET",
            path=path,
            advice="It was deleted, has expired, or belongs to another account.",
        )
    return read_record(kind, rows[0] if rows else data, source)


async def quote(room: Room, path: str, body: Mapping[str, Any]) -> int | None:
    """Return what a start would cost in coins; None where the service gives no figure."""
    try:
        answer = await room.session.request(
            "POST",
            "/api/v1/generation/quote",
            json={"endpoint": path, "requestBody": dict(body)},
            **room.options(),
        )
    except InvalidRequest as error:
        if "unsupported" in error.message.lower() or "not supported" in error.message.lower():
            return None
        raise
    data = answer.data
    if is_map(data):
        for key in ("coins", "credits", "cost", "price", "estimatedCoins", "estimated_coins"):
            value = data.get(key)
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
                return -int(-value // 1)
    return data if isinstance(data, int) and not isinstance(data, bool) else None


async def delete(session: "Session", timeout: float, kind: TaskKind[..., Any], id: str) -> None:
    """Delete one record. A record that is already gone after a repeated try counts as deleted."""
    if kind.delete_at is None:
        raise InvalidInput(f"{kind.name} has no delete operation at the service.")
    path, params = kind.delete_at.for_id(check_id(id))
    json = {"_id": id} if kind.delete_at.method == "POST" else None
    try:
        await session.request(
            kind.delete_at.method,
            path,
            params=params,
            json=json,
            timeout=timeout,
            priority=Priority.CALL,
        )
    except ApiError as error:
        if not isinstance(error, NotFound) or error.attempts < 2:
            raise


_INTRO = "Inputs (by name; None means not sent):"


def _show_inputs(namespace: TaskNamespace[..., Any], kind: TaskKind[..., Any]) -> None:
    """Give start, run, job and quote the kind's real signature and documentation."""
    cls = kind.input
    if not (isinstance(cls, type) and issubclass(cls, TaskInput)):
        raise ConfigurationError(f"the inputs of {kind.name} must be a TaskInput class")
    inputs = sorted(input_fields(cls), key=lambda f: (not f.required, f.common))
    lines = [
        f"    {f.name}{'' if f.required else ' (optional)'}: {doc.text}"
        for f in inputs
        if (doc := f.note(Doc)) is not None
    ]
    by_name = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(
            f.name,
            by_name,
            annotation=f.hint,
            default=inspect.Parameter.empty if f.required else None,
        )
        for f in inputs
    ]
    for name in ("start", "run", "job", "quote"):
        method = getattr(namespace, name)
        shown = _wrapped(method)
        head = inspect.getdoc(method) or ""
        shown.__doc__ = "\n".join([head, "", _INTRO, *lines])
        returns = inspect.signature(method).return_annotation
        shown.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]  # read by inspect
        vars(namespace)[name] = shown


def _wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await method(*args, **kwargs)

        return call

    @functools.wraps(method)
    def plain(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **kwargs)

    return plain
