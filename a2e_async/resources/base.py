"""The namespace of a kind, once for all: ``a2e.dubbing`` and its siblings."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from a2e_async.errors import ConfigurationError, InvalidInput, sealed
from a2e_async.handle import Handle
from a2e_async.inputs import Doc, TaskInput, build_input, input_fields
from a2e_async.models import Page, Record
from a2e_async.resources.calls import (
    delete,
    find,
    get_many,
    iter_pages,
    list_page,
    needed,
    quote,
    read_all,
    read_detail,
)
from a2e_async.resources.room import Room
from a2e_async.tasks.kind import Job, P, TaskKind, check_id, check_watchable
from a2e_async.tasks.quotes import unsent_body
from a2e_async.tasks.task import Task
from a2e_async.transport.ratelimit import Priority

if TYPE_CHECKING:
    from a2e_async.transport.session import Answer

R = TypeVar("R", bound=Record)


class TaskNamespace(Handle, Generic[P, R]):
    """All operations of one kind. ``start``, ``run``, ``job`` and ``quote`` take its inputs."""

    def __init__(self, context: Room, kind: TaskKind[P, R]) -> None:
        self._room = context
        self.kind = kind
        _set_signatures(self, kind)

    def __repr__(self) -> str:
        return f"<a2e.{self.kind.name}>"

    # -- what costs ------------------------------------------------------------------------

    async def start(self, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Start a task: checks the inputs, uploads local media, sends the start once.

        Costs coins. Raises `InvalidInput` (nothing sent), `StartOutcomeUnknown` (answer lost,
        not sent again), or the `ApiError` with which the service refused.
        """
        inputs = self._build_input(args, kwargs)
        context = self._room
        return await context.starter.start(
            self.kind, inputs, timeout=context.start_timeout, services=context.tasks
        )

    async def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Start a task and wait for its record. Costs coins; raises as `start` and `Task.wait`.

        When it is cancelled while it waits, the task is listed by `A2E.unclaimed`.
        """
        check_watchable(self.kind)
        task = await self.start(*args, **kwargs)
        try:
            return await task.wait()
        except asyncio.CancelledError:
            self._room.starter.keep(task)  # whose handle nobody else has
            raise

    def job(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Return a start that is checked but not made (for a batch)."""
        return Job(self.kind, self._build_input(args, kwargs))

    # -- what is free ----------------------------------------------------------------------

    async def quote(self, *args: P.args, **kwargs: P.kwargs) -> int | None:
        """Return the coins this start would cost, None where the service cannot tell.

        Nothing is uploaded or started. ``POST /api/v1/generation/quote``.
        """
        inputs = self._build_input(args, kwargs)
        return await quote(self._room, self.kind.start_at.path, unsent_body(inputs))

    async def get(self, id: str) -> R:
        """Return the record of one task as it stands. Raises `NotFound`.

        Kinds without a detail operation, or with one that fails now and then, are looked for
        in the list.
        """
        context, at = self._room, self.kind.look_at
        if at is None:
            return await find(context, self.kind, check_id(id))
        # The usual way, without a coroutine more than it needs: this is called most.
        path, params = at.for_id(check_id(id))
        answer = await context.session.request(
            at.method,
            path,
            params=params,
            timeout=context.request_timeout,
            priority=Priority.CALL if context.priority is None else context.priority,
        )
        return read_detail(context, self.kind, answer, path, id)

    async def get_many(self, ids: Sequence[str]) -> dict[str, R]:
        """Return the records of these tasks by id; who is unknown to the service is missing.

        ``POST batchDetail``, 200 ids a call. Raises `InvalidInput` for kinds without it.
        """
        return await get_many(self._room, self.kind, ids)

    async def list(
        self, *, page: int = 1, page_size: int = 20, status: str | None = None
    ) -> Page[R]:
        """Return one page of the account's tasks of this kind, newest first.

        Expired tasks are not listed. ``page`` counts from 1. ``status`` keeps those with this
        word of the service, for the few kinds whose list takes one. A list without pages comes
        whole, whatever ``page_size``. Raises `InvalidInput`.
        """
        return await list_page(self._room, self.kind, page, page_size, status)

    async def processing(self) -> tuple[R, ...]:
        """Return the account's tasks of this kind that are being processed.

        Raises `InvalidInput` for kinds whose service has no such list.
        """
        endpoint = needed(self.kind, self.kind.processing_at, "processing list")
        answer = await self._call(endpoint.method, endpoint.path, priority=Priority.LIST)
        return read_all(self._room, self.kind, answer.data)

    async def iter(self, *, page_size: int = 100, status: str | None = None) -> AsyncIterator[R]:
        """Yield all of the account's tasks of this kind, newest first, page by page."""
        if not isinstance(page_size, int):
            raise InvalidInput("page_size must be a whole number.", field="page_size")
        size = min(page_size, self.kind.page_most)
        if self.kind.paging is None:
            for record in await self.list(page_size=size, status=status):
                yield record
            return

        async def read(page: int) -> Page[R]:
            return await self.list(page=page, page_size=size, status=status)

        async for record in iter_pages(read, lambda record: record.id):
            yield record

    async def delete(self, id: str) -> None:
        """Delete a task and its results. Raises `NotFound`, or `InvalidRequest` while it runs."""
        await delete(self._room, self.kind, id)

    def attach(self, id: str) -> Task[R]:
        """Return the handle of a task by its id (``id+id`` for one start that made several)."""
        parts = id.split("+") if isinstance(id, str) else (id,)
        return Task(self._room.tasks, self.kind, tuple(dict.fromkeys(map(check_id, parts))))

    # -- inside ----------------------------------------------------------------------------

    def _build_input(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TaskInput:
        return build_input(self.kind.input, args, kwargs)

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


class Renamable(TaskNamespace[P, R]):
    """A kind whose tasks can be given another name."""

    async def rename(self, id: str, name: str) -> None:
        """Give a task another name; nothing else changes (``PUT`` of its kind).

        Raises `InvalidInput`, `NotFound`.
        """
        endpoint = needed(self.kind, self.kind.rename_at, "rename")
        if not isinstance(name, str) or not name.strip() or len(name) > self.kind.name_most:
            raise InvalidInput(
                f"name must be a text of 1 to {self.kind.name_most} characters.", field="name"
            )
        path, params = endpoint.for_id(check_id(id))
        await self._call(endpoint.method, path, params=params, json={"name": name})


_INTRO = "Inputs (by name; None means not sent):"


def _set_signatures(namespace: TaskNamespace[..., Any], kind: TaskKind[..., Any]) -> None:
    """Give start, run, job and quote the kind's real signature and documentation."""
    of: Any = type(namespace)  # mypy does not believe that a class has a hash
    for name, (doc, signature) in _signatures(of, kind).items():
        shown: Any = sealed(getattr(namespace, name))
        shown.__doc__ = doc
        shown.__signature__ = signature
        vars(namespace)[name] = shown


@functools.cache
def _signatures(
    of: type[Any], kind: TaskKind[..., Any]
) -> dict[str, tuple[str, inspect.Signature]]:
    """Return documentation and signature of each method that takes the inputs."""
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
    shown: dict[str, tuple[str, inspect.Signature]] = {}
    for name in ("start", "run", "job", "quote"):
        method = getattr(of, name)
        returns = inspect.signature(method).return_annotation
        doc = "\n".join([inspect.getdoc(method) or "", "", _INTRO, *lines])
        shown[name] = doc, inspect.Signature(parameters, return_annotation=returns)
    return shown
