"""What the service accepted and charged for: the truth that tests compare with."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class AcceptedStart:
    """One accepted paid request. ``ids`` is empty where it makes no task (speech, an upload)."""

    at: float
    """Loop time in seconds."""
    kind: str
    body: Mapping[str, Any]
    ids: tuple[str, ...] = ()
    coins: int = 0
    account: str = ""
    """The bearer token that it was charged to."""

    def mentions(self, text: str) -> bool:
        """Whether the text occurs anywhere in the request's body."""
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
        """The sum charged."""
        return sum(start.coins for start in self.starts)

    def of(self, kind: str) -> list[AcceptedStart]:
        """Return the accepted requests of a kind."""
        return [start for start in self.starts if start.kind == kind]

    def mentioning(self, text: str) -> list[AcceptedStart]:
        """Return the accepted requests whose bodies hold a text, such as a job's own URL."""
        return [start for start in self.starts if start.mentions(text)]
