"""What the journal's recorder reads and sets of a paid request in progress."""

from collections.abc import Sequence
from typing import Any, Protocol

from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.tasks.kind import TaskKind
from a2e_async.models import Recovery


class RecordedRequest(Protocol):
    """The part of a paid request that the journal is about; `PaidRequest` describes the fields."""

    key: str | None
    key_acquired: bool
    owned_by_other_client: bool
    key_generated: bool

    @property
    def recovery(self) -> Recovery | None: ...

    @property
    def sent(self) -> bool: ...

    def entry(self, state: State, ids: tuple[str, ...] = (), coins: int | None = None) -> Entry: ...


class RecordedSpec(Protocol):
    """The part of what a start is that the journal is about, see `StartSpec`."""

    @property
    def kind(self) -> TaskKind[..., Any]: ...

    @property
    def digest(self) -> str: ...

    @property
    def needs_no_upload(self) -> bool: ...

    def changed_inputs(self, entry: Entry) -> Sequence[str]: ...


class RecordedStart(RecordedRequest, Protocol):
    """The part of a start that the journal is about; `StartAttempt` describes the fields."""

    @property
    def spec(self) -> RecordedSpec: ...
