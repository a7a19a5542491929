"""The namespaces of a client by name. Each is imported and created on first use."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

from a2e_async import account
from a2e_async._core.handle import NotCopyable
from a2e_async.kinds.table import KIND_NAMES

if TYPE_CHECKING:
    from a2e_async._core.context import RequestContext
    from a2e_async.kinds._signatures import KindNamespaces

N = TypeVar("N")


class _LazyNamespace(Generic[N]):
    """A namespace that is created on first use and then kept by its client."""

    def __init__(self, make: "Callable[[RequestContext], Any]") -> None:
        self._factory = make
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...

    @overload
    def __get__(self, client: "Namespaces", owner: type) -> N: ...

    def __get__(self, client: "Namespaces | None", owner: type) -> Self | N:
        if client is None:
            return self
        made: N = self._factory(client._context)  # pyright: ignore[reportPrivateUsage]  # the descriptor is part of the class
        # From now on the instance attribute is found first: the descriptor has no __set__.
        vars(client)[self._name] = made
        return made


def _kind_namespace(name: str, context: "RequestContext") -> Any:
    from a2e_async.kinds.registry import kind_named, namespace_class

    kind = kind_named(name)
    return namespace_class(kind)(context, kind)


if not TYPE_CHECKING:
    # Type checkers and editors see generated classes, with the signatures of each kind.
    KindNamespaces = type(
        "KindNamespaces",
        (),
        {name: _LazyNamespace(partial(_kind_namespace, name)) for name in KIND_NAMES},
    )


class Namespaces(KindNamespaces, NotCopyable):
    """The namespaces of `A2E`: one for each kind of task, and those of the account."""

    _context: "RequestContext"

    speech: "_LazyNamespace[account.Speech]" = _LazyNamespace(
        lambda context: account.Speech(context)
    )
    voices: "_LazyNamespace[account.Voices]" = _LazyNamespace(
        lambda context: account.Voices(context)
    )
    avatars: "_LazyNamespace[account.Avatars]" = _LazyNamespace(
        lambda context: account.Avatars(context)
    )
    backgrounds: "_LazyNamespace[account.Backgrounds]" = _LazyNamespace(
        lambda context: account.Backgrounds(context)
    )
    credits: "_LazyNamespace[account.Credits]" = _LazyNamespace(
        lambda context: account.Credits(context)
    )
    legacy: "_LazyNamespace[account.Legacy]" = _LazyNamespace(
        lambda context: account.Legacy(context)
    )
