"""The namespaces of a client by name. Each is imported and created on first use."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from a2e_async import account
from a2e_async._core.handle import NotCopyable
from a2e_async.kinds.table import KIND_NAMES

if TYPE_CHECKING:
    from a2e_async._core.context import RequestContext
    from a2e_async.kinds._signatures import KindNamespaces
    from a2e_async.recipes import Recipes


def _kind_namespace(name: str) -> "cached_property[Any]":
    def make(client: "Namespaces") -> Any:
        from a2e_async.kinds.registry import kind_named, namespace_class

        kind = kind_named(name)
        return namespace_class(kind)(client._context, kind)  # pyright: ignore[reportPrivateUsage]  # the property is part of the class

    return cached_property(make)


if not TYPE_CHECKING:
    # Type checkers and editors see generated classes, with the signatures of each kind.
    KindNamespaces = type(
        "KindNamespaces", (), {name: _kind_namespace(name) for name in KIND_NAMES}
    )


class Namespaces(KindNamespaces, NotCopyable):
    """The namespaces of `A2E`: one for each kind of task, and those of the account."""

    _context: "RequestContext"

    @cached_property
    def speech(self) -> "account.Speech":
        """Speech from text."""
        return account.Speech(self._context)

    @cached_property
    def voices(self) -> "account.Voices":
        """The service's voices and cloned voices."""
        return account.Voices(self._context)

    @cached_property
    def avatars(self) -> "account.Avatars":
        """The speakers of avatar videos."""
        return account.Avatars(self._context)

    @cached_property
    def backgrounds(self) -> "account.Backgrounds":
        """The backgrounds of avatar videos."""
        return account.Backgrounds(self._context)

    @cached_property
    def credits(self) -> "account.Credits":
        """Balance, history and prices."""
        return account.Credits(self._context)

    @cached_property
    def recipes(self) -> "Recipes":
        """Results that take two paid steps: dubbed videos, avatars that speak a text."""
        from a2e_async.recipes import Recipes

        return Recipes(self._context)

    @cached_property
    def legacy(self) -> "account.Legacy":
        """Older operations of the service."""
        return account.Legacy(self._context)
