"""What the service accepted and charged for: the reference for the tests."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class AcceptedStart:
    """One accepted paid request. ``ids`` is empty if it creates no task (speech, uploads)."""

    at: float
    """Loop time in seconds."""
    kind: str
    body: Mapping[str, Any]
    ids: tuple[str, ...] = ()
    coins: int = 0
    account: str = ""
    """The bearer token of the account that was charged."""

    def mentions(self, text: str) -> bool:
        """Return whether the text occurs anywhere in the request body."""
        return text in json.dumps(self.body, ensure_ascii=False)


@dataclass
class Ledger:
    """Every accepted paid request, oldest first. Owned and written by the server."""

    starts: list[AcceptedStart] = field(default_factory=list)

    def __iter__(self) -> Iterator[AcceptedStart]:
        return iter(self.starts)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def ids(self) -> list[str]:
        """Ids of all paid tasks."""
        return [id for start in self.starts for id in start.ids]

    @property
    def coins(self) -> int:
        """The sum of all charges, in coins."""
        return sum(start.coins for start in self.starts)

    def of(self, kind: str) -> list[AcceptedStart]:
        """Return the accepted requests of a kind."""
        return [start for start in self.starts if start.kind == kind]

    def mentioning(self, text: str) -> list[AcceptedStart]:
        """Return the accepted requests whose bodies contain a text, such as a job's URL."""
        return [start for start in self.starts if start.mentions(text)]
