"""What stands for something that lives in a client: it is shared, and never copied or pickled."""

from typing import Any, NoReturn, Self

from a2e_async.errors import InvalidInput


class Handle:
    """A copy of it, alone or within other values, is the thing itself."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise InvalidInput(
            "Clients, tasks and what else belongs to a client work in one process only and cannot "
            "be pickled. Keep the ref of a task and use a2e.attach(ref) where you need it."
        )
