"""A kind of task as data (pure): its operations, status vocabulary and fields.

No other module knows the paths or the vocabulary of a kind: the poller, the start code, the
namespaces and the command line all read them from here.
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
"""Seconds."""

LONG_AGO: Final = float("-inf")
"""A time before every time of the loop's clock."""

_ID: Final = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_OBJECT_ID: Final = re.compile(r"[0-9a-f]{24}")
MARK_LENGTH: Final = 24
"""Characters of the mark that a client appends to a name to find its start again."""
_MARK_ALONE: Final = re.compile(r"a2e-[0-9a-v]{20}")
_MARK: Final = re.compile(r"\s?\ba2e-[0-9a-v]{20}\Z")


@frozen
class Endpoint:
    """One operation: an HTTP method and a path.

    The id replaces ``{id}`` in the path, or is sent as the query parameter ``id_parameter``.
    """

    method: str
    path: str
    query: str | None = None

    def for_id(self, id: str) -> tuple[str, dict[str, str] | None]:
        """Return the path and the query parameters that address one record."""
        if self.query:
            return self.path, {self.query: id}
        return self.path.replace("{id}", id), None


@frozen
class Result:
    """A record's field that holds result URLs (one, or a list of them), and their media type."""

    field: str
    media: MediaType


@frozen(kw_only=True)
class Paging:
    """Parameter names and limits of a paged list; ``status_filters`` are the statuses it can filter
    by."""

    page: str = "pageNum"
    size: str = "pageSize"
    most: int = 100
    statuses: tuple[str, ...] = ()


@frozen(kw_only=True)
class Words:
    """The field that holds a record's status, and what the values mean.

    A value in none of the sets means that the task is running; those of ``running`` are known to
    mean it. ``fallback_fields`` hold the status where ``field`` is missing. A value in
    ``completion_field`` means success unless a recognised status says otherwise.
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
        """The `Status` of each known value, in lower case."""
        return {
            **dict.fromkeys(self.running, Status.RUNNING),
            **dict.fromkeys(self.queued, Status.QUEUED),
            **dict.fromkeys(self.failed, Status.FAILED),
            **dict.fromkeys(self.succeeded, Status.SUCCEEDED),
        }

    def knows(self, word: str) -> bool:
        """Return whether a status value, as the service wrote it, is known."""
        return word.strip().lower() in self.meaning


@frozen(kw_only=True, eq=False)
class TaskKind(Generic[P, R]):
    """One kind of task. ``input`` and ``record`` are its classes; everything else is data.

    ``expected_tasks`` returns how many remote tasks a start makes; ``default_timeout`` is that of a
    wait (s); ``max_name_length`` in characters; ``name_field`` is None for kinds whose start takes
    no name; ``paging`` is None for lists without pages. ``recovery_lists`` is the operation that
    lists the newest tasks whatever their status, where the list does not. ``unreliable_detail``
    marks a detail operation that refuses existing records: it is not used for polling.
    ``accepts_webhook``: the start takes a webhook. ``typical_duration`` is the usual range from
    start to end (s); ``summary`` says in a few words what the kind does; ``tested_live`` whether it
    was tried against the real service.
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
        """The operation that polls a single task; None if there is no reliable one."""
        return None if self.flaky_detail else self.detail_at

    @cached_property
    def watchable(self) -> bool:
        """Whether any operation reports the status of a task."""
        return any((self.detail_at, self.batch_at, self.processing_at, self.list_at))

    @cached_property
    def page_most(self) -> int:
        """Maximum number of records in one list page."""
        return self.paging.most if self.paging else sys.maxsize

    @cached_property
    def taken(self) -> frozenset[str]:
        """Wire names that map to common record fields."""
        names = {"_id", "id", self.words.field, *self.words.also, "coins", "createdAt"}
        names.update(name for name in (self.name_wire, self.words.progress) if name)
        names.update(result.field for result in self.results)
        return frozenset(names.union(self.failure_texts, self.failure_codes))

    @cached_property
    def reader(self) -> FieldReader:
        """Decodes the record class's own fields."""
        return FieldReader.of(self.record, self.taken)

    def is_over(self, record: Record) -> bool:
        """Return whether a record is the final one of its task.

        It failed, or succeeded with all its results: some results appear only a while after the
        status ``completed``.
        """
        if record.status is not Status.SUCCEEDED:
            return record.status is Status.FAILED
        if not self.results:
            return self._proof is None or bool(getattr(record, self._proof))
        # A list with entries other than URLs was kept in `extra`: a result is missing.
        partly = any(is_list(record.extra.get(result.field)) for result in self.results)
        return bool(record.outputs) and not partly

    @cached_property
    def _proof(self) -> str | None:
        """The record attribute that is filled at the end, for kinds that make no files."""
        return next((f.name for f in self.reader.fields if f.wire == self.words.proof), None)

    def ref(self, ids: tuple[str, ...]) -> str:
        """Return the ref that `A2E.attach` takes for these ids: ``kind:id+id``."""
        return f"{self.name}:{'+'.join(ids)}"


@frozen(init=False)
class Job(Generic[R]):
    """A start that was not sent yet: a kind and its checked inputs.

    ``kind`` is a namespace's ``kind`` or its name; ``input`` is an object of the kind's input class
    or a mapping of the arguments of ``start()``: ``Job("dubbing", {"source_url": …},
    key="talk-17")``. ``a2e.dubbing.job(…)`` makes the same. Raises `InvalidInput`.
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
        object.__setattr__(self, "kind", chosen)  # the class is frozen
        object.__setattr__(self, "input", _job_input(chosen, input, key=key, meta=meta))

    @property
    def key(self) -> str | None:
        """Your key for the start."""
        return self.input.key

    @property
    def meta(self) -> Mapping[str, Any] | None:
        """Your own values for the start."""
        return self.input.meta


def _kind_of(given: Any) -> TaskKind[..., Any]:
    if isinstance(given, TaskKind):
        return cast("TaskKind[..., Any]", given)
    if not isinstance(given, str):
        raise InvalidInput(
            f"kind must be a kind such as a2e.dubbing.kind, or its name, not {given!r:.60}.",
            field="kind",
        )
    # The registry imports this module, so it is only imported when it is needed.
    registry: Any = importlib.import_module("a2e_async.resources.registry")
    kind: TaskKind[..., Any] = registry.kind_named(given)
    return kind


def _job_input(kind: TaskKind[..., Any], given: Any, **beside: Any) -> TaskInput:
    """Return a job's inputs, with the key and meta that were given as separate arguments."""
    made = given
    if is_map(given):
        made = build_input(kind.input, (), {str(name): value for name, value in given.items()})
    if not isinstance(made, cast("type[TaskInput]", kind.input)):
        raise InvalidInput(
            f"input must be a mapping of the arguments of a2e.{kind.name}.start(), or a "
            f"{getattr(kind.input, '__name__', 'inputs')}, not {type(given).__name__}.",
            field="input",
        )
    changes = {name: value for name, value in beside.items() if value is not None}
    for name in changes:
        if getattr(made, name) is not None:
            raise InvalidInput(
                f"{name} is given twice: in the input and as an argument. Give it once.", field=name
            )
    return evolve(made, **changes) if changes else made


def check_id(id: Any) -> str:
    """Return a record's id unchanged; raise `InvalidInput` if it cannot be an id."""
    # The fast path for the usual form of an id; the pattern accepts further forms.
    if isinstance(id, str) and len(id) == 24 and id.isalnum() and id.isascii():
        return id
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise InvalidInput(
            f"{id!r:.60} is not a task id; ids look like 66ea4dd87db10c73fa29b570.", field="id"
        )
    return id


def check_watchable(kind: TaskKind[..., Any]) -> None:
    """Raise `InvalidInput` for a kind whose status the service does not report."""
    if not kind.watchable:
        raise InvalidInput(
            f"{kind.name} has no operation that reports the status of a task, so a2e cannot wait "
            f"for it. Start it with a2e.{kind.name}.start() and note task.ref; its result is "
            "shown on the service's site."
        )


def is_id(text: str) -> bool:
    """Return whether a text can be a record's id."""
    return (len(text) == 24 and text.isalnum()) or _ID.fullmatch(text) is not None


def id_time(id: str) -> float | None:
    """Return a record's creation time in seconds since 1970, None if its id does not contain it.

    The service's ids have the form of MongoDB object ids, whose first four bytes are that time.
    """
    return float(int(id[:8], 16)) if _OBJECT_ID.fullmatch(id) else None


def split_ref(ref: Any) -> tuple[str, tuple[str, ...]]:
    """Return the kind name and the ids of a ref; raise `InvalidInput` for anything else."""
    kind, colon, ids = ref.partition(":") if isinstance(ref, str) else ("", "", "")
    if not colon or not kind or not ids:
        raise InvalidInput(
            f"{ref!r:.60} is not a task ref; refs look like dubbing:66ea4dd87db10c73fa29b570.",
            field="ref",
        )
    return kind, tuple(dict.fromkeys(check_id(id) for id in ids.split("+")))


def split_mark(name: str | None) -> str | None:
    """Return a record's name without the client's mark, None if nothing else is left."""
    if not name or _MARK_ALONE.fullmatch(name):
        return None
    # Cheaper than the pattern, and enough for nearly all names.
    if name[-MARK_LENGTH:][:4] != "a2e-":
        return name
    return _MARK.sub("", name) or None
