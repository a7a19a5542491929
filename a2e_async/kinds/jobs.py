"""Jobs for `A2E.batch`: starts that were not sent yet."""

import re
from collections.abc import Mapping
from typing import Any, Final, cast, overload

from attrs import evolve, field, frozen

from a2e_async._core.schema.inputs import TaskInput
from a2e_async._core.tasks.kind import Endpoint, PreparedJob, R, TaskKind
from a2e_async._core.tasks.kind_registry import KindRegistry
from a2e_async._core.typeguards import is_mapping
from a2e_async.errors import InvalidInput
from a2e_async.kinds.registry import PACKAGED
from a2e_async.models import Record


@frozen(init=False, repr=False)
class Job(PreparedJob[R]):
    """A start that was not sent yet: a kind and its checked inputs.

    ``kind`` is a namespace's ``kind`` or its name; ``input`` is an object of the kind's input class
    or a mapping of the arguments of ``start()``: ``Job("dubbing", {"source_url": …},
    key="talk-17")``. ``a2e.dubbing.job(…)`` makes the same. Raises `InvalidInput`.

    A name that is not a kind of this package may be one of your own (``A2E(kinds=…)``). The client
    that runs the job knows it, so its inputs are checked there: an error is the job's outcome.
    """

    _undeclared: TaskInput | Mapping[str, Any] | None = field(default=None, init=False, repr=False)
    """The arguments of a job whose kind only its client knows; None for all others."""

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
        chosen = _find_kind(kind)
        undeclared: TaskInput | Mapping[str, Any] | None = None
        if chosen is not None:
            made = _job_input(chosen, input, key=key, meta=meta)
        else:
            chosen = TaskKind(name=kind, start=_UNDECLARED)
            if is_mapping(input):
                undeclared = {**input, **_given(input, key=key, meta=meta)}
                made = TaskInput(key=undeclared.get("key"), meta=undeclared.get("meta"))
            else:
                undeclared = made = _with_key_and_meta(chosen, input, key=key, meta=meta)
        for name, value in (("kind", chosen), ("input", made), ("_undeclared", undeclared)):
            object.__setattr__(self, name, value)  # the class is frozen

    def declared_as(self, kind: "TaskKind[..., R]") -> "Job[R] | None":
        """Return a job whose kind only its client knows, checked by that; None for all others."""
        return None if self._undeclared is None else Job(kind, self._undeclared)


_UNDECLARED: Final = Endpoint("POST", "")

MISSPELT_RATIO: Final = 0.9
"""Similarity to a kind of the package from which an unknown name is refused at once."""


def _find_kind(given: Any) -> "TaskKind[..., Any] | None":
    """Return a kind; None for a name that only a client may know."""
    if isinstance(given, TaskKind):
        return cast("TaskKind[..., Any]", given)
    if not isinstance(given, str):
        raise InvalidInput(
            f"kind must be a kind such as a2e.dubbing.kind, or its name, not {given!r:.60}.",
            field="kind",
        )
    found = PACKAGED.find(given)
    if found is None and (not given.isidentifier() or _is_misspelt(given)):
        PACKAGED.named(given)  # raises
    return found


def _is_misspelt(name: str) -> bool:
    """Return whether a name is most probably a misspelt kind of the package.

    Names that differ in digits only are versions of one model: "veo4" is not a misspelt "veo".
    """
    from difflib import get_close_matches

    close = get_close_matches(name, PACKAGED.names(), n=1, cutoff=MISSPELT_RATIO)
    return bool(close) and _without_digits(close[0]) != _without_digits(name)


def _without_digits(name: str) -> str:
    return re.sub(r"\d", "", name)


def _job_input(kind: "TaskKind[..., Any]", given: Any, **key_and_meta: Any) -> TaskInput:
    """Return a job's inputs, with the key and meta that were given as separate arguments."""
    made = given
    if is_mapping(given):
        made = kind.build_input({str(name): value for name, value in given.items()})
    if not kind.takes(made):
        raise _wrong_input(kind, given)
    return _with_key_and_meta(kind, made, **key_and_meta)


def _with_key_and_meta(kind: "TaskKind[..., Any]", made: Any, **key_and_meta: Any) -> TaskInput:
    if not isinstance(made, TaskInput):
        raise _wrong_input(kind, made)
    changes = _given({"key": made.key, "meta": made.meta}, **key_and_meta)
    return evolve(made, **changes) if changes else made


def _wrong_input(kind: "TaskKind[..., Any]", given: object) -> InvalidInput:
    return InvalidInput(
        f"input must be a mapping of the arguments of {kind.label}.start(), or a "
        f"{getattr(kind.input, '__name__', 'TaskInput')}, not {type(given).__name__}.",
        field="input",
    )


def _given(inputs: Mapping[str, Any], **key_and_meta: Any) -> dict[str, Any]:
    """Return the separate arguments that were given. Raises `InvalidInput` for one given twice."""
    changes = {name: value for name, value in key_and_meta.items() if value is not None}
    for name in changes:
        if inputs.get(name) is not None:
            raise InvalidInput(
                f"{name} is given twice: in the input and as an argument. Give it once.", field=name
            )
    return changes


def resolve_job(kinds: KindRegistry, job: PreparedJob[R]) -> PreparedJob[R]:
    """Return a job with the kind that its client knows, and checked inputs.

    Raises `InvalidInput` for a kind that the client does not know: its journal could not resume
    the task, and nothing else of the client could find it.
    """
    known = kinds.named(job.kind.name)
    if isinstance(job, Job) and (made := job.declared_as(known)) is not None:
        return made
    kinds.check_same(job.kind)
    return job
