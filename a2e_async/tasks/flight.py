"""One start on its way: what it sends, who waits for it, and what is known of its outcome."""

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
"""Each media input of a start, by field and place: its URL, or a checked local file."""


@define(eq=False, kw_only=True, repr=False)
class Flight:
    """A start and its callers.

    ``sent`` turns True at the instant its bytes leave: from then on it is never withdrawn,
    unless the service refuses it because of the pace. ``key`` is the user's, or in a journal
    one made for it.
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
    """What names it in its webhook's token; None when it asks for no events."""
    key: str | None = None
    nameless: object = field(factory=object)
    """Stands for it among all starts where it has no key."""
    begun: bool = False
    """The journal has its key for it."""
    foreign: bool = False
    """Another client holds its key and waits for no response: it is searched for, never sent."""
    own_key: bool = False
    """The key was made for the journal; the user gave none."""
    carry: "asyncio.Task[Task[Any]] | None" = None
    riders: int = 0
    sent: bool = False
    withdrawn: bool = False
    delivered: bool = False
    recovery: Recovery | None = None
    """What it was sent with, once it was; a start to look for before anything is sent."""
    task: "Task[Any] | None" = None
    lost: StartOutcomeUnknown | None = None
    held: Held = field(factory=Held)
    """What its budgets have set aside for it."""
    upload_coins: int = 0
    """Coins paid to upload its inputs."""
    number: int | None = None
    """What events call it by, where somebody listens."""
    sent_at: float | None = None
    """When this process was about to send it, by the loop's clock (s)."""
    place: "Place | None" = None
    """Its turn among all starts, until its task is known: the task holds it from then on."""

    def __repr__(self) -> str:
        return f"<Flight of {self.kind.name}, key {self.key!r}{', sent' if self.sent else ''}>"

    @property
    def reserved_for(self) -> str | None:
        """What budgets call a reservation for it that may have been paid."""
        if self.key is not None and not self.own_key:
            return self.key
        lost = self.recovery
        return None if lost is None else _name_of(lost)

    @property
    def token(self) -> object:
        """What stands for it among all starts: its key, where it has one."""
        return self.nameless if self.key is None else self.key

    def forget_inputs(self) -> None:
        """Let go of its media, which may be large: nothing will be sent any more."""
        self.media = {}
        self.inputs = TaskInput(meta=self.inputs.meta, key=self.inputs.key)

    @property
    def uploaded(self) -> bool:
        """Whether nothing has to go up, and be paid, before it can be sent."""
        return all(isinstance(item, str) for item in self.media.values())


def _name_of(lost: Recovery) -> str:
    return f"{lost.mark or lost.digest}@{lost.sent_at.timestamp():.3f}"


def new_mark() -> str:
    """Return a name no other start has: 100 random bits."""
    # From 13 bytes asked for at once: the system's randomness costs by the call, not by the byte.
    bits = int.from_bytes(secrets.token_bytes(13))
    return "a2e-" + "".join([_ALPHABET[bits >> place & 31] for place in _PLACES])


def made_key(what: str) -> str:
    """Return a key under which the journal keeps what its user gave none; nothing else has it.

    It begins with the time: keys that are made together stand together in the journal's index,
    so that a commit writes one page of it, not one for each.
    """
    return f"{what}:{time.time_ns():016x}{secrets.token_hex(8)}"


def rest_key(key: str) -> str:
    """Return the key of the entry for the tasks that the response to this key's start left out.

    It follows from the start's own key, so that there is one such entry, whoever makes it.
    """
    return f"{_REST}{key}"


def start_of_rest(key: str) -> str | None:
    """Return the key of the start that a `rest_key` belongs to; None for any other key."""
    return key.removeprefix(_REST) if key.startswith(_REST) else None


def wire_name(
    kind: TaskKind[..., Any], name: str | None, mark: str, *, mark_names: bool
) -> tuple[str | None, str | None]:
    """Return the name that goes out and the mark in it, None each where there is none."""
    if kind.name_wire is None:
        if name:
            raise InvalidInput(f"{kind.name} takes no name at the service.", field="name")
        return None, None
    if name is not None and len(name) > kind.name_most:
        raise InvalidInput(
            f"name must have at most {kind.name_most} characters, got {len(name)}.",
            field="name",
        )
    if name and not mark_names:
        return name, None
    if not name:
        return mark, mark
    if len(name) + 1 + len(mark) > kind.name_most:
        raise InvalidInput(
            f"name must have at most {kind.name_most - len(mark) - 1} characters where the "
            "client marks names.",
            field="name",
        )
    return f"{name} {mark}", mark


def input_digest(kind: TaskKind[..., Any], inputs: TaskInput, media: Prepareds) -> str:
    """Return a digest of what a start asks for: equal inputs, equal digest.

    Local media count by content, URLs without their signature, names not at all.
    """
    urls = {
        place: stable_url(item) if isinstance(item, str) else f"sha256:{item.digest}"
        for place, item in media.items()
    }
    return _digest([kind.name, inputs.to_wire(urls)])


def call_digest(kind: str, body: Mapping[str, Any]) -> str:
    """Return a digest of what a paid call without a task asks for: equal inputs, equal digest."""
    asked = {
        name: stable_url(value) if isinstance(value, str) and is_url(value) else value
        for name, value in body.items()
    }
    return _digest([kind, asked])


def _digest(wire: Any) -> str:
    text = json.dumps(wire, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
