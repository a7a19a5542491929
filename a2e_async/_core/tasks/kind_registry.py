"""The kinds that one client knows (pure)."""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import field, frozen

from a2e_async._core.tasks.kind import TaskKind
from a2e_async.errors import InvalidInput


@frozen(eq=False)
class KindRegistry:
    """The kinds that a client knows: those of the package, and its user's own.

    A client creates it from ``A2E(kinds=…)``; it never changes.
    """

    packaged: tuple[str, ...]
    """The names of the package's kinds."""
    load: Callable[[str], TaskKind[..., Any]]
    """Returns a kind of the package by its name; its module is imported on first use."""
    declared: Mapping[str, TaskKind[..., Any]] = field(factory=dict[str, Any])
    """The user's own kinds by name."""

    def names(self) -> tuple[str, ...]:
        """Return the names of all kinds, the user's own last."""
        return (*self.packaged, *self.declared)

    def find(self, name: str) -> TaskKind[..., Any] | None:
        """Return a kind by its name; None if there is none."""
        if name in self.packaged:
            return self.load(name)
        return self.declared.get(name)

    def check_same(self, kind: TaskKind[..., Any]) -> None:
        """Raise `InvalidInput` unless the client declares the kind, and in the same way."""
        known = self.named(kind.name)
        if known is not kind and not known.equals(kind):
            raise InvalidInput(
                f"The kind {kind.name} is declared differently in this client. Use one declaration "
                "everywhere: the one given to A2E(kinds=…).",
                field="kind",
            )

    def named(self, name: str) -> TaskKind[..., Any]:
        """Return a kind by its name. Raises `InvalidInput` that suggests a similar name."""
        kind = self.find(name) if isinstance(name, str) else None
        if kind is None:
            from difflib import get_close_matches  # rarely needed: clients are created quickly

            close = get_close_matches(str(name), self.names(), n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            first, last = self.packaged[0], self.packaged[-1]
            raise InvalidInput(
                f"There is no kind {str(name)[:60]!r}. {hint}The command `a2e kinds` lists all "
                f"{len(self.packaged)}, from {first} to {last}; one of your own is declared with "
                "A2E(kinds=…).",
                field="kind",
            )
        return kind
