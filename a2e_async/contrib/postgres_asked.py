"""What a journal's worker is asked for, and who wants to hear of an entry."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from attrs import define, field

from a2e_async.contrib.postgres_group import Group
from a2e_async.contrib.postgres_link import Connection
from a2e_async.tasks.journal import Entry

T = TypeVar("T")
Told = Callable[[Entry | None], None]


@define(eq=False)
class Asked(Generic[T]):
    """An operation and who waits for it: a step of a group, or else a query.

    ``step`` is given the group that holds the entry of ``key``; ``query`` the connection.
    """

    future: "asyncio.Future[T]"
    key: str = ""
    step: Callable[[Group], T] | None = None
    query: "Callable[[Connection], Awaitable[T]] | None" = None

    def tell(self, result: T) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        # Each caller gets his own: raising one in several tasks would mix their tracebacks.
        if not self.future.done():
            self.future.set_exception(type(error)(*error.args))


@define(eq=False)
class Watched:
    """Those who want to hear of a key, and what they know of it once ``known``."""

    told: list[Told] = field(factory=list[Told])
    known: bool = False
    entry: Entry | None = None

    def see(self, entry: Entry | None) -> None:
        """Tell of an entry as others have made it."""
        news = self.known and self.entry != entry
        self.known, self.entry = True, entry
        for told in tuple(self.told) if news else ():
            told(entry)
