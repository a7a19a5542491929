"""What the journal's recorder reads and sets of a paid request in progress."""

from typing import Any, Protocol

from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.tasks.kind import TaskKind
from a2e_async.models import Recovery


class RecordedReservation(Protocol):
    """What the budgets of a request have reserved for it, see `Reservation`."""

    def __bool__(self) -> bool: ...

    def reserve_unknown(self, coins: int, key: str) -> None: ...


class RecordedRequest(Protocol):
    """The part of a paid request that the journal is about; `PaidRequest` describes the fields."""

    key: str | None
    key_acquired: bool
    owned_by_other_client: bool
    key_generated: bool
    recovery: Recovery | None

    @property
    def sent(self) -> bool: ...

    def entry(self, state: State, ids: tuple[str, ...] = (), coins: int | None = None) -> Entry: ...


class RecordedStart(RecordedRequest, Protocol):
    """The part of a start that the journal is about; `StartAttempt` describes the fields."""

    kind: TaskKind[..., Any]
    digest: str
    name: str | None
    mark: str | None
    webhook_id: str | None

    @property
    def reservation(self) -> RecordedReservation: ...

    @property
    def reservation_key(self) -> str | None: ...

    @property
    def needs_no_upload(self) -> bool: ...
