"""One paid start in progress: its request, its waiters and what is known about its outcome."""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from a2e_async.errors import InvalidInput, StartOutcomeUnknown
from a2e_async.inputs import TaskInput, is_url
from a2e_async.models import Recovery
from a2e_async.redact import stable_url
from a2e_async.tasks.budget import Held
from a2e_async.tasks.kind import TaskKind

if TYPE_CHECKING:
    from a2e_async.tasks.places import Place
    from a2e_async.tasks.task import Task, TaskServices
    from a2e_async.transport.upload import Prepared

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"
_PLACES: Final = range(0, 100, 5)
_REST: Final = "auto:rest:"

Prepareds = Mapping[tuple[str, int | None], "Prepared | str"]
"""Each media input of a start by field and list index: its URL or a checked local file."""


@define(eq=False, kw_only=True, repr=False)
class Flight:
    """A start and its waiters.

    ``sent`` becomes True immediately before the request is written. From then on the start is
    never withdrawn, unless the service answers 429. ``key`` is the user's; with a journal, a
    generated one if the user gave none.
    """

    kind: TaskKind[..., Any]
    inputs: TaskInput
    media: Prepareds
    digest: str
    name: str | None
    mark: str | None
    services: "TaskServices"
    timeout: float
    hook: str | None = None
    """Identifies the start in its webhook token; None if it requests no webhook."""
    key: str | None = None
    nameless: object = field(factory=object)
    """Identifies the start if it has no key."""
    begun: bool = False
    """The journal has reserved the key for this attempt."""
    foreign: bool = False
    """Another client owns the key and lost its response: search for the task, never submit."""
    own_key: bool = False
    """The key was generated for the journal; the user gave none."""
    carry: "asyncio.Task[Task[Any]] | None" = None
    riders: int = 0
    sent: bool = False
    withdrawn: bool = False
    delivered: bool = False
    recovery: Recovery | None = None
    """What identifies the start at the service: set before it is sent, or by an earlier run."""
    task: "Task[Any] | None" = None
    lost: StartOutcomeUnknown | None = None
    held: Held = field(factory=Held)
    """What its budgets have reserved for it."""
    upload_coins: int = 0
    """Coins paid to upload its inputs."""
    number: int | None = None
    """The number of this start in events, if there is a listener."""
    sent_at: float | None = None
    """Event loop time (s) just before this process sent it."""
    place: "Place | None" = None
    """Its slot. Once the task is known, the task occupies the slot and this is None."""

    def __repr__(self) -> str:
        return (
            f"<StartAttempt of {self.kind.name}, key {self.key!r}{', sent' if self.sent else ''}>"
        )

    @property
    def reserved_for(self) -> str | None:
        """The key under which budgets keep its reservation while its outcome is unknown."""
        if self.key is not None and not self.own_key:
            return self.key
        recovery = self.recovery
        return None if recovery is None else _name_of(recovery)

    @property
    def token(self) -> object:
        """Identifies the start among all starts of the client: its key, if it has one."""
        return self.nameless if self.key is None else self.key

    def forget_inputs(self) -> None:
        """Drop the media, which may be large: nothing will be sent any more."""
        self.media = {}
        self.inputs = TaskInput(meta=self.inputs.meta, key=self.inputs.key)

    @property
    def uploaded(self) -> bool:
        """Whether the start can be sent without uploading (and paying for) a file."""
        return all(isinstance(item, str) for item in self.media.values())


def _name_of(lost: Recovery) -> str:
    return f"{lost.mark or lost.digest}@{lost.sent_at.timestamp():.3f}"


def new_mark() -> str:
    """Return a unique name with 100 random bits."""
    # One call for 13 bytes: the cost of system randomness is per call, not per byte.
    bits = int.from_bytes(secrets.token_bytes(13))
    return "a2e-" + "".join([_ALPHABET[bits >> offset & 31] for offset in _PLACES])


def made_key(what: str) -> str:
    """Return a unique journal key for a start without a key of its own.

    It begins with the time, so keys generated together are neighbours in the journal's index
    and a group commit writes few index pages.
    """
    return f"{what}:{time.time_ns():016x}{secrets.token_hex(8)}"


def rest_key(key: str) -> str:
    """Return the key of the entry for tasks that the response to this key's start left out.

    It is derived from the start's key, so that all clients use the same entry.
    """
    return f"{_REST}{key}"


def start_of_rest(key: str) -> str | None:
    """Return the key of the start that a `rest_key` belongs to; None for any other key."""
    return key.removeprefix(_REST) if key.startswith(_REST) else None


def wire_name(
    kind: TaskKind[..., Any], name: str | None, mark: str, *, mark_names: bool
) -> tuple[str | None, str | None]:
    """Return the name to send and the mark in it; each is None if there is none."""
    if kind.name_wire is None:
        if name:
            raise InvalidInput(f"{kind.name} does not accept a name.", field="name")
        return None, None
    if name is not None and len(name) > kind.name_most:
        raise InvalidInput(
            f"name must have at most {kind.name_most} characters, got {len(name)}.",
            field="name",
        )
    if name and not mark_names:
        # Without a mark a lost start can still be found by its name, unless it is ambiguous.
        return name, None
    if not name:
        return mark, mark
    if len(name) + 1 + len(mark) > kind.name_most:
        raise InvalidInput(
            f"name must have at most {kind.name_most - len(mark) - 1} characters, because the "
            "client adds a mark to it.",
            field="name",
        )
    return f"{name} {mark}", mark


def input_digest(kind: TaskKind[..., Any], inputs: TaskInput, media: Prepareds) -> str:
    """Return a digest of a start's inputs; equal inputs have equal digests.

    Local files count by content, URLs without their signature, and names not at all: a retry
    with a newly signed URL must be recognised as the same start.
    """
    urls = {
        place: stable_url(item) if isinstance(item, str) else f"sha256:{item.digest}"
        for place, item in media.items()
    }
    return _digest([kind.name, inputs.to_wire(urls)])


def call_digest(kind: str, body: Mapping[str, Any]) -> str:
    """Return a digest of the inputs of a paid call without a task."""
    inputs = {
        name: stable_url(value) if isinstance(value, str) and is_url(value) else value
        for name, value in body.items()
    }
    return _digest([kind, inputs])


def _digest(wire: Any) -> str:
    text = json.dumps(wire, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
