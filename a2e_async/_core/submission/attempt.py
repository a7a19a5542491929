"""One paid start in progress: its request, its waiters and what is known about its outcome."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from a2e_async._core.redact import stable_url
from a2e_async._core.schema.inputs import TaskInput, is_url
from a2e_async._core.submission.budget import Reservation
from a2e_async._core.submission.fair_queue import QueuedStart
from a2e_async._core.tasks.kind import TaskKind
from a2e_async.errors import InvalidInput, StartOutcomeUnknown
from a2e_async.models import Recovery

if TYPE_CHECKING:
    from a2e_async._core.files.upload import LocalUpload
    from a2e_async._core.tasks.task import Task, TaskServices

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"
_BIT_OFFSETS: Final = range(0, 100, 5)

PreparedMedia = Mapping[tuple[str, int | None], "LocalUpload | str"]
"""Each media input of a start by field and list index: its URL or a checked local file."""


@define(eq=False, kw_only=True)
class Slot(QueuedStart):
    """A start's slot: first in the queue, then occupied by its tasks."""

    kind: TaskKind[..., Any]
    counts_toward_cap: bool
    """A cap applies; otherwise the start only waits for its turn and then frees the slot."""
    granted: "asyncio.Future[None] | None" = None
    unfinished_ids: set[str] = field(factory=set[str])
    """Ids of its tasks that may still be running."""
    missing_count: int = 0
    """Tasks that the response to the start left out, while they are searched for."""
    held_since: float = 0.0
    task_handle: "Task[Any] | None" = None
    stop_polling: Callable[[], object] | None = None


@define(eq=False, kw_only=True, repr=False)
class StartAttempt:
    """A start and its waiters.

    ``sent`` becomes True immediately before the request is written. From then on the start is
    never withdrawn, unless the service answers 429. ``key`` is the user's; with a journal, a
    generated one if the user gave none.
    """

    kind: TaskKind[..., Any]
    inputs: TaskInput
    media: PreparedMedia
    digest: str
    name: str | None
    mark: str | None
    services: "TaskServices"
    timeout: float
    webhook_id: str | None = None
    """Identifies the start in its webhook token; None if it requests no webhook."""
    key: str | None = None
    anonymous_id: object = field(factory=object)
    """Identifies the start if it has no key."""
    key_acquired: bool = False
    """The journal has reserved the key for this attempt."""
    owned_by_other_client: bool = False
    """Another client owns the key and lost its response: search for the task, never submit."""
    key_generated: bool = False
    """The key was generated for the journal; the user gave none."""
    run_task: "asyncio.Task[Task[Any]] | None" = None
    waiter_count: int = 0
    sent: bool = False
    withdrawn: bool = False
    delivered: bool = False
    recovery: Recovery | None = None
    """What identifies the start at the service: set before it is sent, or by an earlier run."""
    task: "Task[Any] | None" = None
    unknown_outcome: StartOutcomeUnknown | None = None
    reservation: Reservation = field(factory=Reservation)
    """What its budgets have reserved for it."""
    prepaid: int = 0
    """Coins that budgets have counted for tasks which its response did not name."""
    upload_coins: int = 0
    """Coins paid to upload its inputs."""
    event_number: int | None = None
    """The number of this start in events, if there is a listener."""
    sent_at_loop_time: float | None = None
    """Event loop time (s) just before this process sent it."""
    slot: Slot | None = None
    """Its slot. Once the task is known, the task occupies the slot and this is None."""
    slot_of_missing: Slot | None = None
    """The slot that counts tasks which its response left out, while they are searched for."""

    def __repr__(self) -> str:
        return (
            f"<StartAttempt of {self.kind.name}, key {self.key!r}{', sent' if self.sent else ''}>"
        )

    @property
    def reservation_key(self) -> str | None:
        """The key under which budgets keep its reservation while its outcome is unknown."""
        if self.key is not None and not self.key_generated:
            return self.key
        recovery = self.recovery
        return None if recovery is None else _reservation_key_of(recovery)

    @property
    def start_id(self) -> object:
        """Identifies the start among all starts of the client: its key, if it has one."""
        return self.anonymous_id if self.key is None else self.key

    def drop_inputs(self) -> None:
        """Drop the media, which may be large: nothing will be sent any more."""
        self.media = {}
        self.inputs = TaskInput(meta=self.inputs.meta, key=self.inputs.key)

    @property
    def needs_no_upload(self) -> bool:
        """Whether the start can be sent without uploading (and paying for) a file."""
        return all(isinstance(item, str) for item in self.media.values())


def _reservation_key_of(recovery: Recovery) -> str:
    return f"{recovery.mark or recovery.digest}@{recovery.sent_at.timestamp():.3f}"


def new_mark() -> str:
    """Return a unique name with 100 random bits."""
    # One call for 13 bytes: the cost of system randomness is per call, not per byte.
    bits = int.from_bytes(secrets.token_bytes(13))
    return "a2e-" + "".join([_ALPHABET[bits >> offset & 31] for offset in _BIT_OFFSETS])


def outgoing_name(
    kind: TaskKind[..., Any], name: str | None, mark: str, *, mark_names: bool
) -> tuple[str | None, str | None]:
    """Return the name to send and the mark in it; each is None if there is none."""
    if kind.name_field is None:
        if name:
            raise InvalidInput(f"{kind.name} does not accept a name.", field="name")
        return None, None
    if name is not None and len(name) > kind.max_name_length:
        raise InvalidInput(
            f"name must have at most {kind.max_name_length} characters, got {len(name)}.",
            field="name",
        )
    if name and not mark_names:
        # Without a mark a lost start can still be found by its name, unless it is ambiguous.
        return name, None
    if not name:
        return mark, mark
    if len(name) + 1 + len(mark) > kind.max_name_length:
        raise InvalidInput(
            f"name must have at most {kind.max_name_length - len(mark) - 1} characters, because "
            "the client adds a mark to it.",
            field="name",
        )
    return f"{name} {mark}", mark


def input_digest(kind: TaskKind[..., Any], inputs: TaskInput, media: PreparedMedia) -> str:
    """Return a digest of a start's inputs; equal inputs have equal digests.

    Local files count by content, URLs without their signature, and names not at all: a retry
    with a newly signed URL must be recognised as the same start.
    """
    urls = {
        input_key: stable_url(item) if isinstance(item, str) else f"sha256:{item.digest}"
        for input_key, item in media.items()
    }
    return _json_digest([kind.name, kind.request_body(inputs, urls)])


def call_digest(kind: str, body: Mapping[str, Any]) -> str:
    """Return a digest of the inputs of a paid call without a task."""
    inputs = {
        name: stable_url(value) if isinstance(value, str) and is_url(value) else value
        for name, value in body.items()
    }
    return _json_digest([kind, inputs])


# `json.dumps` with options builds an encoder on every call.
_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def _json_digest(value: Any) -> str:
    return hashlib.sha256(_encode(value).encode()).hexdigest()
