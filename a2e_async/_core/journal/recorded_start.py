"""What the journal's recorder reads and sets of a start in progress."""

from typing import Any, Protocol

from a2e_async._core.schema.inputs import TaskInput
from a2e_async._core.tasks.kind import TaskKind
from a2e_async.models import Recovery


class RecordedReservation(Protocol):
    """What the budgets of a start have reserved for it, see `Reservation`."""

    def __bool__(self) -> bool: ...

    @property
    def price(self) -> int | None: ...

    def reserve_unknown(self, coins: int, key: str) -> None: ...


class RecordedStart(Protocol):
    """The part of a start that belongs in the journal; `StartAttempt` describes the fields."""

    kind: TaskKind[..., Any]
    inputs: TaskInput
    digest: str
    name: str | None
    mark: str | None
    webhook_id: str | None
    key: str | None
    key_acquired: bool
    owned_by_other_client: bool
    key_generated: bool
    recovery: Recovery | None
    upload_coins: int

    @property
    def reservation(self) -> RecordedReservation: ...

    @property
    def reservation_key(self) -> str | None: ...

    @property
    def needs_no_upload(self) -> bool: ...
