"""Misleading responses, truncated lists, and deleted parts."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from attrs import define, field

from a2e_async import A2E
from a2e_async.errors import (
    InvalidRequest,
    NotFound,
    ResultMissing,
    StartOutcomeUnknown,
    TaskFailed,
    TaskGone,
)
from a2e_async.sandbox import Sandbox

from .conftest import DUB, KEY, paid

ID = "66ea4dd87db10c73fa29b570"
OTHER = "66ea4dd87db10c73fa29b571"
CLIP = "https://m.example/clip.mp4"


@define
class Service:
    """Responds by method and path with what a test configured; counts the requests."""

    answers: dict[tuple[str, str], Any] = field(factory=dict)
    a2e: A2E = field(init=False)
    calls: list[tuple[str, str]] = field(factory=list)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        await request.read()
        self.calls.append((request.method, request.path))
        given = self.answers[request.method, request.path]
        value = given(request) if callable(given) else given
        status, body = value if isinstance(value, tuple) else (200, {"code": 0, "data": value})
        return web.json_response(text=json.dumps(body), status=status)


@pytest.fixture
async def service(anyio_backend: str) -> AsyncIterator[Service]:
    made = Service()
    runner = web.ServerRunner(web.Server(made.answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        url = f"http://127.0.0.1:{port}"
        async with A2E(KEY, base_url=url, rate=None, poll_interval=0.02) as made.a2e:
            yield made
    finally:
        await runner.cleanup()


START = ("POST", "/api/v1/userWan30/start")


async def start(service: Service) -> Any:
    return await service.a2e.wan30.start(model="wan3.0-video", prompt="a lake")


@pytest.mark.parametrize("shape", [lambda data: data, lambda data: [data]])
async def test_a_record_as_text(a2e: A2E, sandbox: Sandbox, shape: Any) -> None:
    """A start whose data is JSON in a string has started a task."""
    sandbox.faults.data_shape("text", role="start")
    task = await a2e.dubbing.start(**DUB)
    assert task.ids == paid(sandbox)[0].ids


@pytest.mark.parametrize("data", ['{"_id": ', "[1, 2]", '{"x": 1}', "{}"])
async def test_text_that_is_nearly_a_record(service: Service, data: str) -> None:
    """An unclear response to a start may have been charged; it is never called a refusal."""
    service.answers[START] = data
    with pytest.raises(StartOutcomeUnknown):
        await start(service)


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"code": 1, "msg": "rate limit: queued", "data": {"_id": ID}}),
        (200, {"code": 429, "msg": "busy", "data": {"_id": ID}}),
        (429, {"code": 429, "msg": "busy", "data": {"_id": ID}}),
        (400, {"code": 1, "msg": "no", "data": [{"_id": ID}]}),
        (200, {"success": False, "code": 0, "data": {"_id": ID}}),
    ],
)
async def test_a_refusal_that_names_a_task(service: Service, answer: Any) -> None:
    """Sent once, and reported as unknown."""
    service.answers[START] = answer
    with pytest.raises(StartOutcomeUnknown, match=ID):
        await start(service)
    assert service.calls.count(START) == 1


@pytest.mark.parametrize("id", ["a/../b?x=1", "66ea 4dd8", "", "x" * 200, 5])
async def test_an_id_that_can_be_none(service: Service, id: Any) -> None:
    """A start that returns an invalid id is unknown; a list skips the row."""
    service.answers[START] = {"_id": id}
    with pytest.raises(StartOutcomeUnknown):
        await start(service)
    rows = [{"_id": id}, {"_id": ID}, {"name": "no id"}]
    service.answers["GET", "/api/v1/seedanceVideo/allRecords"] = {"rows": rows, "count": 3}
    assert [record.id for record in await service.a2e.seedance.list()] == [ID]


def capped(total: int, most: int, *, counted: bool) -> Any:
    """Return a list operation that returns at most this many rows, whatever is requested."""

    def rows(request: web.BaseRequest) -> Any:
        page = int(request.query["pageNum"])
        first = (page - 1) * most
        some = [
            {"_id": f"{n:024x}", "current_status": "completed", "result_url": CLIP}
            for n in range(first, min(first + most, total))
        ]
        return {"rows": some, "count": total} if counted else some

    return rows


@pytest.mark.parametrize("counted", [True, False])
async def test_a_service_that_caps_its_pages(service: Service, counted: bool) -> None:
    """Tasks further back are still found: by iter, by get, and by a wait."""
    service.answers["GET", "/api/v1/seedanceVideo/allRecords"] = capped(90, 20, counted=counted)
    seedance = service.a2e.seedance
    assert len([record async for record in seedance.iter()]) == 90
    id = f"{70:024x}"
    assert (await seedance.get(id)).id == id
    assert (await service.a2e.attach(f"seedance:{id}")).id == id
    with pytest.raises(NotFound):
        await seedance.get(ID)


async def test_a_list_that_is_too_long_to_search(service: Service) -> None:
    """A task that is not among the newest is not reported as deleted."""
    service.answers["GET", "/api/v1/seedanceVideo/allRecords"] = capped(5000, 20, counted=True)
    with pytest.raises(NotFound, match="not among the newest 200"):
        await service.a2e.seedance.get(ID)


@pytest.mark.usefixtures("gone_soon")
async def test_one_of_two_is_gone(service: Service) -> None:
    """The error's task has the known records of the other parts."""
    good = {"_id": ID, "current_status": "completed", "image_urls": [CLIP]}
    service.answers["POST", "/api/v1/userText2Image/batchDetail"] = [good]
    service.answers["GET", "/api/v1/userText2Image/allRecords"] = {"rows": [good], "count": 1}
    with pytest.raises(TaskGone) as caught:
        await service.a2e.attach(f"text_to_image:{ID}+{OTHER}").wait(timeout=30)
    task = caught.value.task
    assert task is not None
    assert [part.id for part in task.parts] == [ID]
    assert task.parts[0].output


async def test_a_part_without_a_result(
    a2e: A2E, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing part raises an error after the other parts were saved."""
    monkeypatch.setattr("a2e_async._core.polling.waiters.RESULT_GRACE_SECONDS", 0.2)
    sandbox.faults.no_result("kling_image")
    task = await a2e.kling_image.start(prompt="a lake", n=3)
    with pytest.raises(ResultMissing) as caught:
        await task
    assert len(caught.value.record.outputs) == 2
    with pytest.raises(ResultMissing):
        await task.download(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


async def test_deleting_goes_through_all(a2e: A2E, sandbox: Sandbox) -> None:
    """A part that is already deleted does not prevent deleting the others."""
    task = await a2e.kling_image.start(prompt="a lake", n=3)
    await task
    await a2e.kling_image.delete(task.ids[0])
    with pytest.raises(NotFound):
        await task.delete()
    assert sandbox.tasks == ()


async def test_a_failure_beside_an_echo(service: Service) -> None:
    """The spoken text of an avatar video is not shown as the reason."""
    service.answers["GET", "/api/v1/video/detail"] = {
        "_id": ID,
        "status": "fail",
        "msg": "what was said in private",
        "error": "GPU died",
    }
    with pytest.raises(TaskFailed, match="GPU died") as caught:
        await service.a2e.attach(f"avatar_video:{ID}").wait()
    assert "private" not in str(caught.value)


async def test_a_plain_refusal_is_one(service: Service) -> None:
    """A response without an id leaves the task unchanged."""
    service.answers[START] = (400, {"code": 400, "msg": "no"})
    with pytest.raises(InvalidRequest):
        await start(service)
