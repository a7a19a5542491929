"""One span per task, from its start to its end, and metrics that add up."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from a2e_async.contrib.otel import instrument
from a2e_async.errors import (
    BudgetExceeded,
    ClientClosed,
    InvalidInput,
    StartOutcomeUnknown,
    TaskFailed,
    TaskTimeout,
)
from a2e_async.sandbox import Sandbox
from tests.client.conftest import BLIND, DUB, LONG, MOVE, MakeClient

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
        return {p.attributes["a2e.outcome"]: p.value for p in self.points("a2e.starts")}


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made = Telemetry()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


async def test_a_task_is_a_child_of_its_caller(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    """The span is a child of the caller's, with attempts and updates, and ends with the task."""
    client = make_client(on_event=telemetry.listener())
    with telemetry.tracers.get_tracer("app").start_as_current_span("request") as request:
        task = await client.image_to_video.start(**MOVE)
    record = await task
    parent, span = telemetry.spans
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id == parent.context.span_id
    assert (span.name, span.kind) == ("a2e.task image_to_video", SpanKind.CLIENT)
    about = dict(span.attributes or {})
    assert about["a2e.ref"] == task.ref
    assert about["a2e.status"] == "succeeded"
    assert about["a2e.coins"] == task.coins == record.coins
    assert span.status.status_code is StatusCode.UNSET
    names = [event.name for event in span.events]
    assert names[:2] == ["attempt", "accepted"]
    assert names[-1] == "update"
    assert dict(span.events[0].attributes or {})["url.path"] == "/api/v1/userImage2Video/start"
    assert telemetry.total("a2e.coins") == task.coins
    assert telemetry.total("a2e.tasks.unfinished") == 0
    assert telemetry.total("a2e.task.duration") == telemetry.total("a2e.task.delay") == 1
    assert telemetry.total("a2e.request.duration") == 1 + telemetry.total("a2e.poll.duration")


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
    tasks = [span for span in telemetry.spans if span.name == "a2e.task dubbing"]
    assert {
        (dict(span.attributes or {})["a2e.ref"], span.parent.span_id)
        for span in tasks
        if span.parent
    } == pairs


async def test_failed(make_client: MakeClient, sandbox: Sandbox, telemetry: Telemetry) -> None:
    sandbox.faults.fail("dubbing")
    with pytest.raises(TaskFailed):
        await make_client(on_event=telemetry.listener()).dubbing.run(**DUB)
    (span,) = telemetry.spans
    assert span.status.status_code is StatusCode.ERROR
    assert dict(span.attributes or {})["error.type"] == "TaskFailed"


@BLIND
async def test_lost_and_refused_starts(
    make_client: MakeClient, sandbox: Sandbox, telemetry: Telemetry
) -> None:
    sandbox.faults.drop_after_accept("dubbing")
    with pytest.raises(StartOutcomeUnknown):
        await make_client(on_event=telemetry.listener()).dubbing.start(**DUB)
    with pytest.raises(BudgetExceeded):
        await make_client(on_event=telemetry.listener(), budget=0).dubbing.start(**DUB)
    assert [dict(span.attributes or {})["error.type"] for span in telemetry.spans] == [
        "StartOutcomeUnknown",
        "BudgetExceeded",
    ]
    assert telemetry.outcomes() == {"lost": 1, "BudgetExceeded": 1}
    assert telemetry.total("a2e.tasks.unfinished") == 0


async def test_found_after_a_lost_answer(
    make_client: MakeClient, sandbox: Sandbox, telemetry: Telemetry
) -> None:
    sandbox.faults.drop_after_accept("dubbing")
    await make_client(on_event=telemetry.listener()).dubbing.run(**DUB)
    assert len(telemetry.spans) == 1
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
    (first,) = telemetry.spans
    assert dict(first.attributes or {})["error.type"] == "TaskTimeout"
    assert telemetry.total("a2e.tasks.unfinished") == 0
    sandbox.advance(7200)
    await task
    second = telemetry.spans[-1]
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert dict(second.attributes or {})["a2e.status"] == "succeeded"
    assert telemetry.total("a2e.tasks.unfinished") == 0


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
    assert [dict(span.attributes or {})["a2e.status"] for span in telemetry.spans] == [
        "unfinished",
        "unfinished",
    ]
    assert telemetry.total("a2e.tasks.unfinished") == 0


async def test_attached_in_another_process(
    make_client: MakeClient, telemetry: Telemetry, tmp_path: Path
) -> None:
    """A task of another process has its own span, and its coins are not counted again."""
    ref = (await make_client().image_to_video.start(**MOVE)).ref
    client = make_client(on_event=telemetry.listener())
    with telemetry.tracers.get_tracer("app").start_as_current_span("request") as request:
        await client.attach(ref)
    await client.attach(ref)
    first, second = (span for span in telemetry.spans if span.name.startswith("a2e."))
    assert first.parent is not None
    assert first.parent.span_id == request.get_span_context().span_id
    assert second.parent is None
    assert dict(first.attributes or {})["a2e.ref"] == ref
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
    assert telemetry.total("a2e.tasks.unfinished") == 0


@LONG
async def test_no_waiter(make_client: MakeClient, telemetry: Telemetry) -> None:
    """A program that never waits keeps a bounded number of spans open."""
    client = make_client(on_event=telemetry.listener(max_spans=2))
    refs = [(await client.dubbing.start(**DUB)).ref for _ in range(5)]
    assert [dict(span.attributes or {})["a2e.ref"] for span in telemetry.spans] == refs[:3]
    assert {dict(span.attributes or {})["a2e.status"] for span in telemetry.spans} == {"dropped"}
    assert telemetry.total("a2e.tasks.unfinished") == 2


def test_a_bad_bound() -> None:
    with pytest.raises(InvalidInput, match="max_spans"):
        instrument(max_spans=0)
