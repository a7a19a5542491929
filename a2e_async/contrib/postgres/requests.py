"""Requests to a journal's worker, and the protocol of what else uses its connection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import psycopg
from attrs import define

from a2e_async.contrib.postgres.connection import Connection
from a2e_async.contrib.postgres.group_commit import EntryTransaction

T = TypeVar("T")


@define(eq=False)
class WorkerRequest(Generic[T]):
    """A requested operation and its caller's future: either a step of a transaction or a query.

    ``step`` is called with the transaction that holds the entry of ``key`` and knows which entries
    claim the tasks ``ids``; ``query`` is called with the connection.

    Created by the `JournalWorker` for one call; lives until its future is done.
    """

    future: "asyncio.Future[T]"
    key: str = ""
    ids: tuple[str, ...] = ()
    step: Callable[[EntryTransaction], T] | None = None
    query: "Callable[[Connection], Awaitable[T]] | None" = None

    def set_result(self, result: T) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        # Each caller gets its own exception: raising one in several tasks would mix their
        # tracebacks.
        if not self.future.done():
            self.future.set_exception(type(error)(*error.args))


class ConnectionUser(Protocol):
    """Receives notifications of the worker's connection, and uses it between operations."""

    @property
    def pending(self) -> bool:
        """Whether it has work for the next turn."""
        ...

    async def connected(self, connection: Connection) -> None:
        """Set up a new connection, before anything else uses it. Raises `psycopg.Error`."""
        ...

    async def run_pending(self, connection: Connection, *, heartbeat: bool) -> None:
        """Do the pending work; ``heartbeat``: the lease was just renewed. May be retried."""
        ...

    def notified(self, notification: psycopg.Notify) -> None:
        """Handle a notification; most of them are for other users of the connection."""
        ...

    def disconnected(self) -> None:
        """The connection is lost: notifications since then may be missed."""
        ...

    async def closing(self, connection: Connection) -> None:
        """The client is closing. Raises `psycopg.Error`."""
        ...
