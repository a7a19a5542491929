"""One task: its walk through the statuses as a function of the clock, and its record."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from .clock import Moment, iso
from .kinds import Kind

Duration = float | tuple[float, float] | Callable[[random.Random], float]
"""Service seconds: a number, a range, or a function of the random source."""

Durations = Mapping[str, Duration]
"""Durations by kind."""

STEPS: Final = (("initialized", 0.04), ("sent", 0.08), ("pending", 0.2), ("processing", 1.0))
"""The running statuses, each with the share of the whole time at which it ends."""

COMPLETED: Final = "completed"
FAILED: Final = "failed"


@attrs.frozen(slots=True)
class Failure:
    """How a task will fail: the text and the code the record then shows."""

    message: str
    code: str = "500"


@attrs.define(slots=True, eq=False)
class Task:
    """One task. Only ``marks``, ``generation`` and ``deleted`` ever change."""

    id: str
    kind: Kind
    body: Mapping[str, Any]
    record: Mapping[str, Any]
    """The record as it was at the start; what changes is laid over it."""

    created: Moment
    duration: float
    """Service seconds from start to end; ``inf`` for a task that never ends."""

    speed: float
    failure: Failure | None = None
    has_result: bool = True
    odd_word: str | None = None
    sic: bool = False
    unlisted_until: float = -math.inf
    unknown_until: float = -math.inf
    marks: set[str] = attrs.field(factory=set[str])
    generation: int = 0
    """Rises when the signed URLs given out so far stop working."""

    deleted: bool = False

    @property
    def ends(self) -> float:
        """The moment of the work clock at which it ends."""
        return self.created.work + self.duration

    def word(self, now: Moment) -> str:
        """Returns the status word at that moment, as the record shows it."""
        age = now.work - self.created.work
        if age >= self.duration:
            return FAILED if self.failure else COMPLETED
        step = running_step(age, self._span)
        if self.odd_word is not None and step != "initialized":
            return self.odd_word
        return self.kind.sic.get(step, step) if self.sic else step

    def is_running(self, now: Moment) -> bool:
        """Returns whether it has not ended yet."""
        return now.work - self.created.work < self.duration

    def is_initialized(self, now: Moment) -> bool:
        """Returns whether it still waits to be sent to a worker: then a delete refunds it."""
        age = now.work - self.created.work
        return age < self.duration and running_step(age, self._span) == "initialized"

    def render(self, now: Moment, result_url: str) -> dict[str, Any]:
        """Returns the record at that moment; the URL is used if the task has a result by then."""
        kind = self.kind
        record = {**self.record, kind.status_field: self.word(now)}
        if not self.is_running(now):
            if self.failure:
                record[kind.failure_field] = self.failure.message
                if kind.code_field in record:
                    record[kind.code_field] = self.failure.code
            elif self.has_result:
                record[kind.result_field] = result_url
        if "updatedAt" in record:
            record["updatedAt"] = iso(self._changed(now))
        return record

    @property
    def _span(self) -> float:
        """The time that the running steps share; a stuck task uses the usual one of its kind."""
        return self.duration if math.isfinite(self.duration) else self.kind.median

    def _changed(self, now: Moment) -> float:
        age = now.work - self.created.work
        shares = [0.0, *(share for _, share in STEPS)]
        last = max((share for share in shares if share * self._span <= age), default=0.0)
        if math.isinf(self.duration):
            last = min(last, STEPS[-2][1])
        return min(now.calendar, self.created.calendar + last * self._span / self.speed)


def running_step(age: float, span: float) -> str:
    """Returns the running status at an age, both in service seconds."""
    for word, share in STEPS:
        if age < share * span:
            return word
    return STEPS[-1][0]


def draw_duration(kind: Kind, durations: Durations, source: random.Random) -> float:
    """Returns how long a new task takes, in service seconds; at least a millisecond."""
    given = durations.get(kind.name)
    if given is None:
        value = source.lognormvariate(math.log(kind.median), kind.sigma)
    elif callable(given):
        value = given(source)
    elif isinstance(given, int | float):
        value = given
    else:
        low, high = given
        value = source.uniform(low, high)
    return max(0.001, float(value))


def first_record(
    kind: Kind,
    fields: tuple[str, ...],
    body: Mapping[str, Any],
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns a new record: exactly these fields, from what is known or else from the inputs."""
    record: dict[str, Any] = {}
    for name in fields:
        if name in known:
            record[name] = known[name]
        else:
            record[name] = body.get(name, kind.defaults.get(name, ""))
    return record
