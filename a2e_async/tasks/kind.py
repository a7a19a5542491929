"""A kind of task as data (pure): its operations, its words, its fields.

Nothing else in the package knows the paths or the vocabulary of a kind; the poller, the
starter, the namespaces and the command line all read them here.
"""

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast, overload

from attrs import evolve, frozen

from a2e_async.errors import InvalidInput
from a2e_async.inputs import TaskInput, build_input
from a2e_async.models import MediaType, Record, Status
from a2e_async.narrow import is_list, is_map
from a2e_async.reading import FieldReader

P = ParamSpec("P")
R = TypeVar("R", bound=Record)

HOUR: Final = 3600.0

LONG_AGO: Final = float("-inf")

_ID: Final = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_OBJECT_ID: Final = re.compile(r"[0-9a-f]{24}")
MARK_LENGTH: Final = 24
"""Characters of the mark by which a client finds a start again."""
_MARK_ALONE: Final = re.compile(r"a2e-[0-9a-v]{20}")
_MARK: Final = re.compile(r"\s?\ba2e-[0-9a-v]{20}\Z")


@frozen
class Endpoint:
    """One operation: HTTP method and path. ``{id}`` in the path, or ``query``, takes the id."""

    method: str
    path: str
    query: str | None = None

    def for_id(self, id: str) -> tuple[str, dict[str, str] | None]:
        """Return the path and the query parameters that name one record."""
        if self.query:
            return self.path, {self.query: id}
        return self.path.replace("{id}", id), None


@frozen
class Result:
    """A record's field that holds result URLs (one or a list), and what they are."""

    field: str
    media: MediaType


@frozen(kw_only=True)
class Paging:
    """Names and bounds of a list's paging. ``statuses`` are the words it can be filtered by."""

    page: str = "pageNum"
    size: str = "pageSize"
    most: int = 100
    statuses: tuple[str, ...] = ()


@frozen(kw_only=True)
class Words:
    """Where a record's state stands and which words it uses there.

    A word that is in none of the sets means: still running; those of ``running`` are known to
    mean it. ``also`` names fields that hold the word where ``field`` does not; a record that
    has a value in ``proof`` is finished, unless its word is a known one and says otherwise.
    """

    field: str = "current_status"
    also: tuple[str, ...] = ()
    proof: str | None = None
    queued: frozenset[str] = frozenset({"initialized", "sent", "pending", "pendding", "queued"})
    running: frozenset[str] = frozenset({"processing", "in_progress", "training", "generating"})
    succeeded: frozenset[str] = frozenset({"completed"})
    failed: frozenset[str] = frozenset({"failed"})
    progress: str | None = None
    progress_full: float = 100.0

    @cached_property
    def meaning(self) -> Mapping[str, Status]:
        """What each known word means."""
        return {
            **dict.fromkeys(self.running, Status.RUNNING),
            **dict.fromkeys(self.queued, Status.QUEUED),
            **dict.fromkeys(self.failed, Status.FAILED),
            **dict.fromkeys(self.succeeded, Status.SUCCEEDED),
        }

    def knows(self, word: str) -> bool:
        """Whether a word, as the service wrote it, is one of these."""
        return word.strip().lower() in self.meaning


@frozen(kw_only=True, eq=False)
class TaskKind(Generic[P, R]):
    """One kind of task. ``input`` and ``record`` are its classes, the rest is data.

    ``expected`` tells how many remote tasks a start makes; ``patience`` is the default
    timeout of a wait in seconds; ``name_most`` the longest name in characters; ``name_wire``
    is None for kinds whose start takes no name; ``paging`` is None for lists that have none.
    ``shows_new`` is the operation that shows the newest tasks whatever their state, where the
    list does not. ``flaky_detail`` marks a detail operation that refuses records that there
    are: waits leave it alone. ``webhook``: its start takes a webhook. ``usual`` bounds the usual
    seconds from start to end; ``summary`` says in a few words what the kind does; ``live``
    whether it was tried against the real service.
    """

    name: str
    summary: str = ""
    start_doc: str = ""
    """What a start makes, as the first paragraph of the documentation of `start`."""
    input: Callable[P, TaskInput]
    record: type[R]
    start_at: Endpoint
    detail_at: Endpoint | None = None
    list_at: Endpoint | None = None
    processing_at: Endpoint | None = None
    batch_at: Endpoint | None = None
    delete_at: Endpoint | None = None
    rename_at: Endpoint | None = None
    retry_at: Endpoint | None = None
    shows_new: Endpoint | None = None
    flaky_detail: bool = False
    webhook: bool = True
    paging: Paging | None = Paging()
    batch_most: int = 200
    words: Words = Words()
    results: tuple[Result, ...] = ()
    failure_texts: tuple[str, ...] = ("failed_message", "faild_message")
    failure_codes: tuple[str, ...] = ("failed_code", "error_code")
    name_wire: str | None = "name"
    name_most: int = 200
    expected: Callable[[TaskInput], int] = lambda _: 1
    patience: float = 2 * HOUR
    usual: tuple[float, float] | None = None
    live: bool = False

    @cached_property
    def look_at(self) -> Endpoint | None:
        """The operation by which a wait asks for one record; None where none can be trusted."""
        return None if self.flaky_detail else self.detail_at

    @cached_property
    def watchable(self) -> bool:
        """Whether any operation tells how a task stands."""
        return any((self.detail_at, self.batch_at, self.processing_at, self.list_at))

    @cached_property
    def page_most(self) -> int:
        """Records of the list that one call gives at most."""
        return self.paging.most if self.paging else sys.maxsize

    @cached_property
    def taken(self) -> frozenset[str]:
        """Wire names that the field map itself reads."""
        names = {"_id", "id", self.words.field, *self.words.also, "coins", "createdAt"}
        names.update(name for name in (self.name_wire, self.words.progress) if name)
        names.update(result.field for result in self.results)
        return frozenset(names.union(self.failure_texts, self.failure_codes))

    @cached_property
    def reader(self) -> FieldReader:
        """What reads the record class's own fields."""
        return FieldReader.of(self.record, self.taken)

    def is_over(self, record: Record) -> bool:
        """Whether a record is the last one of its task.

        It failed, or succeeded with all its results: some are shown a while after ``completed``.
        """
        if record.status is not Status.SUCCEEDED:
            return record.status is Status.FAILED
        if not self.results:
            return self._proof is None or bool(getattr(record, self._proof))
        # A list that holds more than URLs was kept in `extra`: one of the results is missing.
        partly = any(is_list(record.extra.get(result.field)) for result in self.results)
        return bool(record.outputs) and not partly

    @cached_property
    def _proof(self) -> str | None:
        """The record's field that is filled at its end, for kinds that make no files."""
        return next((f.name for f in self.reader.fields if f.wire == self.words.proof), None)

    def ref(self, ids: tuple[str, ...]) -> str:
        """Return the text that brings a task of these ids back: ``kind:id+id``."""
        return f"{self.name}:{'+'.join(ids)}"


@frozen(init=False)
class Job(Generic[R]):
    """A start that has not been made: a kind and its checked inputs.

    ``kind`` is a namespace's ``kind`` or its name, ``input`` an object of the kind's inputs or a
    mapping of what ``start()`` takes: ``Job("dubbing", {"source_url": …}, key="talk-17")``.
    ``a2e.dubbing.job(…)`` makes the same. Raises `InvalidInput`.
    """

    kind: "TaskKind[..., R]"
    input: TaskInput

    @overload
    def __init__(
        self,
        kind: "TaskKind[..., R]",
        input: TaskInput | Mapping[str, Any],
        key: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: "Job[Record]",
        kind: str,
        input: TaskInput | Mapping[str, Any],
        key: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None: ...

    def __init__(
        self,
        kind: Any,
        input: TaskInput | Mapping[str, Any],
        key: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Check the inputs; nothing is sent."""
        chosen = _kind_of(kind)
        object.__setattr__(self, "kind", chosen)  # it is frozen
        object.__setattr__(self, "input", _job_input(chosen, input, key=key, meta=meta))

    @property
    def key(self) -> str | None:
        """The user's key for it."""
        return self.input.key

    @property
    def meta(self) -> Mapping[str, Any] | None:
        """The user's own values."""
        return self.input.meta


def _kind_of(given: Any) -> TaskKind[..., Any]:
    if isinstance(given, TaskKind):
        return cast("TaskKind[..., Any]", given)
    if not isinstance(given, str):
        raise InvalidInput(
            f"kind must be a kind, as a2e.dubbing.kind, or its name, not {given!r:.60}.",
            field="kind",
        )
    # The kinds stand above this module, which only knows what one is: asked for by name.
    registry: Any = importlib.import_module("a2e_async.resources.registry")
    kind: TaskKind[..., Any] = registry.kind_named(given)
    return kind


def _job_input(kind: TaskKind[..., Any], given: Any, **beside: Any) -> TaskInput:
    """Return a job's inputs with the key and meta that were given beside them."""
    made = given
    if is_map(given):
        made = build_input(kind.input, (), {str(name): value for name, value in given.items()})
    if not isinstance(made, cast("type[TaskInput]", kind.input)):
        raise InvalidInput(
            f"input must be a mapping of what a2e.{kind.name}.start() takes, or its "
            f"{getattr(kind.input, '__name__', 'inputs')}, not {type(given).__name__}.",
            field="input",
        )
    changes = {name: value for name, value in beside.items() if value is not None}
    for name in changes:
        if getattr(made, name) is not None:
            raise InvalidInput(f"{name} is given in the input and beside it.", field=name)
    return evolve(made, **changes) if changes else made


def check_id(id: Any) -> str:
    """Return a record's id as given; raise `InvalidInput` for what cannot be one."""
    if isinstance(id, str) and len(id) == 24 and id.isalnum() and id.isascii():
        return id
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise InvalidInput(
            f"{id!r:.60} is not a task id; ids look like 66ea4dd87db10c73fa29b570.", field="id"
        )
    return id


def check_watchable(kind: TaskKind[..., Any]) -> None:
    """Raise `InvalidInput` for a kind that the service starts and then tells nothing of."""
    if not kind.watchable:
        raise InvalidInput(
            f"{kind.name} has no operation that tells how a task stands, so it cannot be waited "
            f"for. Start it with a2e.{kind.name}.start() and note task.ref; its result is shown "
            "on the service's site."
        )


def is_id(text: str) -> bool:
    """Return whether a text can be a record's id."""
    return (len(text) == 24 and text.isalnum()) or _ID.fullmatch(text) is not None


def id_time(id: str) -> float | None:
    """Return when a record was made, in seconds since 1970, as far as its id tells.

    The service's ids begin with their time, as those of the database behind it do.
    """
    return float(int(id[:8], 16)) if _OBJECT_ID.fullmatch(id) else None


def split_ref(ref: Any) -> tuple[str, tuple[str, ...]]:
    """Return a ref's kind name and ids; raise `InvalidInput` for anything else."""
    kind, colon, ids = ref.partition(":") if isinstance(ref, str) else ("", "", "")
    if not colon or not kind or not ids:
        raise InvalidInput(
            f"{ref!r:.60} is not a task ref; refs look like dubbing:66ea4dd87db10c73fa29b570.",
            field="ref",
        )
    return kind, tuple(dict.fromkeys(check_id(id) for id in ids.split("+")))


def split_mark(name: str | None) -> str | None:
    """Return a record's name without the client's mark; None when nothing else is there."""
    if not name or _MARK_ALONE.fullmatch(name):
        return None
    if name[-MARK_LENGTH:][:4] != "a2e-":
        return name
    return _MARK.sub("", name) or None
