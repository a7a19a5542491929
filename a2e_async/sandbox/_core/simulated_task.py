"""A simulated task: its status and record as functions of the clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from .clock import Moment, format_iso
from .kinds.kind import SimulatedKind
from .kinds.status_sequences import StatusSequence

Duration = float | tuple[float, float] | Callable[[random.Random], float]
"""Service seconds: a number, a range, or a function of a ``random.Random``."""

Durations = Mapping[str, Duration]
"""Durations by kind."""

_ID_MASK: Final = (1 << 96) - 1


@attrs.frozen(slots=True)
class PlannedFailure:
    """How a task will fail: the text and the code that its record then shows."""

    message: str
    code: str = "500"


@attrs.define(slots=True, eq=False)
class SimulatedTask:
    """A simulated task.

    Created by a start and kept by the `Service` until it is deleted; changed under its lock.
    """

    id: str
    kind: SimulatedKind
    body: Mapping[str, Any]
    record: Mapping[str, Any]
    """The record as of the start, renamed if the task was; ``render`` adds what changes."""

    created: Moment
    duration: float
    """Service seconds from the start of the sequence to its end; ``inf`` for a stuck task."""

    speed: float
    failure: PlannedFailure | None = None
    has_result: bool = True
    unknown_status: str | None = None
    unlisted_until: float = -math.inf
    unknown_until: float = -math.inf
    source_seconds: float | None = None
    """The length of its first medium in seconds; None when unknown."""

    recipe: str = attrs.field(default=attrs.Factory(lambda self: self.kind.recipe, takes_self=True))
    status_sequence: StatusSequence = attrs.field(
        default=attrs.Factory(lambda self: self.kind.status_sequence, takes_self=True)
    )
    sequence_started: Moment = attrs.field(
        default=attrs.Factory(lambda self: self.created, takes_self=True)
    )
    """When its current status sequence began."""

    keeps_results: bool = False
    """Whether the results of an earlier sequence stay visible while it runs."""

    marks: set[str] = attrs.field(factory=set[str])
    url_generation: int = 0
    """Incremented to invalidate all URLs signed so far."""

    deleted: bool = False

    @property
    def end_time(self) -> float:
        """When it ends, in service time."""
        return self.sequence_started.service_time + self.duration

    @property
    def product_id(self) -> str:
        """The id of its product, such as a twin's anchor."""
        return f"{int(self.id, 16) ^ _ID_MASK:024x}"

    def status(self, now: Moment) -> str:
        """Return the status word at this moment, as the record shows it."""
        if not self.is_running(now):
            return self.status_sequence.failed if self.failure else self.status_sequence.done
        step = self.status_sequence.status_at(self._elapsed_share(now))
        if self.unknown_status is not None and step != self.status_sequence.initial:
            return self.unknown_status
        return step

    def is_running(self, now: Moment) -> bool:
        """Return whether it has not ended at this moment."""
        return now.service_time - self.sequence_started.service_time < self.duration

    def is_initialized(self, now: Moment) -> bool:
        """Return whether it waits for a worker: a running task can only be deleted then."""
        return (
            self.is_running(now)
            and self.status_sequence.status_at(self._elapsed_share(now)) == "initialized"
        )

    def start_sequence(
        self, sequence: StatusSequence, duration: float, now: Moment, *, keeps_results: bool
    ) -> None:
        """Begin another sequence; with ``keeps_results`` the results so far stay visible."""
        self.status_sequence, self.duration, self.sequence_started, self.keeps_results = (
            sequence,
            duration,
            now,
            keeps_results,
        )

    def render(self, now: Moment, urls: Sequence[str]) -> dict[str, Any]:
        """Return the record at this moment, with these result URLs if it has results."""
        kind, is_running = self.kind, self.is_running(now)
        record = {**self.record, kind.status_field: self.status(now)}
        if kind.progress_field:
            done = 100 if not self.failure else 0
            record[kind.progress_field] = (
                min(99, int(100 * self._elapsed_share(now))) if is_running else done
            )
        if self.failure and not is_running:
            record[kind.failure_field] = self.failure.message
            if kind.code_field in record:
                record[kind.code_field] = self.failure.code
        elif urls:
            shown = list(urls) if kind.result_list else urls[0]
            record.update(dict.fromkeys(kind.result_fields, shown))
            record.update(self.finished_fields())
        if "updatedAt" in record:
            record["updatedAt"] = format_iso(self._last_change_at(now))
        return record

    def recipe_of(self, part: str) -> str:
        """Return how a file of its result is made; ``part`` is "" if it has only one."""
        recipes = dict(enumerate(recipe for _, recipe in self.kind.output_recipes))
        return recipes.get(int(part), self.recipe) if part.isdecimal() else self.recipe

    def finished_fields(self) -> dict[str, Any]:
        """Return the fields of a completed record that hold no files."""
        name = self.kind.product_id_field
        return {name: self.product_id} if name else {}

    def shows_result(self, now: Moment) -> bool:
        """Return whether its result can be downloaded at this moment."""
        if self.is_running(now):
            return self.keeps_results
        return self.has_result and not self.failure

    @property
    def _sequence_seconds(self) -> float:
        """The total time of the sequence; that of a stuck task is its kind's median."""
        return self.duration if math.isfinite(self.duration) else self.kind.median_seconds

    def _elapsed_share(self, now: Moment) -> float:
        return (now.service_time - self.sequence_started.service_time) / self._sequence_seconds

    def _last_change_at(self, now: Moment) -> float:
        if not self.is_running(now):
            last = 1.0
        else:
            last = self.status_sequence.share_of_last_change(
                min(self._elapsed_share(now), 1 - 1e-9)
            )
        return min(
            now.calendar,
            self.sequence_started.calendar + last * self._sequence_seconds / self.speed,
        )


def draw_duration(
    kind: SimulatedKind, durations: Durations, source: random.Random, length: float | None = None
) -> float:
    """Return how long a new task takes, in service seconds.

    At least a millisecond. ``length`` is the length of its first medium in seconds; None when
    unknown.
    """
    given = durations.get(kind.name)
    if given is None:
        median = (
            kind.seconds_per_source_second * length
            if kind.seconds_per_source_second and length
            else kind.median_seconds
        )
        shortest, longest = kind.time_range
        value = source.lognormvariate(math.log(median), kind.log_sigma)
        value = min(max(value, shortest), longest)
    elif callable(given):
        value = given(source)
    elif isinstance(given, int | float):
        value = given
    else:
        low, high = given
        value = source.uniform(low, high)
    return max(0.001, float(value))


def build_initial_record(
    kind: SimulatedKind,
    fields: tuple[str, ...],
    body: Mapping[str, Any],
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a new record with exactly these fields, from ``known`` or else from the inputs."""
    record: dict[str, Any] = {}
    for name in fields:
        if name in known:
            record[name] = known[name]
        else:
            record[name] = body.get(name, kind.echo_defaults.get(name, ""))
    return record
