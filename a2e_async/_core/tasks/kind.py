"""A kind of task as data (pure): its operations, status vocabulary and fields.

No other module knows the paths or the vocabulary of a kind: the poller, the start code, the
namespaces and the command line all read them from here.
"""

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, TypeVar, cast

from attrs import field, fields, frozen

from a2e_async._core.converter import Hook, parse_time, strict_int
from a2e_async._core.redact import hide_signatures
from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    InputField,
    TaskInput,
    build_input,
    input_errors,
    input_fields,
)
from a2e_async._core.schema.json_guard import check_body
from a2e_async._core.schema.record_decoder import RecordDecoder, empty_is_none
from a2e_async._core.schema.untyped_input import UntypedInput, untyped_field
from a2e_async._core.typeguards import FAILURE_TEXT_FIELDS
from a2e_async.errors import InvalidInput
from a2e_async.models import MediaType, Record, Status

P = ParamSpec("P")
R = TypeVar("R", bound=Record)

if TYPE_CHECKING:
    # A kind without an input class takes any inputs; without a record class it returns `Record`.
    import typing_extensions

    InputsP = typing_extensions.ParamSpec("InputsP", default=...)
    RecordT = typing_extensions.TypeVar("RecordT", bound=Record, default=Record)
else:
    InputsP = ParamSpec("InputsP")
    RecordT = TypeVar("RecordT", bound=Record)

SECONDS_PER_HOUR: Final = 3600.0
"""Seconds."""

NEVER: Final = float("-inf")
"""A time before every time of the loop's clock."""

FORCED_GENERATION: Final = "force_generate"
"""The input that makes the service generate in spite of its content check; only False is sent."""

_FORCED_GENERATION_ENDINGS: Final = tuple(
    f"/user{name}/start"
    for name in (
        "flux2",
        "nanobanana",
        "gptimage",
        "qwen2image",
        "klingimage",
        "wan26image",
        "wan27image",
        "wan30",
    )
)
"""Ends of the start paths that take this input, in lower case. Its default there may be True."""

_ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_\-]{1,128}")
_OBJECT_ID_PATTERN: Final = re.compile(r"[0-9a-f]{24}")
MARK_LENGTH: Final = 24
"""Characters of the mark that a client appends to a name to find its start again."""
_ONLY_MARK_PATTERN: Final = re.compile(r"a2e-[0-9a-v]{20}")
_MARK_SUFFIX_PATTERN: Final = re.compile(r"\s?\ba2e-[0-9a-v]{20}\Z")


@frozen
class Endpoint:
    """One operation: an HTTP method and a path.

    The id replaces ``{id}`` in the path, or is sent as the query parameter ``id_parameter``.
    """

    method: str
    path: str
    id_parameter: str | None = None

    def for_id(self, id: str) -> tuple[str, dict[str, str] | None]:
        """Return the path and the query parameters that address one record."""
        if self.id_parameter:
            return self.path, {self.id_parameter: id}
        return self.path.replace("{id}", id), None


@frozen
class OutputField:
    """A record's field that holds result URLs (one, or a list of them), and their media type."""

    field: str
    media: MediaType


@frozen(kw_only=True)
class ListPaging:
    """Parameter names and limits of a paged list; ``status_filters`` are the statuses it can filter
    by."""

    page_parameter: str = "pageNum"
    size_parameter: str = "pageSize"
    max_size: int = 100
    status_filters: tuple[str, ...] = ()


@frozen(kw_only=True)
class StatusVocabulary:
    """The field that holds a record's status, and what the values mean.

    A value in none of the sets means that the task is running; those of ``running`` are known to
    mean it. ``fallback_fields`` hold the status where ``field`` is missing. A value in
    ``completion_field`` means success unless a recognised status says otherwise.
    """

    field: str = "current_status"
    fallback_fields: tuple[str, ...] = ()
    completion_field: str | None = None
    queued: frozenset[str] = frozenset({"initialized", "sent", "pending", "pendding", "queued"})
    running: frozenset[str] = frozenset({"processing", "in_progress", "training", "generating"})
    succeeded: frozenset[str] = frozenset({"completed"})
    failed: frozenset[str] = frozenset({"failed"})
    progress_field: str | None = None
    progress_max: float = 100.0

    @cached_property
    def status_by_word(self) -> Mapping[str, Status]:
        """The `Status` of each known value, in lower case."""
        return {
            **dict.fromkeys(self.running, Status.RUNNING),
            **dict.fromkeys(self.queued, Status.QUEUED),
            **dict.fromkeys(self.failed, Status.FAILED),
            **dict.fromkeys(self.succeeded, Status.SUCCEEDED),
        }

    def knows(self, word: str) -> bool:
        """Return whether a status value, as the service wrote it, is known."""
        return word.strip().lower() in self.status_by_word


@frozen(kw_only=True, eq=False)
class TaskKind(Generic[InputsP, RecordT]):
    """One kind of task. ``input`` and ``record`` are its classes; everything else is data.

    Without ``input`` a start takes any inputs, by their names in the JSON body; ``media`` then
    says which of them are media, and which types they accept: ``{"image_urls": "image"}``.
    ``constant_fields`` are sent with every start. ``count_input`` is the input that holds the
    number of remote tasks that a start makes; for any other rule, ``expected_tasks`` is a function
    of the inputs that returns it. The paths of ``detail``, ``delete`` and ``rename`` contain
    ``{id}``, unless the endpoint has an ``id_parameter``.

    ``default_timeout`` is that of a wait (s); ``max_name_length`` in characters; ``name_field`` is
    None for kinds whose start takes no name; ``paging`` is None for lists without pages.
    ``recovery_lists`` is the operation that lists the newest tasks whatever their status, where the
    list does not. ``detail_fallback`` is tried if ``detail`` refuses: the service may have this
    path in its place. ``unreliable_detail`` marks a detail operation that refuses existing records:
    it is not used for polling. ``accepts_webhook``: the start takes a webhook. ``typical_duration``
    is the usual range from start to end (s); ``summary`` says in a few words what the kind does;
    ``tested_live`` whether it was tried against the real service.
    """

    name: str
    summary: str = ""
    start_doc: str = ""
    """What a start makes, as the first paragraph of the documentation of `start`."""
    input: Callable[InputsP, TaskInput] | None = None
    record: type[RecordT] = Record  # type: ignore[assignment]  # the default of RecordT
    start: Endpoint
    detail: Endpoint | None = None
    detail_fallback: Endpoint | None = None
    list: Endpoint | None = None
    processing_list: Endpoint | None = None
    batch_detail: Endpoint | None = None
    delete: Endpoint | None = None
    rename: Endpoint | None = None
    retry: Endpoint | None = None
    recovery_lists: Endpoint | None = None
    unreliable_detail: bool = False
    accepts_webhook: bool = True
    paging: ListPaging | None = ListPaging()
    max_batch_size: int = 200
    statuses: StatusVocabulary = StatusVocabulary()
    outputs: tuple[OutputField, ...] = ()
    failure_message_fields: tuple[str, ...] = FAILURE_TEXT_FIELDS
    failure_code_fields: tuple[str, ...] = ("failed_code", "error_code")
    name_field: str | None = "name"
    max_name_length: int = 200
    media: Mapping[str, MediaType | Sequence[MediaType]] = field(factory=dict[str, Any])
    constant_fields: Mapping[str, Any] = field(factory=dict[str, Any])
    count_input: str | None = None
    expected_tasks: Callable[[TaskInput], int] = lambda _: 1
    default_timeout: float = 2 * SECONDS_PER_HOUR
    typical_duration: tuple[float, float] | None = None
    tested_live: bool = False

    def build_input(self, given: Mapping[str, Any]) -> TaskInput:
        """Return the checked inputs of a start. Raises `InvalidInput`."""
        if self.input is not None:
            return build_input(self.input, (), given)
        if self.name_field in given and self.name_field != "name":
            raise InvalidInput(
                f"pass {self.name_field!r} as name=… instead.", field=self.name_field
            )
        self._refuse_constants(given)
        return UntypedInput.build(self._media_names, given)

    def input_errors(self, given: Mapping[str, Any]) -> Sequence[InvalidInput]:
        """Return every error in the inputs of a start; none if `build_input` accepts them."""
        if self.input is not None:
            return input_errors(self.input, given)
        try:
            self.build_input(given)
        except InvalidInput as error:
            return [error]
        return []

    @cached_property
    def inputs(self) -> tuple[InputField, ...]:
        """The inputs that are declared, common ones first."""
        if self.input is not None:
            return input_fields(cast("type[TaskInput]", self.input))
        media = (untyped_field(name, accepted) for name, accepted in self._media_names.items())
        return (*input_fields(TaskInput), *media)

    @cached_property
    def _media_names(self) -> Mapping[str, AcceptedMedia]:
        return {
            name: AcceptedMedia(*((types,) if isinstance(types, str) else types))
            for name, types in self.media.items()
        }

    @cached_property
    def is_packaged(self) -> bool:
        """Whether the kind is declared by this package, in a module with its name."""
        return getattr(self.input, "__module__", "") == f"a2e_async.kinds.{self.name}"

    @cached_property
    def sent_constants(self) -> Mapping[str, Any]:
        """The fields that every start sends, whatever its inputs are."""
        path = self.start.path.lower()
        if self.is_packaged or not path.endswith(_FORCED_GENERATION_ENDINGS):
            return self.constant_fields
        return {**self.constant_fields, FORCED_GENERATION: False}

    def request_body(
        self, inputs: TaskInput, urls: Mapping[tuple[str, int | None], str]
    ) -> dict[str, Any]:
        """Return the JSON body of a start, without its name; ``urls`` as in `TaskInput.to_wire`.

        Raises `InvalidInput` if a kind of the user's own sends an input of a safety check.
        """
        body = inputs.to_wire(urls)
        if self.is_packaged:
            return body
        self._refuse_constants(inputs.extra or {})
        body |= self.sent_constants
        check_body({name: v for name, v in body.items() if not _keeps_check_on(name, v)})
        return body

    def _refuse_constants(self, given: Mapping[str, Any]) -> None:
        for name in given:
            if name in self.sent_constants:
                raise InvalidInput(f"{name} is the same for every {self.name} start.", field=name)

    def task_count(self, inputs: TaskInput) -> int:
        """Return how many remote tasks a start with these inputs makes."""
        if self.count_input is None:
            return self.expected_tasks(inputs)
        found = (
            inputs.values.get(self.count_input)
            if isinstance(inputs, UntypedInput)
            else getattr(inputs, self.count_input, None)
        )
        count = (inputs.extra or {}).get(self.count_input) if found is None else found
        return count if isinstance(count, int) and count > 0 else 1

    def takes(self, inputs: object) -> bool:
        """Return whether these are inputs of the kind."""
        cls = UntypedInput if self.input is None else cast("type[TaskInput]", self.input)
        return isinstance(inputs, cls)

    def equals(self, other: "TaskKind[..., Any]") -> bool:
        """Return whether another declaration says the same."""
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(type(self)))

    @property
    def label(self) -> str:
        """How a program writes the kind's namespace: ``a2e.dubbing``, ``a2e.kind("mine")``."""
        return f"a2e.{self.name}" if self.is_packaged else f'a2e.kind("{self.name}")'

    @cached_property
    def poll_endpoint(self) -> Endpoint | None:
        """The operation that polls a single task; None if there is no reliable one."""
        return None if self.unreliable_detail else self.detail

    @cached_property
    def pollable(self) -> bool:
        """Whether any operation reports the status of a task."""
        return any((self.detail, self.batch_detail, self.processing_list, self.list))

    @cached_property
    def max_page_size(self) -> int:
        """Maximum number of records in one list page."""
        return self.paging.max_size if self.paging else sys.maxsize

    @cached_property
    def mapped_fields(self) -> frozenset[str]:
        """Wire names that map to common record fields."""
        names = {
            "_id",
            "id",
            self.statuses.field,
            *self.statuses.fallback_fields,
            "coins",
            "createdAt",
        }
        names.update(name for name in (self.name_field, self.statuses.progress_field) if name)
        names.update(result.field for result in self.outputs)
        return frozenset(names.union(self.failure_message_fields, self.failure_code_fields))

    @cached_property
    def field_decoder(self) -> RecordDecoder:
        """Decodes the fields of the record class that depend on one value."""
        base: dict[str, tuple[str, Hook]] = {
            "coins": ("coins", empty_is_none(strict_int)),
            "created_at": ("createdAt", empty_is_none(parse_time)),
        }
        if self.name_field:
            base["name"] = self.name_field, _read_name
        if self.statuses.progress_field:
            base["progress"] = self.statuses.progress_field, empty_is_none(self._read_progress)
        return RecordDecoder.for_record(self.record, self.mapped_fields, base)

    def _read_progress(self, value: Any, _: Any) -> float:
        if isinstance(value, bool) or not -math.inf < value < math.inf:
            raise TypeError("expected a finite number")
        full = self.statuses.progress_max
        return float(min(max(value, 0), full) / full)

    def is_final(self, record: Record) -> bool:
        """Return whether a record is the final one of its task.

        It failed, or succeeded with all its results: some results appear only a while after the
        status ``completed``.
        """
        if record.status is not Status.SUCCEEDED:
            return record.status is Status.FAILED
        if not self.outputs:
            return self._completion_attribute is None or bool(
                getattr(record, self._completion_attribute)
            )
        for result in self.outputs:
            # A list with entries other than URLs was kept in `extra`: a result is missing.
            if isinstance(record.extra.get(result.field), list):
                return False
        return bool(record.outputs)

    @cached_property
    def _completion_attribute(self) -> str | None:
        """The record attribute that is filled at the end, for kinds that make no files."""
        return next(
            (
                f.name
                for f in self.field_decoder.fields
                if f.wire_names[0] == self.statuses.completion_field
            ),
            None,
        )

    def ref(self, ids: tuple[str, ...]) -> str:
        """Return the ref that `A2E.attach` takes for these ids: ``kind:id+id``."""
        return f"{self.name}:{'+'.join(ids)}"


@frozen(repr=False)
class PreparedJob(Generic[R]):
    """A start that was not sent yet: a kind and its checked inputs."""

    kind: TaskKind[..., R]
    """The kind of task."""
    input: TaskInput
    """The inputs, with key and meta."""

    def __repr__(self) -> str:
        # The kind's declaration would fill a page, and inputs contain prompts.
        key = "" if self.key is None else f" key={self.key!r}"
        return f"<Job {self.kind.name}{key}>"

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield what rich shows: no more than the repr."""
        yield self.kind.name
        yield "key", self.key, None

    @property
    def key(self) -> str | None:
        """Your key for the start."""
        return self.input.key

    @property
    def meta(self) -> Mapping[str, Any] | None:
        """Your own values for the start."""
        return self.input.meta


def _keeps_check_on(name: str, value: Any) -> bool:
    return name == FORCED_GENERATION and value is False


def check_task_id(id: Any) -> str:
    """Return a record's id unchanged; raise `InvalidInput` if it cannot be an id."""
    # The fast path for the usual form of an id; the pattern accepts further forms.
    if isinstance(id, str) and len(id) == 24 and id.isalnum() and id.isascii():
        return id
    if not isinstance(id, str) or not _ID_PATTERN.fullmatch(id):
        raise InvalidInput(
            f"{id!r:.60} is not a task id; ids look like 66ea4dd87db10c73fa29b570.", field="id"
        )
    return id


def check_pollable(kind: TaskKind[..., Any]) -> None:
    """Raise `InvalidInput` for a kind whose status the service does not report."""
    if not kind.pollable:
        raise InvalidInput(
            f"{kind.name} has no operation that reports the status of a task, so a2e cannot wait "
            f"for it. Start it with {kind.label}.start() and note task.ref; its result is "
            "shown on the service's site."
        )


def is_task_id(text: str) -> bool:
    """Return whether a text can be a record's id."""
    return (len(text) == 24 and text.isalnum()) or _ID_PATTERN.fullmatch(text) is not None


def creation_time_of_id(id: str) -> float | None:
    """Return a record's creation time in seconds since 1970, None if its id does not contain it.

    The service's ids have the form of MongoDB object ids, whose first four bytes are that time.
    """
    return float(int(id[:8], 16)) if _OBJECT_ID_PATTERN.fullmatch(id) else None


def split_ref(ref: Any) -> tuple[str, tuple[str, ...]]:
    """Return the kind name and the ids of a ref; raise `InvalidInput` for anything else."""
    kind, colon, ids = ref.partition(":") if isinstance(ref, str) else ("", "", "")
    if not colon or not kind or not ids:
        raise InvalidInput(
            f"{ref!r:.60} is not a task ref; refs look like dubbing:66ea4dd87db10c73fa29b570.",
            field="ref",
        )
    return kind, tuple(dict.fromkeys(check_task_id(id) for id in ids.split("+")))


def name_without_mark(name: str | None) -> str | None:
    """Return a record's name without the client's mark, None if nothing else is left."""
    if not name or _ONLY_MARK_PATTERN.fullmatch(name):
        return None
    # Cheaper than the pattern, and enough for nearly all names.
    if name[-MARK_LENGTH:][:4] != "a2e-":
        return name
    return _MARK_SUFFIX_PATTERN.sub("", name) or None


def _read_name(value: Any, _: Any) -> Any:
    """Return the user's name for the task; a number is no name, and not worth keeping."""
    if isinstance(value, str):
        name = name_without_mark(value) if value.strip() else None
        return name and hide_signatures(name)
    if value and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError("expected a name")
    return None
