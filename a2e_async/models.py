"""What the service's answers become: records, outputs, pages, and the one converter.

Records are attrs classes. A field's wire name stands in its annotation (`Wire`); without one
the wire name is the field's own. A decorative field of an unexpected type never costs a paid
result: the field is None then and the value is kept in ``extra``.
"""

import math
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    Protocol,
    Self,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from attrs import define, evolve, field, fields, frozen

from a2e_async.errors import DecodeError, InvalidInput
from a2e_async.narrow import is_list
from a2e_async.redact import bare_url, stable_url

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")

MediaType = Literal["video", "audio", "image", "file"]


class Status(StrEnum):
    """Where a task stands, whatever word its kind uses for it."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def terminal(self) -> bool:
        """True when the task will not change any more."""
        return self is Status.SUCCEEDED or self is Status.FAILED


@frozen
class Wire:
    """A field's name on the wire, and other spellings that occur there."""

    name: str
    also: tuple[str, ...] = ()


@frozen
class Failure:
    """Why a task failed, in the service's own words. ``code`` is None where it gave none."""

    message: str
    code: str | None = None


class OutputSource(Protocol):
    """Fetches outputs; the client gives one to every output it makes."""

    async def save(self, output: "Output", path: Path, *, directory: bool) -> Path: ...

    async def read(self, output: "Output", max_bytes: int) -> bytes: ...

    def open(self, output: "Output") -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


@define(eq=True, unsafe_hash=True, kw_only=True)
class Output:
    """One result file of a task, still on the service's storage.

    ``url`` is signed and expires (``expires_at``, None when the URL does not tell); fetching
    renews it. ``media`` is video, audio, image or file. Every media input accepts an Output.
    """

    url: str = field(eq=stable_url)
    media: MediaType = "file"
    expires_at: datetime | None = field(default=None, eq=False)
    ref: str | None = field(default=None, eq=False)
    """The task it belongs to, as in ``Task.ref`` (one remote task)."""
    index: int = field(default=0, eq=False)
    """Its place among the outputs of that task."""
    source: OutputSource | None = field(default=None, eq=False, repr=False)

    def __repr__(self) -> str:
        return f"Output({bare_url(self.url)!r}, media={self.media!r})"

    def __getstate__(self) -> dict[str, Any]:
        state = {a.name: getattr(self, a.name) for a in fields(Output)}
        return {**state, "source": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file to ``path`` and return it; into ``path`` if that is a directory.

        The file appears complete or not at all (a ``.part`` file beside it until then); a cut
        download is resumed and an expired URL renewed. Raises `TransferError`.
        """
        directory = os.fspath(path).endswith(("/", os.sep)) or os.path.isdir(path)  # noqa: ASYNC240, PTH112  # one stat, microseconds
        return await self._bound().save(self, Path(path), directory=directory)

    async def read(self, *, max_bytes: int = 64 * 1024 * 1024) -> bytes:
        """Return the whole file; raises `TransferError` if it is larger than ``max_bytes``."""
        return await self._bound().read(self, max_bytes)

    def open(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """``async with output.open() as chunks: async for chunk in chunks: …``."""
        return self._bound().open(self)

    def _bound(self) -> OutputSource:
        if self.source is None:
            raise InvalidInput(
                "This Output belongs to no client (it was unpickled or made by hand); get it "
                "again with a2e.attach(ref), or use a2e.files.download(output.url, path)."
            )
        return self.source


@define(kw_only=True)
class Record:
    """What the service says of one task. Kinds add their own fields.

    ``progress`` is 0-1 and only there when the service tells it; ``coins`` likewise.
    ``name`` is the user's own (None when the client chose one). ``extra`` keeps what is not
    modelled, under its wire name.
    """

    id: str
    name: str | None = None
    status: Status = Status.QUEUED
    raw_status: str = ""
    progress: float | None = None
    coins: int | None = None
    created_at: datetime | None = None
    failure: Failure | None = None
    outputs: tuple[Output, ...] = ()
    extra: Mapping[str, Any] = field(factory=dict[str, Any], eq=False, repr=False)
    _parts: "tuple[Record, ...]" = field(default=(), repr=False)

    @classmethod
    def __attrs_init_subclass__(cls) -> None:
        # A kind's own fields echo prompts and signed URLs; they stay out of logs.
        cls.__repr__ = Record.__repr__  # type: ignore[method-assign]  # attrs made one with all fields

    def __repr__(self) -> str:
        word = f" ({self.raw_status})" if self.raw_status else ""
        return f"<{type(self).__name__} {self.id} {self.status}{word}, {len(self.outputs)} outputs>"

    @property
    def done(self) -> bool:
        """True when the task will not change any more."""
        return self.status.terminal

    @property
    def parts(self) -> tuple[Self, ...]:
        """One record for each remote task: the record itself, unless one start made several."""
        return self._parts or (self,)  # type: ignore[return-value]  # parts are of one class by construction

    @property
    def output(self) -> Output:
        """The one output. Raises `InvalidInput` unless there is exactly one to have.

        A task that the service calls successful but that has no result raises `DecodeError`.
        """
        if len(self.outputs) == 1:
            return self.outputs[0]
        if self.outputs:
            raise InvalidInput(f"{self.id} has {len(self.outputs)} outputs; use record.outputs.")
        if self.status is Status.SUCCEEDED:
            raise DecodeError(
                f"The service calls {self.id} completed but gives no result for it. "
                "Look again in a minute with get(); if it stays so, tell the service's support."
            )
        raise InvalidInput(f"{self.id} has no output: it is {self.status}. Wait for it first.")


OWN_FIELDS: Final = frozenset(a.name for a in fields(Record))
"""Fields every record has; they are read by the kind's field map, not by name."""

R = TypeVar("R", bound=Record)


def merge_records(parts: tuple[R, ...]) -> R:
    """Return one record for several remote tasks of one start, in their order."""
    if len(parts) == 1:
        return parts[0]
    known = any(p.progress is not None for p in parts)
    coins = [p.coins for p in parts if p.coins is not None]
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


# The part that speaks for all: one that runs, else one that waits (the whole has begun once any
# part is over), else one that failed.
_MERGE_ORDER: Final = {
    Status.RUNNING: 0,
    Status.QUEUED: 1,
    Status.FAILED: 2,
    Status.SUCCEEDED: 3,
}


@frozen
class Page(Generic[T]):
    """One page of a list. ``total`` is None where the service does not count."""

    items: tuple[T, ...]
    total: int | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@frozen(kw_only=True)
class Recovery:
    """All that is needed to look for a task whose start answer was lost.

    ``mark`` is the unique name the start carried (None when the user gave a name), ``name``
    the name on the wire, ``digest`` of the inputs, ``sent_at`` when the bytes left,
    ``expected`` how many remote tasks it would make.
    """

    kind: str
    path: str
    name: str | None
    mark: str | None
    digest: str
    sent_at: datetime
    expected: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {a.name: getattr(self, a.name) for a in fields(Recovery)} | {
            "sent_at": self.sent_at.isoformat()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Recovery":
        """Return the value that `to_dict` wrote; unknown entries are ignored."""
        known: dict[str, Any] = {a.name: values[a.name] for a in fields(cls) if a.name in values}
        known["sent_at"] = datetime.fromisoformat(known["sent_at"])
        return cls(**known)


# -- the converter ---------------------------------------------------------------------------


def _strict(kind: type) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool):
            return value
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")

    return hook


def _strict_float(value: Any, _: Any) -> float:
    # NaN equals nothing, not even itself: a record that holds one would seem to change for ever.
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise TypeError(f"expected a number, got {type(value).__name__}")


def _strict_int(value: Any, _: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise TypeError(f"expected int, got {type(value).__name__}")


def read_time(value: Any, _: Any = None) -> datetime:
    """Return an aware datetime from ISO text or epoch seconds or milliseconds."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) > 8:
        value = int(value)  # else 1712101512345 would be read as a day of the year 1712
    if isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000 if value > 1e11 else value, UTC)
    raise TypeError(f"expected a time, got {type(value).__name__}")


@cache
def converter() -> "Converter":
    """Return the one cattrs converter: strict primitives, aware times, no coercion.

    Made on first use: cattrs is a quarter of the import time of this package.
    """
    from cattrs import Converter

    made = Converter(detailed_validation=False)
    made.register_structure_hook(str, _strict(str))
    made.register_structure_hook(bool, _strict(bool))
    made.register_structure_hook(float, _strict_float)
    made.register_structure_hook(int, _strict_int)
    made.register_structure_hook(datetime, read_time)
    made.register_structure_hook_func(lambda t: t is Any, lambda value, _: value)
    made.register_structure_hook_factory(_is_tuple, _tuple_hook)
    return made


def _is_tuple(target: Any) -> bool:
    origin: Any = get_origin(target)
    return origin is tuple


def _tuple_hook(target: Any) -> Callable[[Any, Any], Any]:
    inner = get_args(target)[0]
    hook = converter().get_structure_hook(inner)

    def read(value: Any, _: Any) -> tuple[Any, ...]:
        if not is_list(value):
            raise TypeError(f"expected a list, got {type(value).__name__}")
        return tuple(hook(item, inner) for item in value)

    return read


@frozen
class _Field:
    name: str
    wire: str
    also: tuple[str, ...]
    target: Any
    exact: type | None
    """A value of exactly this class needs no reading: most are of it."""
    hook: Callable[[Any, Any], Any]


@frozen(eq=False)
class FieldReader:
    """Reads the own fields of a record class from its raw form."""

    fields: tuple[_Field, ...]
    named: frozenset[str]
    """Every wire name that one of them reads."""
    known: frozenset[str]
    """Those, and the wire names that the kind's field map reads."""

    @classmethod
    def of(cls, record: type[Record], taken: frozenset[str]) -> "FieldReader":
        """Return the reader of a class; ``taken`` are the wire names of the kind's field map."""
        hints = get_type_hints(record, include_extras=True)
        made: list[_Field] = []
        for attribute in fields(record):
            if attribute.name in OWN_FIELDS:
                continue
            hint = hints[attribute.name]
            wire = Wire(attribute.name)
            if get_origin(hint) is Annotated:
                hint, *notes = get_args(hint)
                wire = next((note for note in notes if isinstance(note, Wire)), wire)
            inner = [part for part in get_args(hint) or (hint,) if part is not NoneType]
            # None is told apart before the hook, so that of `str | None` only `str` is left.
            target = inner[0] if len(inner) == 1 and get_origin(hint) is not tuple else hint
            exact = target if target in (str, int, bool) else None
            hook = converter().get_structure_hook(target)
            made.append(_Field(attribute.name, wire.name, wire.also, target, exact, hook))
        named = frozenset(w for f in made for w in (f.wire, *f.also))
        return cls(tuple(made), named, named | taken)

    def read(self, raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the own fields by name, and what is left over (``extra``) by wire name."""
        own: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        for f in self.fields:
            value = raw.get(f.wire)
            if value.__class__ is f.exact:
                own[f.name] = value
            elif value is not None or f.also:
                _read_odd(f, raw, own, extra)
        if not raw.keys() <= self.known:
            extra |= {wire: raw[wire] for wire in raw if wire not in self.known}
        return own, extra


def _read_odd(
    f: _Field, raw: Mapping[str, Any], own: dict[str, Any], extra: dict[str, Any]
) -> None:
    """Read a value that needs its hook, or stands under another name, or does not fit."""
    for wire in (f.wire, *f.also):
        value = raw.get(wire)
        if value is None:
            continue
        if f.name not in own:
            try:
                own[f.name] = f.hook(value, f.target)
                continue
            except (TypeError, ValueError, OverflowError, OSError):
                pass
        extra[wire] = value


def drift(reader: FieldReader, raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what ``raw`` holds beyond or against the model (for tests): one line each."""
    own, extra = reader.read(raw)
    return tuple(
        f"{name}: wrong type {type(value).__name__}"
        if name in reader.named
        else f"{name}: not modelled"
        for name, value in sorted(extra.items())
    ) + tuple(
        f"{f.name}: missing" for f in reader.fields if f.name not in own and f.wire not in raw
    )
