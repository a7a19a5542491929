"""One paid start in progress: its request, its waiters and what is known about its outcome."""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from attrs import define, evolve, field, frozen

from a2e_async._core.clock import utc_now
from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.journal.recorder import recovery_from_entry
from a2e_async._core.redact import stable_url
from a2e_async._core.schema.inputs import TaskInput, is_url
from a2e_async._core.schema.media_input import OpenFile
from a2e_async._core.submission.fair_queue import QueuedStart
from a2e_async._core.submission.paid_request import PaidRequest
from a2e_async._core.submission.recovery_match import body_digests
from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.task import Task
from a2e_async.errors import InvalidInput
from a2e_async.models import Record, Recovery

if TYPE_CHECKING:
    from a2e_async._core.files.upload import LocalUpload
    from a2e_async._core.tasks.task import TaskServices

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuv"
_BIT_OFFSETS: Final = range(0, 100, 5)

_FILE_DIGEST: Final = "="
"""Precedes a name in ``echo`` for the digest of local files; no field of a record begins so."""

PreparedMedia = Mapping[tuple[str, int | None], "LocalUpload | str"]
"""Each media input of a start by field and list index: its URL or a checked local file."""


@define(eq=False, kw_only=True)
class Slot(QueuedStart):
    """A start's slot: first in the queue, then occupied by its tasks.

    Created by `AdmissionControl`, which alone changes it and frees it when the tasks have ended.
    """

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


@frozen(eq=False, kw_only=True, repr=False)
class StartSpec:
    """What a start is: all of it is checked before anything is charged, and nothing changes."""

    kind: TaskKind[..., Any]
    inputs: TaskInput
    media: PreparedMedia
    digest: str
    services: "TaskServices"
    open_files: tuple[OpenFile, ...] = ()
    """The file objects and streams among the inputs, held until it has ended."""
    search_only: bool = False
    """Its task is searched for; it is never submitted."""

    @property
    def task_count(self) -> int:
        """How many tasks it makes at the service."""
        return self.kind.task_count(self.inputs)

    @property
    def needs_no_upload(self) -> bool:
        """Whether it can be sent without uploading (and paying for) a file."""
        return all(isinstance(item, str) for item in self.media.values())

    def changed_inputs(self, entry: Entry) -> tuple[str, ...]:
        """Return the names of the inputs that differ from those of an entry, as far as known."""
        return changed_inputs(self.kind, self.inputs, self.media, entry)

    def file_digests(self) -> Mapping[str, str]:
        """Return digests of the inputs with local files, whose URL differs in each start."""
        if self.needs_no_upload:
            return {}
        wire_names = {f.name: f.wire_name for f in self.kind.inputs}
        local = {
            wire_names[name] for (name, _), one in self.media.items() if not isinstance(one, str)
        }
        digests = _comparable_digests(self.kind, self.inputs, self.media)
        return {_FILE_DIGEST + name: digests[name] for name in local if name in digests}

    def without_media(self) -> "StartSpec":
        """Return it without what may be large."""
        inputs = TaskInput(meta=self.inputs.meta, key=self.inputs.key)
        return evolve(self, media={}, inputs=inputs, open_files=())


@define(eq=False, kw_only=True, repr=False)
class StartAttempt(PaidRequest["Task[Any]"]):
    """The state of a start of a task in progress.

    Created by the `StartRegistry` for a user's start, or for a search; see `PaidRequest`.
    """

    spec: StartSpec
    name: str | None
    """The name to send, or under which an earlier run has sent it."""
    mark: str | None
    """The part of the name that no other start has."""
    webhook_id: str | None = None
    """Identifies the start in its webhook token; None if it requests no webhook."""
    anonymous_id: object = field(factory=object)
    """Identifies the start if it has no key."""
    prepaid: int = 0
    """Coins that budgets have counted for tasks which its response did not name."""
    upload_coins: int = 0
    """Coins paid to upload its inputs."""
    event_number: int | None = None
    """The number of this start in events, if there is a listener."""
    slot: Slot | None = None
    """Its slot. Once the task is known, the task occupies the slot and this is None."""
    slot_of_missing: Slot | None = None
    """The slot that counts tasks which its response left out, while they are searched for."""

    def __repr__(self) -> str:
        sent = ", sent" if self.sent else ""
        return f"<StartAttempt of {self.spec.kind.name}, key {self.key!r}{sent}>"

    @property
    def is_shared(self) -> bool:
        """Whether it has a key of the user's, with which other callers may join it."""
        return self.spec.inputs.key is not None

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

    def continue_from(self, entry: Entry) -> None:
        """Take over a start that an earlier run sent, and whose response was lost."""
        # The type is repeated, as a checker of the installed package would infer a narrower one.
        self.recovery: Recovery | None = recovery_from_entry(entry)
        self.sent_earlier = True  # search for it, never withdraw it
        self.name, self.mark, self.webhook_id = entry.name, entry.mark, entry.hook
        if entry.reserved is not None and not self.reservation:
            self.reservation.reserve_unknown(entry.reserved, entry.key)

    def describe(self, body: Mapping[str, Any]) -> Recovery:
        """Return what identifies this start in a list, in case the response is lost."""
        spec = self.spec
        return Recovery(
            kind=spec.kind.name,
            path=spec.kind.start.path,
            name=self.name,
            mark=self.mark,
            digest=spec.digest,
            sent_at=utc_now(),
            expected=spec.task_count,
            echo={**body_digests(body), **spec.file_digests()},
        )

    def entry(self, state: State, ids: tuple[str, ...] = (), coins: int | None = None) -> Entry:
        """Return its journal entry in this state, with the ids of its tasks and their price."""
        assert self.key is not None  # noqa: S101  # set by the recorder's reserve_key()
        spec, recovery = self.spec, self.recovery
        return Entry(
            key=self.key,
            kind=spec.kind.name,
            digest=spec.digest,
            state=state,
            path=spec.kind.start.path,
            name=self.name,
            mark=self.mark,
            echo={} if recovery is None else dict(recovery.echo),
            expected=spec.task_count,
            sent_at=None if recovery is None else recovery.sent_at.timestamp(),
            ids=ids,
            coins=coins,
            reserved=self.reservation.price,
            uploads=self.upload_coins,
            meta=spec.inputs.meta,
            own_key=self.key_generated,
            hook=self.webhook_id,
        )

    def make_task(self, ids: tuple[str, ...], records: tuple[Record, ...]) -> Task[Any]:
        """Return the handle of its tasks, whose records were read just now."""
        spec = self.spec
        return Task(
            spec.services,
            spec.kind,
            ids,
            records=records,
            now=asyncio.get_running_loop().time(),
            meta=spec.inputs.meta,
            key=spec.inputs.key,
            webhook_id=self.webhook_id,
        )

    def drop_inputs(self) -> None:
        """Drop the media, which may be large: nothing will be sent any more."""
        from a2e_async._core.files.open_file import release_files  # it loads aiohttp

        release_files(self.spec.open_files)
        self.spec = self.spec.without_media()


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
    return _json_digest([kind.name, _comparable_body(kind, inputs, media)])


def changed_inputs(
    kind: TaskKind[..., Any], inputs: TaskInput, media: PreparedMedia, entry: Entry
) -> tuple[str, ...]:
    """Return the names of the inputs that differ from those of an entry; () if it has too little.

    An entry knows its inputs once it was sent, and local files if this version wrote it.
    """
    if entry.kind != kind.name:
        return ("kind",)
    if not entry.echo:
        return ()
    names = {f.wire_name: f.name for f in kind.inputs if not f.common}
    before = {name: entry.echo.get(_FILE_DIGEST + name, entry.echo.get(name)) for name in names}
    now = _comparable_digests(kind, inputs, media)
    changed = [name for wire, name in names.items() if now.get(wire) != before[wire]]
    # What is in `extra`, or an input of a kind without an input class, has its name in the API.
    return (*changed, *(w for w in now if w not in names and now[w] != entry.echo.get(w)))


def _comparable_body(
    kind: TaskKind[..., Any], inputs: TaskInput, media: PreparedMedia
) -> dict[str, Any]:
    urls = {
        input_key: stable_url(item) if isinstance(item, str) else f"sha256:{item.digest}"
        for input_key, item in media.items()
    }
    return kind.request_body(inputs, urls)


def _comparable_digests(
    kind: TaskKind[..., Any], inputs: TaskInput, media: PreparedMedia
) -> dict[str, str]:
    return body_digests(_comparable_body(kind, inputs, media))


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
