"""OpenTelemetry: one span per task, and metrics. Needs the extra ``otel``.

``A2E(on_event=instrument())`` uses the global providers. A task's span begins with the call of
``start()``, as a child of the caller's span, and ends with the task. The requests of the start and
the changes of the record are its span events. Names:

- span ``a2e.task <kind>``, of kind client, with ``a2e.kind``, ``a2e.ref``, ``a2e.status``,
  ``a2e.coins`` and ``error.type``; its span events are ``attempt`` (``http.request.method``,
  ``url.path``, ``http.response.status_code``, ``error.type``), ``accepted``, ``update`` and ``wait
  ended``;
- ``a2e.tasks.unfinished``: tasks with a span that have not ended;
- ``a2e.starts``: starts by kind and ``a2e.outcome`` (accepted, found, resumed, lost, withdrawn, or
  the name of the error);
- ``a2e.coins``: coins charged for starts of this process, by kind, if the service reports them;
- ``a2e.task.duration``: seconds from a task's creation to its observed end, by kind and status;
- ``a2e.task.delay``: upper limit of the seconds between a task's end and its observation;
- ``a2e.poll.duration``: seconds per poll, by kind and ``a2e.mode``;
- ``a2e.request.duration``: seconds per API request, by method and status. Its count divided by that
  of ``a2e.task.duration`` is the number of requests per job.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any, Final

from attrs import define
from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, TracerProvider

from a2e_async.errors import InvalidInput
from a2e_async.events import (
    Accepted,
    Asked,
    Attached,
    Attempt,
    Closed,
    Event,
    Finished,
    Looked,
    NotStarted,
    Resumed,
    StartLost,
    Update,
    WaitEnded,
)
from a2e_async.models import Status

MOST: Final = 10_000
"""Maximum number of open spans; beyond it the oldest ones end early."""

FORMER: Final = 1000
"""Ended spans of unfinished tasks that are remembered, so that later spans can link to them."""

Attributes = Mapping[str, str | int | float]


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    max_spans: int = MOST,
) -> Callable[[Event], None]:
    """Return a callback that creates spans and metrics from one client's events.

    Each client needs its own. A task's span ends with its task, or earlier: when the last wait for
    it times out or fails (a later wait creates a new span that links to it), when the client
    closes, or when ``max_spans`` newer ones are open. Raises `InvalidInput`.
    """
    if not isinstance(max_spans, int) or max_spans < 1:
        raise InvalidInput("max_spans must be an integer above 0.", field="max_spans")
    name, package_version = "a2e_async", version("a2e-async")
    return _Instrument(
        trace.get_tracer(name, package_version, tracer_provider),
        metrics.get_meter(name, package_version, meter_provider),
        max_spans,
    )


@define(eq=False)
class _Followed:
    """The open span of a task. ``awaits_price``: started here, and its price is not known yet."""

    span: Span
    kind: str
    owes: bool = False


class _Instrument:
    """Creates spans and metrics from events; called with each event."""

    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter, most: int) -> None:
        self._tracer = tracer
        self._most = most
        self._starts: OrderedDict[int, _Followed] = OrderedDict()
        self._tasks: OrderedDict[str, _Followed] = OrderedDict()
        self._former: OrderedDict[str, SpanContext] = OrderedDict()
        self._unfinished = meter.create_up_down_counter("a2e.tasks.unfinished", "{task}")
        self._outcomes = meter.create_counter("a2e.starts", "{start}")
        self._coins = meter.create_counter("a2e.coins", "{coin}")
        self._duration = meter.create_histogram("a2e.task.duration", "s")
        self._delay = meter.create_histogram("a2e.task.delay", "s")
        self._looks = meter.create_histogram("a2e.poll.duration", "s")
        self._requests = meter.create_histogram("a2e.request.duration", "s")

    def __call__(self, event: Event) -> None:
        """Handle one event."""
        match event:
            case Asked():
                self._starts[event.start] = _Followed(self._begin(event.kind), event.kind)
                _bound(self._starts, self._most, lambda one: _end(one, "dropped"))
            case Attempt():
                self._attempt(event)
            case Accepted() | Resumed():
                self._known(event)
            case NotStarted():
                self._not_started(event)
            case StartLost():
                self._lost(event)
            case Attached():
                if event.ref not in self._tasks:
                    self._follow(event.ref, self._task(event.ref, event.kind))
            case Looked():
                attributes = _some(
                    event.kind, **{"a2e.mode": event.mode, "error.type": event.error}
                )
                self._looks.record(event.duration, attributes)
            case Update():
                self._update(event)
            case Finished():
                self._finished(event)
            case WaitEnded():
                self._wait_ended(event)
            case Closed():
                self._closed()
            case _:
                pass

    # -- a start -----------------------------------------------------------------------------

    def _attempt(self, event: Attempt) -> None:
        attributes = _attributes(
            **{
                "http.request.method": event.method,
                "http.response.status_code": event.status,
                "error.type": event.error,
            }
        )
        self._requests.record(event.duration, attributes)
        if event.start is not None and (start := self._starts.get(event.start)):
            more = {"a2e.retry_in": event.retry_in, "a2e.waited": event.waited}
            details = _attributes(**{"url.path": event.path, **more})
            start.span.add_event("attempt", {**attributes, **details})

    def _known(self, event: Accepted | Resumed) -> None:
        resumed = isinstance(event, Resumed)
        found = isinstance(event, Accepted) and event.found
        outcome = "resumed" if resumed else "found" if found else "accepted"
        start = None if event.start is None else self._starts.pop(event.start, None)
        if start is not None or not resumed:
            self._outcomes.add(1, _some(event.kind, **{"a2e.outcome": outcome}))
        if event.ref in self._tasks:
            if start is not None:
                start.span.set_attributes({"a2e.ref": event.ref})
                start.span.end()  # the task already has a span
            return
        task = start or self._task(event.ref, event.kind)
        task.span.set_attributes({"a2e.ref": event.ref})
        if isinstance(event, Accepted):
            task.owes = True
            self._price(task, event.coins)
        task.span.add_event("resumed" if resumed else "accepted")
        self._follow(event.ref, task)

    def _not_started(self, event: NotStarted) -> None:
        outcome = event.error or "withdrawn"
        self._outcomes.add(1, _some(event.kind, **{"a2e.outcome": outcome}))
        if start := self._starts.pop(event.start, None):
            _end(start, "withdrawn" if event.error is None else "refused", event.error)

    def _lost(self, event: StartLost) -> None:
        self._outcomes.add(1, _some(event.recovery.kind, **{"a2e.outcome": "lost"}))
        start = None if event.start is None else self._starts.pop(event.start, None)
        if start is not None:
            _end(start, "lost", "StartOutcomeUnknown")

    # -- a task ------------------------------------------------------------------------------

    def _update(self, event: Update) -> None:
        task = self._again(event.ref, event.kind)
        if task is not None:
            status = {"a2e.status": event.status.value, "a2e.raw_status": event.raw_status}
            details = _attributes(**status, **{"a2e.progress": event.progress})
            task.span.add_event("update", details)

    def _finished(self, event: Finished) -> None:
        status = event.status.value if event.status else "gone"
        attributes = _some(event.kind, **{"a2e.status": status})
        task = self._again(event.ref, event.kind)
        if task is None:
            return  # its end was recorded before
        self._duration.record(event.elapsed, attributes)
        if event.delay is not None:
            self._delay.record(event.delay, attributes)
        self._price(task, event.coins)
        error = {Status.FAILED: "TaskFailed", None: "TaskGone"}.get(event.status)
        self._leave(event.ref, status, error)

    def _wait_ended(self, event: WaitEnded) -> None:
        task = self._tasks.get(event.ref)
        if task is None:
            return
        task.span.add_event("wait ended", {"error.type": event.error})
        if event.last and event.error not in ("CancelledError", "ClientClosed"):
            self._former[event.ref] = task.span.get_span_context()
            _bound(self._former, FORMER, lambda _: None)
            self._leave(event.ref, "unfinished", event.error)

    def _closed(self) -> None:
        for start in self._starts.values():
            _end(start, "unfinished")
        self._starts.clear()
        for ref in list(self._tasks):
            self._leave(ref, "unfinished")

    # -- internals ---------------------------------------------------------------------------

    def _begin(self, kind: str, links: tuple[Link, ...] = ()) -> Span:
        return self._tracer.start_span(
            f"a2e.task {kind}", kind=SpanKind.CLIENT, attributes={"a2e.kind": kind}, links=links
        )

    def _task(self, ref: str, kind: str) -> _Followed:
        former = self._former.pop(ref, None)
        span = self._begin(kind, () if former is None else (Link(former),))
        span.set_attribute("a2e.ref", ref)
        return _Followed(span, kind)

    def _again(self, ref: str, kind: str) -> _Followed | None:
        """Return the task's open span, or a new one if its former span ended before the task."""
        if ref in self._former and ref not in self._tasks:
            self._follow(ref, self._task(ref, kind))
        return self._tasks.get(ref)

    def _follow(self, ref: str, task: _Followed) -> None:
        self._tasks[ref] = task
        self._unfinished.add(1, _some(task.kind))
        while len(self._tasks) > self._most:
            self._leave(next(iter(self._tasks)), "dropped")

    def _leave(self, ref: str, status: str, error: str | None = None) -> None:
        task = self._tasks.pop(ref)
        self._unfinished.add(-1, _some(task.kind))
        _end(task, status, error)

    def _price(self, task: _Followed, coins: int | None) -> None:
        if coins is None:
            return
        task.span.set_attribute("a2e.coins", coins)
        if task.owes:
            task.owes = False
            self._coins.add(coins, _some(task.kind))


def _end(one: _Followed, status: str, error: str | None = None) -> None:
    one.span.set_attribute("a2e.status", status)
    if error is not None:
        one.span.set_attribute("error.type", error)
        one.span.set_status(StatusCode.ERROR, error)
    one.span.end()


def _bound(kept: "OrderedDict[Any, Any]", most: int, drop: Callable[[Any], None]) -> None:
    while len(kept) > most:
        drop(kept.popitem(last=False)[1])


def _some(kind: str, **more: str | float | None) -> Attributes:
    return _attributes(**{"a2e.kind": kind, **more})


def _attributes(**given: str | float | None) -> dict[str, str | int | float]:
    return {name: value for name, value in given.items() if value is not None}
