"""What a journal's worker is asked for, and what else uses its connection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import psycopg
from attrs import define

from a2e_async.contrib.postgres_group import Group
from a2e_async.contrib.postgres_link import Connection

T = TypeVar("T")


@define(eq=False)
class Asked(Generic[T]):
    """An operation and who waits for it: a step of a group, or else a query.

    ``step`` is given the group that holds the entry of ``key``, and knows who holds the tasks
    ``ids``; ``query`` the connection.
    """

    future: "asyncio.Future[T]"
    key: str = ""
    ids: tuple[str, ...] = ()
    step: Callable[[Group], T] | None = None
    query: "Callable[[Connection], Awaitable[T]] | None" = None

    def tell(self, result: T) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        # Each caller gets his own: raising one in several tasks would mix their tracebacks.
        if not self.future.done():
            self.future.set_exception(type(error)(*error.args))


class Rider(Protocol):
    """Hears what comes over the worker's connection, and uses it between the operations."""

    @property
    def pending(self) -> bool:
        """Whether it has something for the next turn."""
        ...

    async def connected(self, link: Connection) -> None:
        """Begin on a new connection, before anything else uses it. Raises `psycopg.Error`."""
        ...

    async def turn(self, link: Connection, *, beat: bool) -> None:
        """Do what is pending; ``beat``: the lease has just been renewed. May be tried again."""
        ...

    def heard(self, note: psycopg.Notify) -> None:
        """Take in what the database says; most of it is for others."""
        ...

    def lost(self) -> None:
        """The connection is gone: what was said since may be missed."""
        ...

    async def leave(self, link: Connection) -> None:
        """The client is closed. Raises `psycopg.Error`."""
        ...
