"""OpenTelemetry: spans and metrics by the semantic conventions. Needs the extra ``otel``.

``A2E(on_event=instrument())`` uses the global providers.

**Spans.** ``a2e.task <kind>`` (INTERNAL) lasts from the call of ``start()``, as a child of the
caller's span, until the end of the task. ``<method> <url.template>`` (CLIENT) is one HTTP request:
those of a start and of its polls are below the task's span, all others below the current span. A
poll of several tasks is below the first one's span and has links to the others. ``a2e.wait <kind>``
(INTERNAL) is a wait in another trace than its task's, with a link to the task's span. A span of a
request ends when its response was read, of a download when the headers were.

Attributes: ``a2e.kind``, ``a2e.ref``, ``a2e.status``, ``a2e.coins`` and ``error.type`` of a task
and a wait; those of the conventions for a request, with ``http.request.resend_count`` for a
repeated one, ``a2e.request.queue_time`` and ``a2e.request.retry_delay`` (s), and ``a2e.trace_id``,
by which the service's support finds it. URLs have neither query nor credentials.

**Metrics.**

- ``http.client.request.duration``: seconds of an HTTP request, with the attributes of the
  conventions and ``url.template``;
- ``a2e.request.queue.duration``: seconds that a request to the API waited for its turn before;
- ``a2e.rate_limit.pause.duration``: seconds of each pause that the service asked for;
- ``a2e.active_tasks``: tasks with a span that have not ended, by ``a2e.kind``;
- ``a2e.starts``: starts by kind and ``a2e.outcome`` (accepted, found, resumed, lost, withdrawn, or
  the name of the error);
- ``a2e.coins``: coins charged for starts of this process, by kind, if the service reports them;
- ``a2e.task.duration``: seconds from a task's creation to its observed end, by kind and status;
- ``a2e.task.delay``: upper limit of the seconds between a task's end and its observation;
- ``a2e.poll.duration``: seconds per poll, by kind and ``a2e.mode``.
"""

# pyright: reportPrivateUsage=false
# The keys that make instrumentations of HTTP clients leave a request to another one are private.

import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, field
from opentelemetry import context, metrics, trace
from opentelemetry.context import (
    _SUPPRESS_HTTP_INSTRUMENTATION_KEY,
    _SUPPRESS_INSTRUMENTATION_KEY,
    Context,
)
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from a2e_async.errors import InvalidInput
from a2e_async.events import (
    Accepted,
    Attached,
    Attempt,
    Closed,
    Event,
    FileRequest,
    Finished,
    NotStarted,
    Polled,
    PollStarted,
    RateLimitPause,
    RequestStarted,
    Resumed,
    StartLost,
    StartRequested,
    Update,
    WaitEnded,
    WaitStarted,
)
from a2e_async.models import Status

MAX_OPEN_SPANS: Final = 10_000
"""Maximum number of open spans; beyond it the oldest ones end early."""

MAX_FORMER_SPANS: Final = 1000
"""Ended spans that are remembered, so that later spans can refer to them."""

MAX_LINKS: Final = 128
"""Maximum number of links of a poll to the tasks that it polls; the SDK's default limit."""

HTTP_BOUNDARIES: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
)  # fmt: skip
"""Bucket boundaries of ``http.client.request.duration`` (s), as the conventions advise."""

WAITING_BOUNDARIES: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
"""Bucket boundaries (s) of what includes waiting: for a turn, for a pause, for a poll."""

TASK_BOUNDARIES: Final = (5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 14400)
"""Bucket boundaries of the duration of a task (s)."""

KNOWN_METHODS: Final = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
)
"""The methods that the conventions name; any other is reported as ``_OTHER``."""

Attributes = Mapping[str, str | int | float]

_REQUEST_KEY: Final = context.create_key("a2e-async-request")
_LINKS_KEY: Final = context.create_key("a2e-async-poll-links")

# Ids of the service are 24 hexadecimal digits; some are UUIDs or numbers.
_ID: Final = re.compile(r"(?<=/)(?:[0-9a-fA-F]{16,}|[0-9a-fA-F-]{32,36}|\d+)(?=/|$)")
_TEMPLATE: Final = re.compile(r"(?:/(?:\{id\}|\d+p|[A-Za-z_][A-Za-z0-9_\-]{0,40}))+")


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    max_spans: int = MAX_OPEN_SPANS,
) -> Callable[[Event], None]:
    """Return a callback that creates spans and metrics from one client's events.

    Each client needs its own, and must call it directly, in the context of the event. A task's span
    ends with its task, or earlier: when the last wait for it times out or fails (a later wait
    creates a new span that links to it), when the client closes, or when ``max_spans`` newer ones
    are open. Other instrumentations of HTTP clients leave these requests out, so that each has one
    span. Raises `InvalidInput`.
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

    ``waits`` are the open spans of waits in other traces, by the number of the wait. Created,
    changed and ended by `_Instrumentation` alone.
    """

    span: Span
    kind: str
    awaits_price: bool = False
    waits: dict[int, Span] = field(factory=dict[int, Span])


@define(eq=False)
class _Request:
    """A request in progress, kept in its context. Created and ended by `_Instrumentation`."""

    span: Span
    token: Any
    attributes: dict[str, str | int | float]
    started_at: int
    """Nanoseconds since 1970."""
    began: int
    """Nanoseconds of a clock that never jumps."""
    resend: int


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
        self._recent_spans: OrderedDict[int | str | None, SpanContext] = OrderedDict()
        """The spans of recent starts, by number, and of tasks that have ended, by ref."""
        self._counted_kinds: set[str] = set()
        self._active_counter = meter.create_up_down_counter(
            "a2e.active_tasks", "{task}", "Tasks that are followed and have not ended."
        )
        self._start_counter = meter.create_counter("a2e.starts", "{start}", "Starts, by outcome.")
        self._coin_counter = meter.create_counter("a2e.coins", "{coin}", "Coins charged.")

        def seconds(name: str, boundaries: Sequence[float], description: str) -> metrics.Histogram:
            return meter.create_histogram(
                name, "s", description, explicit_bucket_boundaries_advisory=boundaries
            )

        self._request_histogram = seconds(
            "http.client.request.duration", HTTP_BOUNDARIES, "Duration of HTTP client requests."
        )
        self._queue_histogram = seconds(
            "a2e.request.queue.duration", WAITING_BOUNDARIES, "Wait of a request for its turn."
        )
        self._pause_histogram = seconds(
            "a2e.rate_limit.pause.duration", WAITING_BOUNDARIES, "Pauses the service asked for."
        )
        self._duration_histogram = seconds(
            "a2e.task.duration", TASK_BOUNDARIES, "Time from a task's creation to its observed end."
        )
        self._delay_histogram = seconds(
            "a2e.task.delay", WAITING_BOUNDARIES, "Time from a task's end to its observation."
        )
        self._poll_histogram = seconds(
            "a2e.poll.duration", WAITING_BOUNDARIES, "Duration of polls."
        )

    def __call__(self, event: Event) -> None:
        """Handle one event."""
        match event:
            case RequestStarted():
                self._on_request_started(event)
            case Attempt() | FileRequest():
                self._on_request_ended(event)
            case StartRequested():
                self._on_start_requested(event)
            case Accepted() | Resumed():
                self._on_task_known(event)
            case NotStarted():
                self._on_not_started(event)
            case StartLost():
                self._on_start_lost(event)
            case _:
                self._on_waiting(event)

    def _on_waiting(self, event: Event) -> None:
        match event:
            case Attached():
                if event.ref not in self._task_spans:
                    self._track(event.ref, self._new_task_span(event.ref, event.kind))
            case WaitStarted():
                self._on_wait_started(event)
            case PollStarted():
                self._on_poll_started(event)
            case Polled():
                attributes = _kind_attributes(
                    event.kind, **{"a2e.mode": event.mode, "error.type": event.error}
                )
                self._poll_histogram.record(event.duration, attributes)
                context.attach(Context())  # what follows belongs to any of the tasks
            case Update():
                self._on_update(event)
            case Finished():
                self._on_finished(event)
            case WaitEnded():
                self._on_wait_ended(event)
            case RateLimitPause():
                self._pause_histogram.record(event.seconds)
            case Closed():
                self._on_closed()
            case _:
                pass

    # -- a request ---------------------------------------------------------------------------

    def _on_request_started(self, event: RequestStarted) -> None:
        attributes = _request_attributes(event)
        method, template = attributes["http.request.method"], attributes.get("url.template")
        name = "HTTP" if method == "_OTHER" else str(method)
        around = self._context_of(event)
        links: Any = context.get_value(_LINKS_KEY, around)
        more = {"http.request.resend_count": event.resend} if event.resend else {}
        started_at = time.time_ns()
        span = self._tracer.start_span(
            name if template is None else f"{name} {template}",
            around,
            SpanKind.CLIENT,
            {**attributes, "url.full": event.url, **more},
            links,
            started_at,
        )
        request = _Request(span, None, attributes, started_at, time.perf_counter_ns(), event.resend)
        inside = context.set_value(_REQUEST_KEY, request, trace.set_span_in_context(span, around))
        # A span of aiohttp's own instrumentation would describe the same request. Older versions of
        # it know only the second key.
        for key in (_SUPPRESS_HTTP_INSTRUMENTATION_KEY, _SUPPRESS_INSTRUMENTATION_KEY):
            inside = context.set_value(key, True, inside)
        request.token = context.attach(inside)

    def _context_of(self, event: RequestStarted) -> Context:
        """Return the context that a request's span belongs to.

        That is its start's; else the current one, of the caller or the poll. Work in the background
        has neither: then that of the task which it is about.
        """
        around = context.get_current()
        if event.start is not None and (start := self._start_spans.get(event.start)):
            return trace.set_span_in_context(start.span, around)
        if not trace.get_current_span(around).get_span_context().is_valid:
            about = event.ref if event.start is None else event.start
            task = None if event.ref is None else self._task_spans.get(event.ref)
            known = self._recent_spans.get(about) if task is None else task.span.get_span_context()
            if known is not None:
                return trace.set_span_in_context(trace.NonRecordingSpan(known), around)
        return around

    def _on_request_ended(self, event: Attempt | FileRequest) -> None:
        request: Any = context.get_value(_REQUEST_KEY)
        if not isinstance(request, _Request):
            return
        elapsed = time.perf_counter_ns() - request.began
        error = event.error
        if error is None and event.status is not None and event.status >= 400:
            error = str(event.status)
        ended = _without_none(**{"http.response.status_code": event.status, "error.type": error})
        self._request_histogram.record(elapsed / 1e9, {**request.attributes, **ended})
        span = request.span
        if isinstance(event, Attempt):
            self._queue_histogram.record(event.waited)
            # aiohttp has repeated an idempotent request after a dead connection.
            repeated = request.resend + event.sends - 1 if event.sends > 1 else None
            ended |= _without_none(
                **{
                    "http.request.resend_count": repeated,
                    "a2e.request.queue_time": event.waited,
                    "a2e.request.retry_delay": event.retry_in,
                    "a2e.trace_id": event.trace_id,
                }
            )
        context.detach(request.token)  # not before: metrics take their example from its span
        span.set_attributes(ended)
        if error is not None:
            span.set_status(StatusCode.ERROR)
        span.end(request.started_at + elapsed)

    # -- a start -----------------------------------------------------------------------------

    def _on_start_requested(self, event: StartRequested) -> None:
        span = self._start_span("a2e.task", event.kind)
        self._start_spans[event.start] = _TaskSpan(span, event.kind)
        _evict_oldest(
            self._start_spans, self._max_spans, lambda one: _end_span(one.span, "dropped")
        )
        if event.kind not in self._counted_kinds:
            # A system that compares values over time misses a counter's first one, unless it is 0.
            self._counted_kinds.add(event.kind)
            self._coin_counter.add(0, _kind_attributes(event.kind))
            for outcome in ("accepted", "found", "lost"):
                attributes = _kind_attributes(event.kind, **{"a2e.outcome": outcome})
                self._start_counter.add(0, attributes)

    def _on_task_known(self, event: Accepted | Resumed) -> None:
        resumed = isinstance(event, Resumed)
        found = isinstance(event, Accepted) and event.found
        outcome = "resumed" if resumed else "found" if found else "accepted"
        start = None if event.start is None else self._start_spans.pop(event.start, None)
        if start is not None or not resumed:
            self._start_counter.add(1, _kind_attributes(event.kind, **{"a2e.outcome": outcome}))
        existing = self._task_spans.get(event.ref)
        if existing is not None:
            if start is not None:  # the task already has a span
                start.span.set_attribute("a2e.ref", event.ref)
                start.span.add_link(existing.span.get_span_context())
                _end_span(start.span, outcome)
            return
        task = start or self._new_task_span(event.ref, event.kind)
        task.span.set_attribute("a2e.ref", event.ref)
        if (former := self._former_spans.pop(event.ref, None)) is not None:
            task.span.add_link(former)
        if isinstance(event, Accepted):
            task.awaits_price = True
            self._record_price(task, event.coins)
        elif (origin := _remote_span(event.traceparent)) is not None:
            task.span.add_link(origin)  # where it was started
        task.span.add_event("resumed" if resumed else "accepted")
        self._track(event.ref, task)
        if start is not None:
            self._remember(event.start, task)

    def _on_not_started(self, event: NotStarted) -> None:
        outcome = event.error or "withdrawn"
        self._start_counter.add(1, _kind_attributes(event.kind, **{"a2e.outcome": outcome}))
        if start := self._start_spans.pop(event.start, None):
            _end_span(start.span, "withdrawn" if event.error is None else "refused", event.error)

    def _on_start_lost(self, event: StartLost) -> None:
        self._start_counter.add(1, _kind_attributes(event.recovery.kind, **{"a2e.outcome": "lost"}))
        start = None if event.start is None else self._start_spans.pop(event.start, None)
        if start is not None:
            _end_span(start.span, "lost", "StartOutcomeUnknown")

    # -- a task ------------------------------------------------------------------------------

    def _on_wait_started(self, event: WaitStarted) -> None:
        if event.ref in self._former_spans and event.ref not in self._task_spans:
            self._track(event.ref, self._new_task_span(event.ref, event.kind))
        task = self._task_spans.get(event.ref)
        here = trace.get_current_span().get_span_context()
        if task is None or not here.is_valid:
            return
        there = task.span.get_span_context()
        if here.trace_id != there.trace_id:
            span = self._start_span("a2e.wait", event.kind, (Link(there),))
            span.set_attribute("a2e.ref", event.ref)
            task.waits[event.wait] = span

    def _on_poll_started(self, event: PollStarted) -> None:
        spans = [task.span for ref in event.refs if (task := self._task_spans.get(ref))]
        first = spans[0] if spans else trace.INVALID_SPAN
        links = [Link(span.get_span_context()) for span in spans[1 : MAX_LINKS + 1]]
        # Not detached: the context is the poll's own and ends with it. What it was copied from,
        # that of the wait which began the polling, has nothing to do with these tasks.
        context.attach(
            context.set_value(_LINKS_KEY, links, trace.set_span_in_context(first, Context()))
        )

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
        inside = trace.set_span_in_context(task.span)  # the example of the metrics
        self._duration_histogram.record(event.elapsed, attributes, inside)
        if event.delay is not None:
            self._delay_histogram.record(event.delay, attributes, inside)
        self._record_price(task, event.coins)
        error = {Status.FAILED: "TaskFailed", None: "TaskGone"}.get(event.status)
        self._end_task_span(event.ref, status, error)

    def _on_wait_ended(self, event: WaitEnded) -> None:
        task = self._task_spans.get(event.ref)
        if task is None:
            return
        if event.wait is not None and (span := task.waits.pop(event.wait, None)):
            _end_span(span, "unfinished", event.error)
        task.span.add_event("wait ended", {"error.type": event.error})
        if event.last and event.error not in ("CancelledError", "ClientClosed"):
            self._former_spans[event.ref] = task.span.get_span_context()
            _evict_oldest(self._former_spans, MAX_FORMER_SPANS, lambda _: None)
            self._end_task_span(event.ref, "unfinished", event.error)

    def _on_closed(self) -> None:
        for start in self._start_spans.values():
            _end_span(start.span, "unfinished")
        self._start_spans.clear()
        for ref in list(self._task_spans):
            self._end_task_span(ref, "unfinished")

    # -- internals ---------------------------------------------------------------------------

    def _start_span(
        self, name: str, kind: str, links: Sequence[Link] = (), parent: Context | None = None
    ) -> Span:
        return self._tracer.start_span(
            f"{name} {kind}", parent, SpanKind.INTERNAL, {"a2e.kind": kind}, links
        )

    def _new_task_span(self, ref: str, kind: str) -> _TaskSpan:
        former = self._former_spans.pop(ref, None)
        span = self._start_span("a2e.task", kind, () if former is None else (Link(former),))
        span.set_attribute("a2e.ref", ref)
        return _TaskSpan(span, kind)

    def _get_or_reopen(self, ref: str, kind: str) -> _TaskSpan | None:
        """Return the task's open span, or a new one below its former span, which ended early.

        Called in the context of a poll, whose current span is that of any of its tasks.
        """
        if ref not in self._task_spans and (former := self._former_spans.pop(ref, None)):
            parent = trace.set_span_in_context(trace.NonRecordingSpan(former), Context())
            span = self._start_span("a2e.task", kind, parent=parent)
            span.set_attribute("a2e.ref", ref)
            self._track(ref, _TaskSpan(span, kind))
        return self._task_spans.get(ref)

    def _track(self, ref: str, task: _TaskSpan) -> None:
        self._task_spans[ref] = task
        self._active_counter.add(1, _kind_attributes(task.kind))
        while len(self._task_spans) > self._max_spans:
            self._end_task_span(next(iter(self._task_spans)), "dropped")

    def _end_task_span(self, ref: str, status: str, error: str | None = None) -> None:
        task = self._task_spans.pop(ref)
        self._remember(ref, task)
        self._active_counter.add(-1, _kind_attributes(task.kind))
        for span in (*task.waits.values(), task.span):
            _end_span(span, status, error)

    def _remember(self, about: int | str | None, task: _TaskSpan) -> None:
        self._recent_spans[about] = task.span.get_span_context()
        _evict_oldest(self._recent_spans, MAX_FORMER_SPANS, lambda _: None)

    def _record_price(self, task: _TaskSpan, coins: int | None) -> None:
        if coins is None:
            return
        task.span.set_attribute("a2e.coins", coins)
        if task.awaits_price:
            task.awaits_price = False
            self._coin_counter.add(coins, _kind_attributes(task.kind))


def _request_attributes(event: RequestStarted) -> dict[str, str | int | float]:
    """Return the attributes that the span and the metrics of a request have in common."""
    try:
        url = urlsplit(event.url)
        host, port = url.hostname, url.port or (443 if url.scheme == "https" else 80)
    except ValueError:  # a malformed URL of a result: the request will fail
        host, port = None, 0
    found: dict[str, str | int | float] = {
        "http.request.method": event.method if event.method in KNOWN_METHODS else "_OTHER",
        "server.address": host or "",
        "server.port": port,
    }
    # Only the API's paths have few forms: those of the storage name files.
    template = "" if event.path is None else _ID.sub("{id}", event.path)
    if _TEMPLATE.fullmatch(template):
        found["url.template"] = template
    return found


def _remote_span(traceparent: str | None) -> SpanContext | None:
    """Return the span that a W3C ``traceparent`` names, if it names one."""
    if traceparent is None:
        return None
    found = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())
    span_context = trace.get_current_span(found).get_span_context()
    return span_context if span_context.is_valid else None


def _end_span(span: Span, status: str, error: str | None = None) -> None:
    span.set_attribute("a2e.status", status)
    if error is not None:
        span.set_attribute("error.type", error)
        span.set_status(StatusCode.ERROR, error)
    span.end()


def _evict_oldest(
    cache: "OrderedDict[Any, Any]", max_size: int, on_evicted: Callable[[Any], None]
) -> None:
    while len(cache) > max_size:
        on_evicted(cache.popitem(last=False)[1])


def _kind_attributes(kind: str, **more: str | float | None) -> Attributes:
    return _without_none(**{"a2e.kind": kind, **more})


def _without_none(**given: str | float | None) -> dict[str, str | int | float]:
    return {name: value for name, value in given.items() if value is not None}
