"""A kind with two detail paths: what one of them answers does not end a wait that the other can."""

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from a2e_async import A2E, Status
from tests.laws.conftest import API_KEY

ID = "66ea4dd87db10c73fa29b5aa"
OTHER = "66ea4dd87db10c73fa29b5ab"
RECORD = {"_id": ID, "current_status": "completed", "image_urls": ["https://media.example/a.png"]}


def page(status: int) -> web.Response:
    return web.Response(status=status, text="<html>nginx</html>", content_type="text/html")


def envelope(data: Any, code: int = 0, status: int = 200) -> web.Response:
    return web.json_response({"code": code, "data": data, "trace_id": "t"}, status=status)


ANSWERS: dict[str, Any] = {
    "page": lambda: page(404),
    "not found": lambda: envelope(None, 404, 404),
    "refusal": lambda: envelope(None, 400, 400),
    "nothing": lambda: envelope(None),
    "another record": lambda: envelope({**RECORD, "_id": OTHER}),
}


@pytest.mark.parametrize("answer", ANSWERS)
async def test_the_second_path_knows_the_task(anyio_backend: str, answer: str) -> None:
    """The list has nothing, and batchDetail does not exist."""

    async def respond(request: web.Request) -> web.Response:
        if request.path.endswith("/batchDetail"):
            return page(404)
        if request.path.endswith("/allRecords"):
            return envelope({"rows": [], "count": 0})
        made: web.Response = ANSWERS[answer]() if "/detail/" in request.path else envelope(RECORD)
        return made

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", respond)
    async with (
        TestServer(app) as server,
        A2E(
            API_KEY,
            base_url=str(server.make_url("")),
            rate=None,
            poll_interval=0.02,
            trust_env=False,
        ) as a2e,
    ):
        assert (await a2e.wan26_image.get(ID)).status is Status.SUCCEEDED
        assert (await a2e.wan26_image.attach(ID).wait(timeout=30)).status is Status.SUCCEEDED
