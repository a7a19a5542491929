"""Base class of objects that belong to one client: never copied, never pickled."""

from typing import Any, NoReturn, Self

from a2e_async.errors import InvalidInput


class NotCopyable:
    """Copying it, alone or inside other values, returns the object itself."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise InvalidInput(
            "Clients, tasks and other objects of a client work in one process only and cannot be "
            "pickled. Keep the ref of a task and call a2e.attach(ref) where you need it."
        )
