"""What responses are decoded into: records, outputs, pages.

Records are attrs classes. `WireName` in a field's annotation gives its name in the JSON; without it
both names are equal.
"""

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    Protocol,
    Self,
    TypeVar,
)

from attrs import define, evolve, field, fields, frozen
from attrs.converters import optional

from a2e_async._core.base_errors import DecodeError, InvalidInput
from a2e_async._core.converter import structure, unstructure
from a2e_async._core.paths import local_path, path_text
from a2e_async._core.redact import SignedUrl, bare_url, full_url, redact, stable_url
from a2e_async._core.typeguards import parse_price

T = TypeVar("T")

MediaType = Literal["video", "audio", "image", "file"]


class Status(StrEnum):
    """The status of a task, in the same words for all kinds."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        """True if the task will not change any more."""
        return self is Status.SUCCEEDED or self is Status.FAILED


@frozen
class WireName:
    """A field's name in the service's JSON, and alternative spellings used there."""

    name: str
    aliases: tuple[str, ...] = ()


@frozen
class NumericString:
    """A number that the service writes as text."""


@frozen
class Failure:
    """Why a task failed, in the service's own words, with secrets removed.

    ``code`` is None if the service gave none.
    """

    message: str = field(converter=redact)
    """The reason in the words of the service, without secrets."""
    code: str | None = field(default=None, converter=optional(redact))
    """The error code of the service; None if it gave none."""


class OutputSource(Protocol):
    """Downloads outputs; the client gives one to every output it creates."""

    def save(
        self, output: "Output", path: Path, *, directory: bool | None, stem: str | None = None
    ) -> Coroutine[Any, Any, Path]: ...

    def read(self, output: "Output", max_bytes: int) -> Coroutine[Any, Any, bytes]: ...

    def open(self, output: "Output") -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


def _without_query(url: str) -> str:
    return url if isinstance(url, SignedUrl) or bare_url(url) == url else SignedUrl(url)


def _url_identity(url: str) -> str:
    return url.identity if isinstance(url, SignedUrl) else stable_url(url)


class _FetchableOutput:
    """Keeps the output's source out of its fields: a serialiser must not reach the client."""

    __slots__ = ("_source",)

    _source: "OutputSource | None"

    def _set_source(self, source: "OutputSource | None") -> None:
        self._source = source


@define(eq=True, unsafe_hash=True, kw_only=True, init=False)
class Output(_FetchableOutput):
    """One result file of a task, stored at the service.

    ``url`` is signed and expires (``expires_at``, None if the URL does not say when); downloading
    renews it. ``media`` is video, audio, image or file. Every media input accepts an Output. Its
    repr, pickle and serialised forms contain only ``bare_url``, the URL without its query.
    """

    bare_url: str = field(converter=_without_query, eq=_url_identity, alias="url")
    """The URL without its query; `url` is the signed one."""
    media: MediaType = "file"
    """``video``, ``audio``, ``image`` or ``file``."""
    expires_at: datetime | None = field(default=None, eq=False)
    """When the signed URL expires; None if the URL does not show it."""
    ref: str | None = field(default=None, eq=False)
    """The ref of its task, as in ``Task.ref`` (a single remote task)."""
    index: int = field(default=0, eq=False)
    """Its position among the outputs of that task."""

    def __init__(
        self,
        *,
        url: str,
        media: MediaType = "file",
        expires_at: datetime | None = None,
        ref: str | None = None,
        index: int = 0,
        source: OutputSource | None = None,
    ) -> None:
        self.bare_url = url
        self.media = media
        self.expires_at = expires_at
        self.ref = ref
        self.index = index
        self._set_source(source)

    @property
    def url(self) -> str:
        """The URL with its signature; without it for an unpickled output."""
        return full_url(self.bare_url)

    @property
    def unsigned(self) -> bool:
        """True if its signature was lost by pickling: the URL must be requested again."""
        return isinstance(self.bare_url, SignedUrl) and self.bare_url.signed is None

    def __repr__(self) -> str:
        return f"Output({str(self.bare_url)!r}, media={self.media!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {a.name: getattr(self, a.name) for a in fields(Output)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._set_source(None)

    # Not `async def`: the source of a blocking client returns results, not coroutines.

    def save(self, path: str | os.PathLike[str]) -> Coroutine[Any, Any, Path]:
        """Download the file to ``path``, or into it if it is a directory; return the file's path.

        Missing directories are created. A ``path`` with a trailing slash is a directory; so is one
        without a suffix that does not exist, if the result's own name has a suffix. The file
        appears complete or not at all (until then it is a ``.part`` file beside it). An interrupted
        download is resumed, and an expired URL is renewed. A symbolic link at ``path`` is replaced,
        not its target.

        A suffix of another medium is corrected, with a warning: sound saved to
        ``dubbed.mp4`` becomes ``dubbed.mp3``. Raises `InvalidInput`, `TransferError`.
        """
        where = local_path(path, "path")
        # One or two stat calls take microseconds: no worker thread is needed.
        directory: bool | None = os.path.isdir(where)  # noqa: PTH112  # False on any error
        if path_text(path, "path").endswith(("/", os.sep)):
            directory = True
        elif not (directory or where.suffix or os.path.lexists(where)):
            directory = None
        return self._require_source().save(self, where, directory=directory)

    def read(self, *, max_bytes: int = 64 * 1024 * 1024) -> Coroutine[Any, Any, bytes]:
        """Return the file's bytes; raises `OutputTooLarge` if it has more than ``max_bytes``."""
        return self._require_source().read(self, max_bytes)

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream the file: ``async with output.open() as chunks: async for chunk in chunks: …``."""
        return self._require_source().open(self)

    def _require_source(self) -> OutputSource:
        if self._source is None:
            raise InvalidInput(
                "This Output belongs to no client (it was unpickled or made by hand). Get it "
                "again with a2e.attach(ref), or use a2e.files.download(output, path)."
            )
        return self._source


def save_in(output: Output, directory: Path, stem: str | None) -> Coroutine[Any, Any, Path]:
    """Save an output into a directory, under the name ``stem`` with the suffix of its format."""
    source = output._require_source()  # pyright: ignore[reportPrivateUsage]  # the same module
    return source.save(output, directory, directory=True, stem=stem)


class _DecodedOnDemand:
    """Decodes the other fields of a polled record when one of them is first read.

    ``_complete`` is set only by `decoded_on_demand`: the function that returns the record with
    all its fields, and from its first call on that record.
    """

    __slots__ = ("_complete",)

    _complete: "Callable[[], Record] | Record"

    if not TYPE_CHECKING:  # a type checker would allow any attribute

        def __getattr__(self, name: str) -> Any:
            """Return a field that is read for the first time (Python calls this for no other)."""
            if name == "_complete" or (complete := getattr(self, "_complete", None)) is None:
                return object.__getattribute__(self, name)  # raises the usual error
            if not isinstance(complete, Record):
                complete = complete()
                object.__setattr__(self, "_complete", complete)
            value = getattr(complete, name)
            object.__setattr__(self, name, value)  # the class may be frozen
            return value


@define(kw_only=True)
class Record(_DecodedOnDemand):
    """What the service reports about one task. Kinds add their own fields.

    ``progress`` is 0-1, None if the service does not report it; ``coins`` likewise. ``name`` is the
    user's own (None if the client chose one). ``extra`` keeps fields that are not modelled, under
    their wire names. A URL with a query, in ``extra`` or in a kind's own field, is stored without
    the query; its attribute ``signed`` is the complete URL.
    """

    id: str
    """Id of the task at the service."""
    name: str | None = None
    """Your name for the task; None if the client chose one."""
    status: Status = Status.QUEUED
    """The status: queued, running, succeeded or failed."""
    raw_status: str = ""
    """The service's own word for the status."""
    progress: float | None = None
    """Progress from 0 to 1; None if the service does not report it."""
    coins: int | None = None
    """The price in coins; None if the service does not report it."""
    created_at: datetime | None = None
    """When the task was created; None if the service does not report it."""
    failure: Failure | None = None
    """Why the task failed; None for all other tasks."""
    outputs: tuple[Output, ...] = ()
    """The result files, in order; empty until the task has succeeded."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    """Other fields of the response, by their wire names."""
    _parts: "tuple[Record, ...]" = field(default=(), repr=False)

    result_attribute: ClassVar[str] = ""
    """For kinds that make no files: where their result is."""

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        # A kind's own fields repeat prompts and signed URLs, which must stay out of logs.
        cls.__repr__ = Record.__repr__  # type: ignore[method-assign]  # attrs' own shows all fields

    def __rich_repr__(self) -> Iterator[tuple[str, Any]]:
        """Yield the fields that rich shows: no more than the repr."""
        for name in ("id", "status", "raw_status", "failure", "outputs"):
            yield name, getattr(self, name)

    def __repr__(self) -> str:
        word = f" ({self.raw_status})" if self.raw_status else ""
        return f"<{type(self).__name__} {self.id} {self.status}{word}, {len(self.outputs)} outputs>"

    @property
    def done(self) -> bool:
        """True if the task will not change any more."""
        return self.status.terminal

    @property
    def parts(self) -> tuple[Self, ...]:
        """One record per remote task: the record itself, unless the start made several."""
        return self._parts or (self,)  # type: ignore[return-value]  # parts are of one class by construction

    @property
    def output(self) -> Output:
        """The single output. Raises `InvalidInput` unless there is exactly one.

        Raises `DecodeError` if the service reports success but gives no result.
        """
        if len(self.outputs) == 1 and all(part.outputs for part in self._parts):
            return self.outputs[0]
        if len(self.outputs) == 1 and self.done:
            return next(part.output for part in self._parts if not part.outputs)
        if self.outputs:
            raise InvalidInput(f"{self.id} has {len(self.outputs)} outputs; use record.outputs.")
        if self.result_attribute:
            raise InvalidInput(f"{self.id} makes no files; its result is {self.result_attribute}.")
        if self.status is Status.SUCCEEDED:
            raise DecodeError(
                f"The service reports {self.id} as completed but gives no result. Call get() "
                "again in a minute; if the result stays missing, contact the service's support."
            )
        raise InvalidInput(f"{self.id} has no output: it is {self.status}. Wait for it first.")


R = TypeVar("R", bound=Record)


def decoded_on_demand(
    record: type[R], decode: Callable[[], R], *, id: str, status: Status, raw_status: str
) -> R:
    """Return a record with these fields; ``decode`` returns it with all fields, when needed.

    Only for classes whose constructor can run later: see `RecordDecoder.can_wait`.
    """
    made = record.__new__(record)
    set_field = object.__setattr__  # the class may be frozen
    set_field(made, "_complete", decode)
    set_field(made, "id", id)
    set_field(made, "status", status)
    set_field(made, "raw_status", raw_status)
    return made


def merge_records(parts: tuple[R, ...]) -> R:
    """Return one record for all remote tasks of a start, in their order."""
    if len(parts) == 1:
        return parts[0]
    known = any(p.progress is not None for p in parts)
    coins = [coins for p in parts if (coins := parse_price(p.coins)) is not None]
    leading = min(parts, key=lambda p: _MERGE_ORDER[p.status])
    begun = leading.status is Status.QUEUED and any(p.done for p in parts)
    return evolve(
        parts[0],
        id="+".join(p.id for p in parts),
        status=Status.RUNNING if begun else leading.status,
        raw_status=leading.raw_status,
        progress=sum(1.0 if p.done else p.progress or 0.0 for p in parts) / len(parts)
        if known
        else None,
        coins=sum(coins) if len(coins) == len(parts) else None,
        failure=next((p.failure for p in parts if p.failure), None),
        outputs=tuple(o for p in parts for o in p.outputs),
        parts=parts,
    )


# Which part determines the merged status: a running one first, then a queued one (though the whole
# counts as running once any part is done), then a failed one.
_MERGE_ORDER: Final = {
    Status.RUNNING: 0,
    Status.QUEUED: 1,
    Status.FAILED: 2,
    Status.SUCCEEDED: 3,
}


@frozen
class Page(Generic[T]):
    """One page of a list. ``total`` is None if the service does not report it."""

    items: tuple[T, ...]
    """The items of the page, in the order of the service."""
    total: int | None = None
    """Number of items on all pages; None if the service does not report it."""

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@frozen(kw_only=True)
class ClientStats:
    """What a client is doing at this moment, from `A2E.stats`. No request is made for it."""

    waits: int
    """Callers that wait for a task."""
    polled_tasks: int
    """Remote tasks that are polled for them."""
    poll_interval: float
    """Seconds between two polls of a task; longer than ``A2E(poll_interval=…)`` under load."""
    starts: int
    """Starts in progress, and searches for starts whose responses were lost."""
    queued_starts: int
    """Of the starts, those that wait for a slot (see `A2E.for_caller`)."""
    unfinished_tasks: int
    """Remote tasks and admitted starts that count towards a ``max_unfinished``; 0 without one."""
    paid_calls: int
    """Other paid calls in progress, such as speech."""
    queued_requests: int
    """Requests that wait for the rate limit or for a connection."""
    connections: int
    """Connections in use for API requests."""
    pause: float
    """Seconds left of a pause that the service asked for (429); 0 if there is none."""
    unclaimed: int
    """Length of `A2E.unclaimed`."""
    unknown: int
    """Length of `A2E.unknown`."""


@frozen(kw_only=True)
class Recovery:
    """Everything that is needed to search for a task whose start response was lost.

    ``mark`` is the unique name that the start carried (None if the user gave a name), ``name`` the
    name in the request, ``digest`` that of the inputs, ``echo`` has digests of the inputs that a
    record may repeat. ``sent_at`` is when it was ready to be sent, ``lost_at`` when the client
    stopped waiting for the response (None: its process ended first); ``expected`` how many remote
    tasks the start makes.
    """

    kind: str
    """Name of the kind."""
    path: str
    """Path of the start request."""
    name: str | None
    """The name that was sent."""
    mark: str | None
    """The unique mark in the sent name; None if the caller gave the whole name."""
    digest: str
    """Digest of the inputs."""
    sent_at: datetime
    """When the start request was ready to be sent."""
    lost_at: datetime | None = None
    """When the client stopped waiting for the response; None if its process ended first."""
    expected: int = 1
    """Number of tasks that the start makes."""
    echo: Mapping[str, str] = field(factory=dict[str, str], repr=False, hash=False)
    """Digests of the inputs that a record may repeat."""

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON-compatible types."""
        values: dict[str, Any] = unstructure(self)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recovery":
        """Return the `Recovery` that `to_dict` wrote; unknown keys are ignored.

        Raises `KeyError` for a missing value, `TypeError` or `ValueError` for a wrong one.
        """
        return structure(values, cls)
