"""Law 7: a wait ends by its task, its timeout, the API's own 401 or 403, or aclose()."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from a2e_async import A2E, Job
from a2e_async.errors import (
    A2EError,
    AuthenticationError,
    ClientClosed,
    DecodeError,
    PermissionDenied,
    ResultMissing,
    ServerError,
    TaskGone,
    TaskTimeout,
)
from a2e_async.models import Record, Status
from tests.hostile import KINDS, Fault, HostileServer, Step
from tests.laws.conftest import MakeClient
from tests.samples import SAMPLES

POLLS: Final = (Step.DETAIL, Step.BATCH_DETAIL, Step.LIST, Step.PROCESSING)

MIXED: Final = ("image_to_video", "dubbing", "seedance", "avatar_video", "text_to_image", "wan")
"""A kind for each way of polling: batchDetail, processing list, list only, detail only."""


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the minutes-long limits and the back-off after errors."""
    monkeypatch.setattr("a2e_async._core.polling.schedule.MAX_BACKOFF", 0.05)
    monkeypatch.setattr("a2e_async._core.polling.schedule.DISABLE_SECONDS", 0.5)


async def started(a2e: A2E, *kinds: str) -> list[Any]:
    return list(await asyncio.gather(*(a2e.kind(kind).start(**SAMPLES[kind]) for kind in kinds)))


async def outcomes(tasks: list[Any], timeout: float = 20) -> list[Any]:
    return await asyncio.gather(*(t.wait(timeout=timeout) for t in tasks), return_exceptions=True)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)


def fault_all(
    server: HostileServer, fault: Fault, *, times: int | None = None, **more: Any
) -> None:
    for step in POLLS:
        server.faults.add(step, fault, times=times, **more)


def everywhere(server: HostileServer, fault: Fault, seconds: float) -> None:
    """Apply a fault to every poll for some time."""
    fault_all(server, fault)
    asyncio.get_running_loop().call_later(seconds, server.faults.clear)


def good(result: Any) -> bool:
    return isinstance(result, Record) and result.status is Status.SUCCEEDED


# -- responses without information about a task ----------------------------------------------------

NOTHING_SAID: Final = [
    *(Fault.page(status) for status in (301, 302, 307, 401, 403, 404, 405, 408, 409, 410, 413)),
    *(Fault.page(status) for status in (421, 423, 425, 451, 460, 499, 500, 502, 503, 530, 200)),
    *(Fault.bare_json(status) for status in (400, 401, 403, 404, 409, 422, 499, 504)),
    *(Fault.empty(status) for status in (200, 202, 204, 404)),
    *(Fault.data(data) for data in (None, {}, [], "", "gone", 5, [None], ["x"], [[]], [{}])),
    Fault.refusal(400, 400, "bad id"),
    Fault.refusal(404, 404, "record not found"),
    Fault.refusal(422, 422, "no"),
    Fault.refusal(200, 1, "system busy"),
    Fault.refusal(400, 400, "invalid token in the text, upgrade your plan"),
    Fault.refusal(200, 1, "free users: pro or max only"),
    Fault.envelope(500, 500),
    Fault.body("text", b"upstream connect error", "text/plain"),
    Fault.body("half", b'{"code":0,"data":{"_id":'),
    Fault.nested(30),
    Fault.nested(900),
    Fault.nested(100_000),
    Fault.disconnect(),
    Fault.field("_id", "6b0b7d2f000000000000ffff"),
    Fault.field("_id", ["x"]),
]


@pytest.mark.parametrize("fault", NOTHING_SAID, ids=lambda fault: fault.name)
async def test_an_answer_that_says_nothing_ends_no_wait(
    hostile: HostileServer, make_client: MakeClient, fault: Fault
) -> None:
    """All polls get this response for a while; then polls succeed, and all results arrive."""
    hostile.behaviour.duration = 0.2
    tasks = await started(make_client(), *MIXED * 2)
    everywhere(hostile, fault, 0.35)
    assert [good(result) for result in await outcomes(tasks)] == [True] * len(tasks)
    assert hostile.ledger.coins == sum(start.coins for start in hostile.ledger.starts)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [(Fault.page(403), PermissionDenied), (Fault.page(502), ServerError)],
    ids=["page", "outage"],
)
async def test_trouble_without_end_ends_a_wait_at_its_timeout(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    fault: Fault,
    cause: type[Exception],
) -> None:
    """The timeout error reports the last poll error, and the task stays open."""
    async with make_client(journal=tmp_path / "jobs.db") as a2e:
        tasks = await started(a2e, *MIXED)
        fault_all(hostile, fault)
        results = await outcomes(tasks, timeout=0.5)
    assert {type(result) for result in results} == {TaskTimeout}
    assert {type(result.__cause__) for result in results} == {cause}
    assert len({id(result.__cause__) for result in results}) == len(results)
    hostile.faults.clear()
    again = [task async for task in make_client(journal=tmp_path / "jobs.db").unfinished()]
    assert len(again) == len(tasks)
    assert all(good(result) for result in await outcomes(again))


# -- refusals of the API itself --------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
async def test_the_apis_own_refusal_ends_the_wait_that_it_is_about(
    hostile: HostileServer, make_client: MakeClient, status: int
) -> None:
    """The detail of one task is refused; waits for other tasks continue."""
    hostile.behaviour.duration = 0.2
    first, *others = await started(make_client(), "avatar_video", *MIXED)
    hostile.faults.add(Step.DETAIL, Fault.refusal(status, status, "refused"), kind="avatar_video")
    results = await outcomes([first, *others])
    refused = [result for result in results if not good(result)]
    assert [type(result) for result in refused] == [
        AuthenticationError if status == 401 else PermissionDenied
    ]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("step", [Step.BATCH_DETAIL, Step.PROCESSING, Step.LIST])
async def test_a_refused_shared_request_ends_no_wait(
    hostile: HostileServer, make_client: MakeClient, status: int, step: Step
) -> None:
    """One response concerns many tasks: they are polled separately, or the request is retried."""
    hostile.behaviour.duration = 0.2
    tasks = await started(make_client(), *("wan", "dubbing", "seedance") * 4)
    hostile.faults.add(step, Fault.refusal(status, status, "refused"))
    assert all(good(result) for result in await outcomes(tasks))
    assert hostile.faults.shown


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_that_stays_ends_all_waits(
    hostile: HostileServer, make_client: MakeClient, status: int
) -> None:
    hostile.behaviour.duration = 3600
    tasks = await started(make_client(), *("wan", "dubbing", "seedance", "text_to_image") * 3)
    fault_all(hostile, Fault.refusal(status, status, "refused"))
    error = AuthenticationError if status == 401 else PermissionDenied
    assert {type(result) for result in await outcomes(tasks)} == {error}


async def test_closing_ends_all_waits(hostile: HostileServer, make_client: MakeClient) -> None:
    hostile.behaviour.duration = 3600
    a2e = make_client()
    tasks = await started(a2e, *MIXED)
    fault_all(hostile, Fault.slow(30))
    waits = asyncio.gather(*(task.wait() for task in tasks), return_exceptions=True)
    await until(lambda: bool(hostile.faults.shown))
    async with asyncio.timeout(10):
        await a2e.aclose()
        assert {type(result) for result in await waits} == {ClientClosed}


# -- what the service does not know ----------------------------------------------------------------


@pytest.fixture
def gone_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("a2e_async._core.polling.schedule.NOT_FOUND_SECONDS", 0.3)
    monkeypatch.setattr("a2e_async._core.polling.schedule.UNCONFIRMED_NOT_FOUND_SECONDS", 0.3)


@pytest.mark.parametrize("kind", [*MIXED, "voice_clone", "video_twin", "face_swap_preview"])
async def test_confirmed_absence_ends_a_wait(
    hostile: HostileServer, make_client: MakeClient, gone_soon: None, kind: str
) -> None:
    hostile.behaviour.duration = 3600
    task, other = await started(make_client(), kind, "dubbing")
    for id in task.ids:
        hostile.tasks[id].deleted = True
    waits = asyncio.create_task(other.wait())
    with pytest.raises(TaskGone):
        await task.wait(timeout=20)
    hostile.finish()
    assert good(await waits)


@pytest.mark.parametrize("kind", ["wan", "dubbing", "voice_clone"])
@pytest.mark.parametrize(
    "unsure",
    [Fault.data(None), Fault.data({}), Fault.page(404), Fault.refusal(404, 404, "not found")],
    ids=lambda fault: fault.name,
)
async def test_a_list_that_says_nothing_confirms_nothing(
    hostile: HostileServer, make_client: MakeClient, gone_soon: None, kind: str, unsure: Fault
) -> None:
    """However long the detail request returns 404."""
    hostile.behaviour.duration = 3600
    (task,) = await started(make_client(), kind)
    hostile.tasks[task.ids[0]].deleted = True
    for step in (Step.LIST, Step.PROCESSING):
        hostile.faults.add(step, unsure, times=None)
    wait = asyncio.create_task(task.wait(timeout=20))
    await until(lambda: len(hostile.faults.shown) >= 3)
    assert not wait.done()
    hostile.tasks[task.ids[0]].deleted = False
    hostile.finish()
    assert good(await wait)


@pytest.mark.parametrize("kind", ["avatar_video", "face_swap_preview"])
async def test_an_empty_answer_is_no_absence_where_nothing_can_confirm_it(
    hostile: HostileServer, make_client: MakeClient, gone_soon: None, kind: str
) -> None:
    hostile.behaviour.duration = 3600
    (task,) = await started(make_client(), kind)
    hostile.faults.add(Step.DETAIL, Fault.data(None), times=None)
    with pytest.raises(TaskTimeout):
        await task.wait(timeout=1.0)


@pytest.mark.parametrize("kind", ["wan", "dubbing", "image_to_video"])
@pytest.mark.parametrize(
    "detail", [Fault.refusal(404, 404, "not found"), Fault.page(404), Fault.data(None)]
)
async def test_a_task_that_the_list_shows_is_not_gone(
    hostile: HostileServer, make_client: MakeClient, gone_soon: None, kind: str, detail: Fault
) -> None:
    """The detail request always returns 404: the list reports its end."""
    hostile.behaviour.duration = 0.6
    (task,) = await started(make_client(), kind)
    for step in (Step.DETAIL, Step.BATCH_DETAIL):
        hostile.faults.add(step, detail, times=None)
    assert good(await task.wait(timeout=20))


@pytest.mark.parametrize("skew", [-86_400.0, -70.0, 70.0, 86_400.0])
@pytest.mark.parametrize("dated", [True, False])
async def test_clocks_do_not_count(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path, skew: float, dated: bool
) -> None:
    """A new record is unknown for a moment, and the client is restarted meanwhile."""
    hostile.behaviour.clock_skew, hostile.behaviour.sends_date = skew, dated
    hostile.behaviour.detail_lag = hostile.behaviour.list_lag = 0.4
    async with make_client(journal=tmp_path / "jobs.db") as first:
        tasks = await started(first, *MIXED)
    again = [task async for task in make_client(journal=tmp_path / "jobs.db").unfinished()]
    assert len(again) == len(tasks)
    attached = [make_client().attach(task.ref) for task in tasks]
    assert all(good(result) for result in await outcomes([*again, *attached]))


# -- completed without a result --------------------------------------------------------------------

WITH_RESULT: Final = tuple(
    name for name in SAMPLES if name != "wan30" and KINDS[name].media is not None
)


async def test_a_result_that_is_late_is_waited_for(
    hostile: HostileServer, make_client: MakeClient, tmp_path: Path
) -> None:
    hostile.behaviour.duration, hostile.behaviour.result_delay = 0.05, 0.4
    a2e = make_client(journal=tmp_path / "jobs.db")
    twin, *tasks = await started(a2e, "video_twin", *WITH_RESULT)
    trained, *results = await outcomes([twin, *tasks])
    assert trained.anchor_id
    wrong = [
        kind
        for kind, result in zip(WITH_RESULT, results, strict=True)
        if not good(result) or not all(part.outputs for part in result.parts)
    ]
    assert not wrong


async def test_updates_end_with_the_result(hostile: HostileServer, make_client: MakeClient) -> None:
    hostile.behaviour.result_delay = 0.3
    (task,) = await started(make_client(), "dubbing")
    seen = [record async for record in task.updates()]
    assert [record.done for record in seen] == [False] * (len(seen) - 1) + [True]
    assert seen[-1].output


@pytest.mark.parametrize("kind", ["dubbing", "wan", "seedance", "avatar_video", "flux2"])
async def test_a_result_that_stays_out_leaves_the_task_open(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setattr("a2e_async._core.polling.waiters.RESULT_GRACE_SECONDS", 0.2)
    hostile.behaviour.result_delay = 3600
    async with make_client(journal=tmp_path / "jobs.db") as a2e:
        (task,) = await started(a2e, kind)
        with pytest.raises(ResultMissing, match="completed") as caught:
            await task.wait(timeout=20)
        assert caught.value.record.status is Status.SUCCEEDED
        assert not task.done
        with pytest.raises(ResultMissing):
            await task.wait(timeout=0)
        job = Job(kind, dict(SAMPLES[kind]), key="b")
        (outcome,) = [o async for o in a2e.batch([job], download_to=tmp_path / "out")]
        assert isinstance(outcome.error, ResultMissing)
    hostile.behaviour.result_delay = 0
    async with make_client(journal=tmp_path / "jobs.db") as a2e:
        left = [one async for one in a2e.unfinished()]
        assert task.ref in {one.ref for one in left}
        assert len(left) == 2
        assert all(good(result) for result in await outcomes(left))
        (outcome,) = [o async for o in a2e.batch([job], download_to=tmp_path / "out")]
        assert outcome.error is None
        assert len(outcome.paths) == 1
    assert len(hostile.ledger.starts) == 2


async def test_what_has_no_result_is_acknowledged_all_the_same(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The user may acknowledge a task without results."""
    monkeypatch.setattr("a2e_async._core.polling.waiters.RESULT_GRACE_SECONDS", 0.1)
    hostile.behaviour.result_delay = 3600
    async with make_client(journal=tmp_path / "jobs.db") as a2e:
        (task,) = await started(a2e, "dubbing")
        with pytest.raises(ResultMissing):
            await task.wait(timeout=20)
        await task.ack()
    assert [one async for one in make_client(journal=tmp_path / "jobs.db").unfinished()] == []


@pytest.mark.parametrize("hole", [None, "", {"url": None}])
async def test_one_of_several_results_is_late(
    hostile: HostileServer, make_client: MakeClient, hole: Any
) -> None:
    """In the list of one record, and among the tasks of one start."""
    a2e = make_client()
    one = "https://files.example/1.png"

    def some(data: Any) -> Any:
        for row in data if isinstance(data, list) else data.get("rows", [data]):
            row["current_status"], row["image_urls"] = "completed", [one, hole]
        return data

    (task,) = await started(a2e, "flux2")
    fault_all(hostile, Fault.edit("a hole", some), times=5)
    record = await task.wait(timeout=20)
    assert [bool(output.url) for output in record.outputs] == [True]
    assert record.output.url != one

    hostile.behaviour.duration = 0.05
    (task,) = await started(a2e, "image_to_video")
    hostile.tasks[task.ids[1]].ends_at += 0.5
    hostile.behaviour.result_delay = 0.3
    record = await task.wait(timeout=20)
    assert len(record.outputs) == 2


async def test_a_placeholder_among_the_results_disappears(
    hostile: HostileServer, make_client: MakeClient
) -> None:
    """The record then has the outputs that it had before, and is final all the same."""
    a2e, polls = make_client(), 0
    one = "https://files.example/1.png"

    def some(data: Any) -> Any:
        nonlocal polls
        polls += 1
        for row in data if isinstance(data, list) else data.get("rows", [data]):
            row["current_status"] = "completed"
            row["image_urls"] = [one, None] if polls < 4 else [one]
        return data

    (task,) = await started(a2e, "flux2")
    fault_all(hostile, Fault.edit("a placeholder", some))
    record = await asyncio.wait_for(task.wait(timeout=10), 20)
    assert [output.url for output in record.outputs] == [one]
    assert task.done


async def test_good_results_are_saved_before_a_missing_one_raises(
    hostile: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("a2e_async._core.polling.waiters.RESULT_GRACE_SECONDS", 0.2)
    (task,) = await started(make_client(), "image_to_video")
    lost = task.ids[1]

    def without(data: Any) -> Any:
        for row in data if isinstance(data, list) else [data]:
            if row["_id"] == lost:
                row.pop("result_url", None)
        return data

    for step in (Step.DETAIL, Step.BATCH_DETAIL):
        hostile.faults.add(step, Fault.edit("one lost", without), times=None)
    with pytest.raises(ResultMissing, match=r"available \(1\)") as caught:
        await task.download(tmp_path / "out")
    assert len(caught.value.record.outputs) == 1
    assert len(list((tmp_path / "out").iterdir())) == 1


# -- one type of request fails ---------------------------------------------------------------------

DOWN: Final = [
    Fault.page(200),
    Fault.page(302),
    Fault.page(403),
    Fault.page(405),
    Fault.page(502),
    Fault.data(["x"]),
    Fault.nested(500),
    Fault.disconnect(),
    Fault.refusal(400, 400, "no"),
    Fault.refusal(403, 403, "no"),
    Fault.refusal(404, 404, "no such operation"),
]


@pytest.mark.parametrize("fault", DOWN, ids=lambda fault: fault.name)
@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("wan", {Step.BATCH_DETAIL}),
        ("wan", {Step.BATCH_DETAIL, Step.LIST}),
        ("wan", {Step.BATCH_DETAIL, Step.DETAIL}),
        ("text_to_image", {Step.BATCH_DETAIL}),
        ("dubbing", {Step.PROCESSING}),
        ("dubbing", {Step.PROCESSING, Step.LIST}),
        ("video_twin", {Step.BATCH_DETAIL, Step.PROCESSING}),
    ],
)
async def test_a_request_that_never_works_is_replaced(
    hostile: HostileServer, make_client: MakeClient, kind: str, steps: set[Step], fault: Fault
) -> None:
    if fault.refuses and Step.DETAIL in steps:
        pytest.skip("a refused detail is an answer")
    hostile.behaviour.duration = 0.3
    tasks = await started(make_client(), *[kind] * 10)
    for step in steps:
        hostile.faults.add(step, fault, times=None)
    assert all(good(result) for result in await outcomes(tasks))


# -- unusual records -------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", ["stale", "twice", "regress", "vanish", "odd rows"])
async def test_records_that_repeat_regress_and_vanish(
    hostile: HostileServer, make_client: MakeClient, behaviour: str
) -> None:
    ways = hostile.behaviour
    ways.duration = 0.2
    turns = iter([False, True] * 10_000)
    match behaviour:
        case "stale":
            ways.stale_duplicates = True
        case "twice":
            ways.repeats_rows = True
        case "regress":
            ways.regresses = lambda _: next(turns)
        case "vanish":
            ways.vanish = lambda _: (0.05, 0.5)
        case _:
            ways.odd_rows = (None, 5, "x", [], {}, {"_id": None}, {"_id": 5}, {"_id": "no"})
    tasks = await started(make_client(), *MIXED * 3)
    assert all(good(result) for result in await outcomes(tasks))


ODD: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    13.5,
    2**70,
    10**4000,
    float("nan"),
    float("inf"),
    "",
    "\ud800",
    "x" * 100_000,
    "https://[::1?x",
    [],
    [None],
    {},
    {"_id": {}},
    [[[[]]]],
)


@pytest.mark.parametrize("name", ["current_status", "status", "coins", "createdAt", "name", "url"])
async def test_values_of_any_type_break_nothing(
    hostile: HostileServer, make_client: MakeClient, name: str
) -> None:
    hostile.behaviour.duration = 3600
    tasks = await started(make_client(), *MIXED)
    for value in ODD:
        fault_all(hostile, Fault.field(name, value), times=1)
    waits = asyncio.gather(*(task.wait(timeout=20) for task in tasks), return_exceptions=True)
    await until(lambda: not any(o.times for o in hostile.faults.ordered if o.step is Step.DETAIL))
    hostile.faults.clear()
    hostile.finish()
    assert all(good(result) for result in await waits)


@pytest.mark.parametrize("depth", [70, 900, 1500, 100_000])
async def test_an_answer_nested_too_deeply_concerns_its_tasks_alone(
    hostile: HostileServer, make_client: MakeClient, depth: int
) -> None:
    hostile.behaviour.duration = 0.2
    a2e = make_client()
    tasks = await started(a2e, *MIXED * 2)
    fault_all(hostile, Fault.nested(depth), kind="image_to_video")
    results = await outcomes([t for t in tasks if t.kind.name != "image_to_video"])
    assert all(good(result) for result in results)
    bad = next(t for t in tasks if t.kind.name == "image_to_video")
    with pytest.raises(A2EError):
        await a2e.image_to_video.get(bad.ids[0])
    with pytest.raises(TaskTimeout) as caught:
        await bad.wait(timeout=0.1)
    assert isinstance(caught.value.__cause__, DecodeError)
    hostile.faults.clear()
    assert good(await bad.wait(timeout=20))


async def test_a_fault_in_reading_one_record_concerns_it_alone(
    hostile: HostileServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever exception the decoder raises."""
    from a2e_async._core.polling import poller

    read = poller.read_record
    bad: set[str] = set()

    def fail(kind: Any, raw: Any, source: Any) -> Any:
        if raw["_id"] in bad:
            raise RecursionError("too deep")
        return read(kind, raw, source)

    monkeypatch.setattr(poller, "read_record", fail)
    tasks = await started(make_client(), *["wan"] * 5)
    bad.add(tasks[2].ids[0])
    results = await outcomes(tasks, timeout=1.0)
    assert [good(result) for result in results] == [True, True, False, True, True]
    assert isinstance(results[2], TaskTimeout)
    bad.clear()
    assert good(await tasks[2].wait(timeout=20))


# -- deadlines -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*MIXED, "voice_clone"])
@pytest.mark.parametrize("how", ["gone", "running", "failing"])
async def test_a_wait_ends_with_the_poll_at_its_deadline(
    hostile: HostileServer,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    how: str,
) -> None:
    """The wait ends as soon as that poll has its response, before its time limit."""
    monkeypatch.setattr("a2e_async._core.polling.waiters.LAST_POLL_TIMEOUT", 3600.0)
    hostile.behaviour.duration = 3600
    (task,) = await started(make_client(), kind)
    if how == "gone":
        hostile.tasks.clear()
    if how == "failing":
        fault_all(hostile, Fault.page(502))
    async with asyncio.timeout(20):
        with pytest.raises(TaskTimeout):
            await task.wait(timeout=0.2)


@pytest.mark.parametrize("kind", MIXED)
async def test_a_poll_that_hangs_does_not_hold_a_wait(
    hostile: HostileServer, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("a2e_async._core.polling.waiters.LAST_POLL_TIMEOUT", 0.1)
    hostile.behaviour.duration = 3600
    (task,) = await started(make_client(), kind)
    fault_all(hostile, Fault.slow(60))
    async with asyncio.timeout(20):
        with pytest.raises(TaskTimeout):
            await task.wait(timeout=0.2)


# -- eager tasks -----------------------------------------------------------------------------------


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
async def test_eager_tasks(hostile: HostileServer, make_client: MakeClient) -> None:
    """Tasks may run, and end, before their creator continues."""
    loop = asyncio.get_running_loop()
    factory: Any = getattr(asyncio, "eager_task_factory")  # noqa: B009  # not in 3.11
    loop.set_task_factory(factory)
    try:
        a2e = make_client()
        fault_all(hostile, Fault.page(502), times=2)
        for _ in range(3):
            tasks = await started(a2e, *MIXED)
            assert all(good(result) for result in await outcomes(tasks))
    finally:
        loop.set_task_factory(None)


@pytest.mark.parametrize(
    "fault",
    [
        Fault.page(404),
        Fault.page(200),
        Fault.status(405),
        Fault.refusal(400, 400, "cannot read"),
        Fault.refusal(404, 404, "record not found"),
    ],
    ids=lambda fault: fault.name,
)
async def test_a_detail_path_that_does_not_exist(
    hostile: HostileServer, make_client: MakeClient, fault: Fault
) -> None:
    """However its absence shows: the record is read at the other path."""
    a2e = make_client()
    (task,) = await started(a2e, "wan27_image")
    hostile.finish()
    hostile.faults.add(Step.DETAIL, fault, times=1)
    assert (await a2e.wan27_image.get(task.ids[0])).output
    hostile.faults.add(Step.DETAIL, fault, times=1)
    assert (await task.wait(timeout=20)).output
    assert hostile.count(Step.LIST) == hostile.count(Step.BATCH_DETAIL) == 0
