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
    Attached,
    Attempt,
    Closed,
    Event,
    Finished,
    NotStarted,
    Polled,
    Resumed,
    StartLost,
    StartRequested,
    Update,
    WaitEnded,
)
from a2e_async.models import Status

MAX_OPEN_SPANS: Final = 10_000
"""Maximum number of open spans; beyond it the oldest ones end early."""

MAX_FORMER_SPANS: Final = 1000
"""Ended spans of unfinished tasks that are remembered, so that later spans can link to them."""

Attributes = Mapping[str, str | int | float]


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    max_spans: int = MAX_OPEN_SPANS,
) -> Callable[[Event], None]:
    """Return a callback that creates spans and metrics from one client's events.

    Each client needs its own. A task's span ends with its task, or earlier: when the last wait for
    it times out or fails (a later wait creates a new span that links to it), when the client
    closes, or when ``max_spans`` newer ones are open. Raises `InvalidInput`.
    """
    if not isinstance(max_spans, int) or max_spans < 1:
        raise InvalidInput("max_spans must be an integer above 0.", field="max_spans")
    name, package_version = "a2e_async", version("a2e-async")
    return _Instrumentation(
        trace.get_tracer(name, package_version, tracer_provider),
        metrics.get_meter(name, package_version, meter_provider),
        max_spans,
    )


@define(eq=False)
class _TaskSpan:
    """The open span of a task. ``awaits_price``: started here, and its price is not known yet.

    Created, changed and ended by `_Instrumentation` alone.
    """

    span: Span
    kind: str
    awaits_price: bool = False


class _Instrumentation:
    """Creates spans and metrics from events; called with each event.

    Created for one client, whose events alone change it; lives as long as the client.
    """

    def __init__(self, tracer: trace.Tracer, meter: metrics.Meter, max_spans: int) -> None:
        self._tracer = tracer
        self._max_spans = max_spans
        self._start_spans: OrderedDict[int, _TaskSpan] = OrderedDict()
        self._task_spans: OrderedDict[str, _TaskSpan] = OrderedDict()
        self._former_spans: OrderedDict[str, SpanContext] = OrderedDict()
        self._unfinished_counter = meter.create_up_down_counter("a2e.tasks.unfinished", "{task}")
        self._start_counter = meter.create_counter("a2e.starts", "{start}")
        self._coin_counter = meter.create_counter("a2e.coins", "{coin}")
        self._duration_histogram = meter.create_histogram("a2e.task.duration", "s")
        self._delay_histogram = meter.create_histogram("a2e.task.delay", "s")
        self._poll_histogram = meter.create_histogram("a2e.poll.duration", "s")
        self._request_histogram = meter.create_histogram("a2e.request.duration", "s")

    def __call__(self, event: Event) -> None:
        """Handle one event."""
        match event:
            case StartRequested():
                self._start_spans[event.start] = _TaskSpan(self._start_span(event.kind), event.kind)
                _evict_oldest(
                    self._start_spans, self._max_spans, lambda one: _end_span(one, "dropped")
                )
            case Attempt():
                self._on_attempt(event)
            case Accepted() | Resumed():
                self._on_task_known(event)
            case NotStarted():
                self._on_not_started(event)
            case StartLost():
                self._on_start_lost(event)
            case Attached():
                if event.ref not in self._task_spans:
                    self._track(event.ref, self._new_task_span(event.ref, event.kind))
            case Polled():
                attributes = _kind_attributes(
                    event.kind, **{"a2e.mode": event.mode, "error.type": event.error}
                )
                self._poll_histogram.record(event.duration, attributes)
            case Update():
                self._on_update(event)
            case Finished():
                self._on_finished(event)
            case WaitEnded():
                self._on_wait_ended(event)
            case Closed():
                self._on_closed()
            case _:
                pass

    # -- a start -----------------------------------------------------------------------------

    def _on_attempt(self, event: Attempt) -> None:
        attributes = _without_none(
            **{
                "http.request.method": event.method,
                "http.response.status_code": event.status,
                "error.type": event.error,
            }
        )
        self._request_histogram.record(event.duration, attributes)
        if event.start is not None and (start := self._start_spans.get(event.start)):
            more = {"a2e.retry_in": event.retry_in, "a2e.waited": event.waited}
            details = _without_none(**{"url.path": event.path, **more})
            start.span.add_event("attempt", {**attributes, **details})

    def _on_task_known(self, event: Accepted | Resumed) -> None:
        resumed = isinstance(event, Resumed)
        found = isinstance(event, Accepted) and event.found
        outcome = "resumed" if resumed else "found" if found else "accepted"
        start = None if event.start is None else self._start_spans.pop(event.start, None)
        if start is not None or not resumed:
            self._start_counter.add(1, _kind_attributes(event.kind, **{"a2e.outcome": outcome}))
        if event.ref in self._task_spans:
            if start is not None:
                start.span.set_attributes({"a2e.ref": event.ref})
                start.span.end()  # the task already has a span
            return
        task = start or self._new_task_span(event.ref, event.kind)
        task.span.set_attributes({"a2e.ref": event.ref})
        if isinstance(event, Accepted):
            task.awaits_price = True
            self._record_price(task, event.coins)
        task.span.add_event("resumed" if resumed else "accepted")
        self._track(event.ref, task)

    def _on_not_started(self, event: NotStarted) -> None:
        outcome = event.error or "withdrawn"
        self._start_counter.add(1, _kind_attributes(event.kind, **{"a2e.outcome": outcome}))
        if start := self._start_spans.pop(event.start, None):
            _end_span(start, "withdrawn" if event.error is None else "refused", event.error)

    def _on_start_lost(self, event: StartLost) -> None:
        self._start_counter.add(1, _kind_attributes(event.recovery.kind, **{"a2e.outcome": "lost"}))
        start = None if event.start is None else self._start_spans.pop(event.start, None)
        if start is not None:
            _end_span(start, "lost", "StartOutcomeUnknown")

    # -- a task ------------------------------------------------------------------------------

    def _on_update(self, event: Update) -> None:
        task = self._get_or_reopen(event.ref, event.kind)
        if task is not None:
            status = {"a2e.status": event.status.value, "a2e.raw_status": event.raw_status}
            details = _without_none(**status, **{"a2e.progress": event.progress})
            task.span.add_event("update", details)

    def _on_finished(self, event: Finished) -> None:
        status = event.status.value if event.status else "gone"
        attributes = _kind_attributes(event.kind, **{"a2e.status": status})
        task = self._get_or_reopen(event.ref, event.kind)
        if task is None:
            return  # its end was recorded before
        self._duration_histogram.record(event.elapsed, attributes)
        if event.delay is not None:
            self._delay_histogram.record(event.delay, attributes)
        self._record_price(task, event.coins)
        error = {Status.FAILED: "TaskFailed", None: "TaskGone"}.get(event.status)
        self._end_task_span(event.ref, status, error)

    def _on_wait_ended(self, event: WaitEnded) -> None:
        task = self._task_spans.get(event.ref)
        if task is None:
            return
        task.span.add_event("wait ended", {"error.type": event.error})
        if event.last and event.error not in ("CancelledError", "ClientClosed"):
            self._former_spans[event.ref] = task.span.get_span_context()
            _evict_oldest(self._former_spans, MAX_FORMER_SPANS, lambda _: None)
            self._end_task_span(event.ref, "unfinished", event.error)

    def _on_closed(self) -> None:
        for start in self._start_spans.values():
            _end_span(start, "unfinished")
        self._start_spans.clear()
        for ref in list(self._task_spans):
            self._end_task_span(ref, "unfinished")

    # -- internals ---------------------------------------------------------------------------

    def _start_span(self, kind: str, links: tuple[Link, ...] = ()) -> Span:
        return self._tracer.start_span(
            f"a2e.task {kind}", kind=SpanKind.CLIENT, attributes={"a2e.kind": kind}, links=links
        )

    def _new_task_span(self, ref: str, kind: str) -> _TaskSpan:
        former = self._former_spans.pop(ref, None)
        span = self._start_span(kind, () if former is None else (Link(former),))
        span.set_attribute("a2e.ref", ref)
        return _TaskSpan(span, kind)

    def _get_or_reopen(self, ref: str, kind: str) -> _TaskSpan | None:
        """Return the task's open span, or a new one if its former span ended before the task."""
        if ref in self._former_spans and ref not in self._task_spans:
            self._track(ref, self._new_task_span(ref, kind))
        return self._task_spans.get(ref)

    def _track(self, ref: str, task: _TaskSpan) -> None:
        self._task_spans[ref] = task
        self._unfinished_counter.add(1, _kind_attributes(task.kind))
        while len(self._task_spans) > self._max_spans:
            self._end_task_span(next(iter(self._task_spans)), "dropped")

    def _end_task_span(self, ref: str, status: str, error: str | None = None) -> None:
        task = self._task_spans.pop(ref)
        self._unfinished_counter.add(-1, _kind_attributes(task.kind))
        _end_span(task, status, error)

    def _record_price(self, task: _TaskSpan, coins: int | None) -> None:
        if coins is None:
            return
        task.span.set_attribute("a2e.coins", coins)
        if task.awaits_price:
            task.awaits_price = False
            self._coin_counter.add(coins, _kind_attributes(task.kind))


def _end_span(task_span: _TaskSpan, status: str, error: str | None = None) -> None:
    task_span.span.set_attribute("a2e.status", status)
    if error is not None:
        task_span.span.set_attribute("error.type", error)
        task_span.span.set_status(StatusCode.ERROR, error)
    task_span.span.end()


def _evict_oldest(
    cache: "OrderedDict[Any, Any]", max_size: int, on_evicted: Callable[[Any], None]
) -> None:
    while len(cache) > max_size:
        on_evicted(cache.popitem(last=False)[1])


def _kind_attributes(kind: str, **more: str | float | None) -> Attributes:
    return _without_none(**{"a2e.kind": kind, **more})


def _without_none(**given: str | float | None) -> dict[str, str | int | float]:
    return {name: value for name, value in given.items() if value is not None}
