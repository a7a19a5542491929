"""The namespace of a kind: ``a2e.dubbing``, ``a2e.veo`` and so on."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from a2e_async._core.base_errors import hide_frames
from a2e_async._core.context import RequestContext
from a2e_async._core.handle import NotCopyable
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.schema.inputs import TaskInput
from a2e_async._core.submission.quotes import body_before_upload
from a2e_async._core.tasks.kind import P, TaskKind, check_pollable, check_task_id
from a2e_async._core.tasks.task import Task
from a2e_async.errors import InvalidInput
from a2e_async.kinds.jobs import Job
from a2e_async.kinds.operations import (
    delete_record,
    find_record,
    get_many,
    list_page,
    paginate,
    read_detail,
    read_records,
    request_quote,
    require_endpoint,
)
from a2e_async.models import Page, Record

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiResponse

R = TypeVar("R", bound=Record)


class TaskNamespace(NotCopyable, Generic[P, R]):
    """All operations of one kind. ``start``, ``run``, ``job`` and ``quote`` take its inputs."""

    def __init__(self, context: RequestContext, kind: TaskKind[P, R]) -> None:
        self._context = context
        self.kind = kind
        _set_signatures(self, kind)

    def __repr__(self) -> str:
        return f"<a2e.{self.kind.name}>"

    # -- charged ------------------------------------------------------------------------

    async def start(self, /, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Start a task and return its handle, without waiting for the result.

        Checks the inputs, uploads local media and sends the start request once. Costs coins.
        Raises `InvalidInput` (nothing was sent), `StartOutcomeUnknown` (no response arrived;
        the request is not repeated), or the `ApiError` with which the service refused.
        """
        inputs = self._build_input(args, kwargs)
        context = self._context
        return await context.starter.start(
            self.kind, inputs, timeout=context.start_timeout, services=context.tasks
        )

    async def run(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Start a task, wait until it has finished and return its record. Costs coins.

        Raises what `start` and `Task.wait` raise. If the call is cancelled while it waits, the
        task continues and is listed by `A2E.unclaimed`.
        """
        check_pollable(self.kind)
        task = await self.start(*args, **kwargs)
        try:
            return await task.wait()
        except asyncio.CancelledError:
            # The caller has no handle of this task, and it is paid for.
            self._context.starter.add_unclaimed(task)
            raise

    def job(self, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Check the inputs and return a `Job` for `A2E.batch`. Nothing is sent."""
        return Job(self.kind, self._build_input(args, kwargs))

    # -- free of charge ----------------------------------------------------------------------

    async def quote(self, /, *args: P.args, **kwargs: P.kwargs) -> int | None:
        """Return the price of a start in coins, or None if the service gives none.

        Free of charge; nothing is uploaded or started. ``POST /api/v1/generation/quote``.
        """
        inputs = self._build_input(args, kwargs)
        body = body_before_upload(self.kind, inputs)
        return await request_quote(self._context, self.kind.start.path, body)

    async def get(self, id: str) -> R:
        """Return the current record of one task. Raises `NotFound`.

        For kinds without a reliable detail operation the task is searched in the kind's list.
        """
        context, at = self._context, self.kind.poll_endpoint
        if at is None or self.kind.detail_fallback is not None:
            return await find_record(context, self.kind, check_task_id(id))
        # The most frequent call of the package: it avoids the extra coroutine of find_record().
        path, params = at.for_id(check_task_id(id))
        response = await context.session.request(
            at.method,
            path,
            params=params,
            timeout=context.request_timeout,
            priority=Priority.CALL if context.priority is None else context.priority,
        )
        return read_detail(context, self.kind, response, path, id)

    async def get_many(self, ids: Sequence[str]) -> dict[str, R]:
        """Return the records of several tasks by id; ids unknown to the service are left out.

        One ``POST batchDetail`` request for every 200 ids. Raises `InvalidInput` for kinds
        without this operation.
        """
        return await get_many(self._context, self.kind, ids)

    async def list(
        self, *, page: int = 1, page_size: int = 20, status: str | None = None
    ) -> Page[R]:
        """Return one page of the account's tasks of this kind, newest first.

        Expired tasks are not listed. ``page`` counts from 1. ``status`` is a status word of the
        service and filters the list; only a few kinds support it. A list without pages is
        returned completely, whatever ``page_size`` is. Raises `InvalidInput`.
        """
        return await list_page(self._context, self.kind, page, page_size, status)

    async def processing(self) -> tuple[R, ...]:
        """Return the account's tasks of this kind that are being processed.

        Raises `InvalidInput` for kinds without such a list.
        """
        endpoint = require_endpoint(self.kind, self.kind.processing_list, "processing list")
        response = await self._request(endpoint.method, endpoint.path, priority=Priority.LIST)
        return read_records(self._context, self.kind, response.data)

    async def iter(self, *, page_size: int = 100, status: str | None = None) -> AsyncIterator[R]:
        """Yield all of the account's tasks of this kind, newest first, page by page."""
        if not isinstance(page_size, int):
            raise InvalidInput("page_size must be a whole number.", field="page_size")
        size = min(page_size, self.kind.max_page_size)
        if self.kind.paging is None:
            for record in await self.list(page_size=size, status=status):
                yield record
            return

        async def read(page: int) -> Page[R]:
            return await self.list(page=page, page_size=size, status=status)

        async for record in paginate(read, lambda record: record.id):
            yield record

    async def delete(self, id: str) -> None:
        """Delete a task and its results at the service.

        Raises `NotFound`, or `InvalidRequest` while the task is running.
        """
        await delete_record(self._context, self.kind, id)

    def attach(self, id: str) -> Task[R]:
        """Return the handle of a task by its id, without a request.

        For one start that made several tasks, ``id`` joins their ids: ``id+id``.
        """
        parts = id.split("+") if isinstance(id, str) else (id,)
        return Task(self._context.tasks, self.kind, tuple(dict.fromkeys(map(check_task_id, parts))))

    # -- internal ----------------------------------------------------------------------------

    def _build_input(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TaskInput:
        if args:
            raise InvalidInput("Inputs must be passed by name, such as source_url=….")
        if "timeout" in kwargs and self.kind.input is not None and not self._has_input("timeout"):
            raise InvalidInput(
                "There is no input 'timeout'. To wait for a limited time: task = await "
                f"a2e.{self.kind.name}.start(…); record = await task.wait(timeout=…). For the "
                "start request itself: a2e.with_options(start_timeout=…). Both are in seconds.",
                field="timeout",
            )
        return self.kind.build_input(kwargs)

    def _has_input(self, name: str) -> bool:
        return any(f.name == name for f in self.kind.inputs)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        params: Any = None,
        json: Any = None,
        priority: Priority = Priority.CALL,
        **more: Any,
    ) -> "ApiResponse":
        options = self._context.request_options(priority)
        return await self._context.session.request(
            method, path, params=params, json=json, **options, **more
        )


class RenamableNamespace(TaskNamespace[P, R]):
    """The namespace of a kind whose tasks can be renamed."""

    async def rename(self, id: str, name: str) -> None:
        """Rename a task (``PUT`` of its kind). Raises `InvalidInput`, `NotFound`."""
        endpoint = require_endpoint(self.kind, self.kind.rename, "rename")
        if not isinstance(name, str) or not name.strip() or len(name) > self.kind.max_name_length:
            raise InvalidInput(
                f"name must be a text of 1 to {self.kind.max_name_length} characters.", field="name"
            )
        path, params = endpoint.for_id(check_task_id(id))
        await self._request(endpoint.method, path, params=params, json={"name": name})


def _set_signatures(namespace: TaskNamespace[..., Any], kind: TaskKind[..., Any]) -> None:
    """Give start, run, job and quote the signature and the documentation of the kind."""
    of: Any = type(namespace)  # mypy does not accept a class as a hashable argument
    for name, (text, signature) in _signatures(of, kind).items():
        method: Any = hide_frames(getattr(namespace, name))
        method.__doc__ = text
        method.__signature__ = signature
        vars(namespace)[name] = method


@functools.lru_cache(maxsize=256)  # kinds of the user's own may come and go
def _signatures(
    of: type[Any], kind: TaskKind[..., Any]
) -> dict[str, tuple[str, inspect.Signature]]:
    """Return documentation and signature of each method that takes the inputs."""
    from a2e_async.kinds import docstrings

    return {
        name: (
            docstrings.docstring(kind, name),
            docstrings.signature(kind, inspect.signature(getattr(of, name)).return_annotation),
        )
        for name in docstrings.METHODS
    }
