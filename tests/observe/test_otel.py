"""Spans of tasks, waits and requests, and metrics that add up, by the semantic conventions."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from opentelemetry import propagate, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from a2e_async import RetryPolicy
from a2e_async.contrib.otel import HTTP_BOUNDARIES, instrument
from a2e_async.errors import (
    BudgetExceeded,
    ClientClosed,
    ConnectError,
    InvalidInput,
    StartOutcomeUnknown,
    TaskFailed,
    TaskTimeout,
    TransferError,
)
from a2e_async.events import Event, RequestStarted
from a2e_async.models import Output
from a2e_async.sandbox import Sandbox
from a2e_async.sandbox import media as samples
from tests.client.conftest import BLIND, DUB, LONG, MOVE, TALK, MakeClient

pytestmark = pytest.mark.anyio


class Telemetry:
    """In-memory providers, and what they recorded."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._reader])

    def listener(self, **more: Any) -> Any:
        return instrument(tracer_provider=self.tracers, meter_provider=self.meters, **more)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._spans.get_finished_spans()

    @property
    def tasks(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name.startswith("a2e.task ")]

    @property
    def requests(self) -> list[ReadableSpan]:
        return [span for span in self.spans if span.kind is SpanKind.CLIENT]

    def points(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def total(self, name: str) -> float:
        return sum(getattr(p, "value", 0) or getattr(p, "count", 0) for p in self.points(name))

    def outcomes(self) -> dict[str, int]:
        points = self.points("a2e.starts")
        return {p.attributes["a2e.outcome"]: p.value for p in points if p.value}


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent_id(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


async def test_a_task_is_a_child_of_its_caller(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    """The span is a child of the caller's, with requests below it, and ends with the task."""
    client = make_client(on_event=telemetry.listener())
    with telemetry.tracers.get_tracer("app").start_as_current_span("request") as request:
        task = await client.image_to_video.start(**MOVE)
    record = await task
    (span,) = telemetry.tasks
    assert parent_id(span) == request.get_span_context().span_id
    assert (span.name, span.kind) == ("a2e.task image_to_video", SpanKind.INTERNAL)
    assert about(span)["a2e.ref"] == task.ref
    assert about(span)["a2e.status"] == "succeeded"
    assert about(span)["a2e.coins"] == task.coins == record.coins
    assert span.status.status_code is StatusCode.UNSET
    names = [event.name for event in span.events]
    assert (names[0], names[-1]) == ("accepted", "update")
    assert {parent_id(request) for request in telemetry.requests} == {span_id(span)}
    (ended,) = telemetry.points("a2e.task.duration")  # the SDK gives out each example once
    assert [example.span_id for example in ended.exemplars] == [span_id(span)]
    assert telemetry.total("a2e.coins") == task.coins
    assert telemetry.total("a2e.active_tasks") == 0
    assert telemetry.total("a2e.task.duration") == telemetry.total("a2e.task.delay") == 1
    polls = telemetry.total("a2e.poll.duration")
    assert telemetry.total("http.client.request.duration") == len(telemetry.requests) == 1 + polls


async def test_a_request_by_the_conventions(
    make_client: MakeClient, sandbox: Sandbox, telemetry: Telemetry
) -> None:
    """Each request is a CLIENT span; the histogram has its attributes, seconds and boundaries."""
    client = make_client(on_event=telemetry.listener())
    record = await client.image_to_video.run(**MOVE)
    start, *polls = telemetry.requests
    host, _, port = sandbox.base_url.rpartition("://")[2].partition(":")
    assert start.name == "POST /api/v1/userImage2Video/start"
    expected = {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": host,
        "server.port": int(port),
        "url.full": f"{sandbox.base_url}/api/v1/userImage2Video/start",
        "url.template": "/api/v1/userImage2Video/start",
    }
    assert about(start).items() >= expected.items()
    assert not about(start).keys() & {"error.type", "http.request.resend_count"}
    assert {poll.name for poll in polls} == {"GET /api/v1/userImage2Video/{id}"}
    assert about(polls[0])["url.full"].endswith(record.id)
    points = telemetry.points("http.client.request.duration")
    del expected["url.full"]
    assert expected in [dict(point.attributes) for point in points]
    assert points[0].explicit_bounds == HTTP_BOUNDARIES
    (point,) = [p for p in points if dict(p.attributes) == expected]
    assert start.end_time is not None
    assert start.start_time is not None
    assert point.sum == pytest.approx((start.end_time - start.start_time) / 1e9)
    assert [example.span_id for example in point.exemplars] == [span_id(start)]


async def test_a_request_that_is_repeated(
    make_client: MakeClient, sandbox: Sandbox, telemetry: Telemetry
) -> None:
    """Every attempt has its span, with its count and the error that it ended with."""
    sandbox.faults.http_error(429, role="start", retry_after=0.01)
    task = await make_client(on_event=telemetry.listener()).dubbing.start(**DUB)
    first, second = telemetry.requests
    assert about(first)["error.type"] == "RateLimited"
    assert about(first)["http.response.status_code"] == 429
    assert about(first)["a2e.request.retry_delay"] == pytest.approx(0.01, abs=0.5)
    assert first.status.status_code is StatusCode.ERROR
    assert about(second)["http.request.resend_count"] == 1
    assert second.status.status_code is StatusCode.UNSET
    assert telemetry.total("a2e.rate_limit.pause.duration") == 1
    await task
    assert {parent_id(span) for span in telemetry.requests} == {span_id(telemetry.tasks[0])}


async def test_a_request_that_nobody_answers(make_client: MakeClient, telemetry: Telemetry) -> None:
    """Without a response there is an error, no status, and nothing of the caller's is changed."""
    client = make_client(
        base_url="http://127.0.0.1:1",
        on_event=telemetry.listener(),
        retry=RetryPolicy(max_attempts=1),
    )
    with pytest.raises(ConnectError):
        await client.credits.balance()
    (span,) = telemetry.requests
    assert about(span)["error.type"] == "ConnectError"
    assert "http.response.status_code" not in about(span)
    assert (span.parent, about(span)["server.port"]) == (None, 1)
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_a_file_that_cannot_be_requested(
    make_client: MakeClient, telemetry: Telemetry, caplog: pytest.LogCaptureFixture, media: Path
) -> None:
    """A malformed URL of a result is an error of its request, not of the listener."""
    client = make_client(on_event=telemetry.listener())
    output = Output(url="https://media.example:99999/a.mp4", media="video")
    with pytest.raises(TransferError):
        await client.files.download(output, media)
    (span,) = telemetry.requests
    assert about(span)["error.type"] == "InvalidUrl"
    assert "on_event" not in caplog.text


async def test_a_poll_of_several_tasks(make_client: MakeClient, telemetry: Telemetry) -> None:
    """It is below the first of them and links to the others."""
    client = make_client(on_event=telemetry.listener())
    tasks = [await client.talking_video.start(**TALK) for _ in range(3)]
    await asyncio.gather(*tasks)
    ids = {span_id(span) for span in telemetry.tasks}
    shared = next(span for span in telemetry.requests if len(span.links) == 2)
    assert {parent_id(shared), *(link.context.span_id for link in shared.links)} == ids
    assert about(shared)["url.template"] == "/api/v1/talkingVideo/batchDetail"


async def test_a_wait_in_another_trace(make_client: MakeClient, telemetry: Telemetry) -> None:
    """It has a span in its own trace, which links to the task's; a wait in the task's has none."""
    client = make_client(on_event=telemetry.listener())
    tracer = telemetry.tracers.get_tracer("app")
    with tracer.start_as_current_span("request"):
        task = await client.dubbing.start(**DUB)
        first = asyncio.create_task(task.wait())
        await asyncio.sleep(0)
    with tracer.start_as_current_span("another request") as other:
        await client.attach(task.ref)
    await first
    (span,) = telemetry.tasks
    (wait,) = [one for one in telemetry.spans if one.name == "a2e.wait dubbing"]
    assert (wait.kind, parent_id(wait)) == (SpanKind.INTERNAL, other.get_span_context().span_id)
    assert [link.context.span_id for link in wait.links] == [span_id(span)]
    assert (about(wait)["a2e.ref"], about(wait)["a2e.status"]) == (task.ref, "succeeded")


@LONG
async def test_a_wait_in_another_trace_that_times_out(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    client = make_client(on_event=telemetry.listener())
    task = await client.dubbing.start(**DUB)
    first = asyncio.create_task(task.wait())
    await asyncio.sleep(0)
    with (
        telemetry.tracers.get_tracer("app").start_as_current_span("request"),
        pytest.raises(TaskTimeout),
    ):
        await task.wait(timeout=0)
    (wait,) = [one for one in telemetry.spans if one.name == "a2e.wait dubbing"]
    assert about(wait)["error.type"] == "TaskTimeout"
    assert not telemetry.tasks  # the other wait goes on
    first.cancel()


async def test_continued_from_the_journal(
    make_client: MakeClient, telemetry: Telemetry, tmp_path: Path
) -> None:
    """A task that carries its trace in ``meta`` links to it in the process that continues it."""
    carrier: dict[str, str] = {}
    with telemetry.tracers.get_tracer("app").start_as_current_span("request") as request:
        propagate.inject(carrier)
        first = make_client(journal=tmp_path / "jobs.db")
        await first.dubbing.start(**DUB, meta={**carrier, "order": 17})
    await first.aclose()
    client = make_client(journal=tmp_path / "jobs.db", on_event=telemetry.listener())
    async for task in client.unfinished():
        await task
    (span,) = telemetry.tasks
    assert [link.context.span_id for link in span.links] == [request.get_span_context().span_id]
    assert [link.context.is_remote for link in span.links] == [True]
    assert span.parent is None


async def test_a_key_used_twice(
    make_client: MakeClient, telemetry: Telemetry, tmp_path: Path
) -> None:
    """The second start has a span of its own, which links to the task's."""
    client = make_client(journal=tmp_path / "jobs.db", on_event=telemetry.listener())
    task = await client.dubbing.start(**DUB, key="one")
    await client.dubbing.start(**DUB, key="one")
    await task
    resumed, span = telemetry.tasks
    assert about(resumed)["a2e.status"] == "resumed"
    assert [link.context.span_id for link in resumed.links] == [span_id(span)]


async def test_requests_in_the_background(
    make_client: MakeClient, telemetry: Telemetry, media: Path
) -> None:
    """A paid call is below its caller's span, a download of no caller below its task's."""
    client = make_client(on_event=telemetry.listener())
    with telemetry.tracers.get_tracer("app").start_as_current_span("request") as request:
        await client.speech.say("Good evening", tts_id="66dc61ec5148817d26f5b79e")
    assert [parent_id(span) for span in telemetry.requests] == [request.get_span_context().span_id]
    task = await client.dubbing.start(**DUB)
    await task.download(media)
    (span,) = telemetry.tasks
    assert {parent_id(request) for request in telemetry.requests[1:]} == {span_id(span)}


@pytest.fixture
def instrumented(telemetry: Telemetry) -> Iterator[None]:
    """aiohttp's own instrumentation, with the same providers."""
    from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor

    instrumentor = AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)
    yield
    instrumentor.uninstrument()


@pytest.mark.usefixtures("instrumented")
async def test_beside_the_instrumentation_of_aiohttp(
    make_client: MakeClient, sandbox: Sandbox, telemetry: Telemetry, media: Path
) -> None:
    """Each request has one span, none is an orphan, and other requests are traced as before."""
    listen, sent = telemetry.listener(), 0

    def listener(event: Event) -> None:
        nonlocal sent
        sent += isinstance(event, RequestStarted)
        listen(event)

    client = make_client(on_event=listener)
    tracer = telemetry.tracers.get_tracer("app")
    with tracer.start_as_current_span("request"):
        task = await client.dubbing.start(source_url=samples.speech(), target_lang="es")
        await task.download(media)
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{sandbox.base_url}/openapi.json") as response,
        ):
            await response.read()
    ours = [span for span in telemetry.requests if span.instrumentation_scope.name == "a2e_async"]
    others = [span for span in telemetry.requests if span not in ours]
    assert len(ours) == sent
    assert {about(span)["http.request.method"] for span in ours} == {"POST", "PUT", "GET"}
    assert [span.name for span in others] == ["GET"]
    ids = {span_id(span) for span in telemetry.spans}
    assert [span.name for span in telemetry.spans if parent_id(span) not in ids] == ["request"]
    upload = next(span for span in ours if span.name == "PUT")
    assert parent_id(upload) == span_id(telemetry.tasks[0])


async def test_nothing_private(
    make_client: MakeClient, sandbox: Sandbox, telemetry: Telemetry, media: Path
) -> None:
    """No span and no metric has a key, a signature, a prompt or a name."""
    client = make_client(on_event=telemetry.listener())
    speech = samples.speech().read_bytes()
    task = await client.dubbing.start(
        source_url=speech, target_lang="es", name="Grandma's birthday", meta={"user": "17-secret"}
    )
    await task.download(media)
    points = [
        *telemetry.points("http.client.request.duration"), *telemetry.points("a2e.task.duration")
    ]  # fmt: skip
    text = "".join(span.to_json() for span in telemetry.spans) + repr(points)
    assert {about(span)["http.request.method"] for span in telemetry.requests} >= {"PUT", "GET"}
    for secret in (sandbox.api_key, "Signature", "X-Amz", "Grandma", "17-secret", "Bearer"):
        assert secret not in text


async def test_callers_at_once_keep_their_own(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    """Each task is below the span of its caller, however many callers run concurrently."""
    client = make_client(on_event=telemetry.listener())
    tracer = telemetry.tracers.get_tracer("app")

    async def one() -> tuple[str, int]:
        with tracer.start_as_current_span("request") as request:
            task = await client.dubbing.start(**DUB)
        await task
        return task.ref, request.get_span_context().span_id

    pairs = set(await asyncio.gather(*(one() for _ in range(5))))
    assert {(about(span)["a2e.ref"], parent_id(span)) for span in telemetry.tasks} == pairs


async def test_failed(make_client: MakeClient, sandbox: Sandbox, telemetry: Telemetry) -> None:
    sandbox.faults.fail("dubbing")
    with pytest.raises(TaskFailed):
        await make_client(on_event=telemetry.listener()).dubbing.run(**DUB)
    (span,) = telemetry.tasks
    assert span.status.status_code is StatusCode.ERROR
    assert about(span)["error.type"] == "TaskFailed"


@BLIND
async def test_lost_and_refused_starts(
    make_client: MakeClient, sandbox: Sandbox, telemetry: Telemetry
) -> None:
    sandbox.faults.drop_after_accept("dubbing")
    with pytest.raises(StartOutcomeUnknown):
        await make_client(on_event=telemetry.listener()).dubbing.start(**DUB)
    with pytest.raises(BudgetExceeded):
        await make_client(on_event=telemetry.listener(), budget=0).dubbing.start(**DUB)
    assert [about(span)["error.type"] for span in telemetry.tasks] == [
        "StartOutcomeUnknown",
        "BudgetExceeded",
    ]
    searched = [span for span in telemetry.requests if span.name.startswith("GET ")]
    assert {parent_id(span) for span in searched} == {span_id(telemetry.tasks[0])}
    assert telemetry.outcomes() == {"lost": 1, "BudgetExceeded": 1}
    assert telemetry.total("a2e.active_tasks") == 0


async def test_found_after_a_lost_answer(
    make_client: MakeClient, sandbox: Sandbox, telemetry: Telemetry
) -> None:
    sandbox.faults.drop_after_accept("dubbing")
    await make_client(on_event=telemetry.listener()).dubbing.run(**DUB)
    assert len(telemetry.tasks) == 1
    assert telemetry.outcomes() == {"found": 1}


@LONG
async def test_a_wait_times_out_and_goes_on(
    make_client: MakeClient, sandbox: Sandbox, telemetry: Telemetry
) -> None:
    """The span ends, so that it is exported; the next one links to it."""
    client = make_client(on_event=telemetry.listener())
    task = await client.dubbing.start(**DUB)
    with pytest.raises(TaskTimeout):
        await task.wait(timeout=0)
    (first,) = telemetry.tasks
    assert about(first)["error.type"] == "TaskTimeout"
    assert telemetry.total("a2e.active_tasks") == 0
    sandbox.advance(7200)
    await task
    second = telemetry.tasks[-1]
    assert [link.context.span_id for link in second.links] == [span_id(first)]
    assert about(second)["a2e.status"] == "succeeded"
    assert telemetry.total("a2e.active_tasks") == 0


@LONG
async def test_a_closed_client_leaves_no_span_open(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    client = make_client(on_event=telemetry.listener())
    waited, _left = await client.dubbing.start(**DUB), await client.dubbing.start(**DUB)
    wait = asyncio.create_task(waited.wait())
    await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(ClientClosed):
        await wait
    assert [about(span)["a2e.status"] for span in telemetry.tasks] == ["unfinished", "unfinished"]
    assert telemetry.total("a2e.active_tasks") == 0


async def test_attached_in_another_process(
    make_client: MakeClient, telemetry: Telemetry, tmp_path: Path
) -> None:
    """A task of another process has its own span, and its coins are not counted again."""
    ref = (await make_client().image_to_video.start(**MOVE)).ref
    client = make_client(on_event=telemetry.listener())
    with telemetry.tracers.get_tracer("app").start_as_current_span("request") as request:
        await client.attach(ref)
    await client.attach(ref)
    first, second = telemetry.tasks
    assert parent_id(first) == request.get_span_context().span_id
    assert second.parent is None
    assert about(first)["a2e.ref"] == ref
    assert not telemetry.points("a2e.coins")


async def test_known_by_its_key(
    make_client: MakeClient, telemetry: Telemetry, tmp_path: Path
) -> None:
    await make_client(journal=tmp_path / "jobs.db").dubbing.start(**DUB, key="one")
    client = make_client(journal=tmp_path / "jobs.db", on_event=telemetry.listener())
    again = await client.dubbing.start(**DUB, key="one")
    await again
    await (await client.dubbing.start(**DUB, key="one"))
    assert telemetry.outcomes() == {"resumed": 2}
    assert telemetry.total("a2e.active_tasks") == 0


@LONG
async def test_no_waiter(make_client: MakeClient, telemetry: Telemetry) -> None:
    """A program that never waits keeps a bounded number of spans open."""
    client = make_client(on_event=telemetry.listener(max_spans=2))
    refs = [(await client.dubbing.start(**DUB)).ref for _ in range(5)]
    assert [about(span)["a2e.ref"] for span in telemetry.tasks] == refs[:3]
    assert {about(span)["a2e.status"] for span in telemetry.tasks} == {"dropped"}
    assert telemetry.total("a2e.active_tasks") == 2


def test_a_bad_bound() -> None:
    with pytest.raises(InvalidInput, match="max_spans"):
        instrument(max_spans=0)
