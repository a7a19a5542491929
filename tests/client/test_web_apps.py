"""Errors as HTTP responses, and the life of a client in an ASGI or aiohttp app."""

import asyncio
import io
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web

from a2e_async import A2E, errors
from a2e_async._core.base_errors import A2EError
from a2e_async.contrib.aiohttp import CLIENT, PROGRESS, setup
from a2e_async.contrib.asgi import (
    ErrorMiddleware,
    LifespanMiddleware,
    ProgressStream,
    error_response,
    lifespan,
)
from a2e_async.models import Failure, Record, Recovery, Status
from a2e_async.sandbox import Sandbox

from .conftest import DUB, MakeClient

BUSY = {"retry_after": 6.2, "unfinished": 3, "max_unfinished": 3, "ahead": 1}
API = {
    "http_status": 400,
    "code": 1,
    "message": "Bad face.",
    "trace_id": None,
    "method": "POST",
    "path": "/x",
    "from_api": True,
}
SENT = {"method": "POST", "path": "/secret/path", "sent": True}
RECOVERY = Recovery(
    kind="dubbing", path="/x", name="n", mark="m1", digest="d", sent_at=datetime.now(UTC)
)


class Handle:
    """What an error needs of a task."""

    ref = "dubbing:1"


TASK: Any = Handle()
FAILED = Record(
    id="1",
    status=Status.FAILED,
    raw_status="failed",
    failure=Failure(message="No voice was found."),
)

ANSWERS: list[tuple[A2EError, int, str, str | None]] = [
    (errors.InvalidInput("source_url is empty.", field="source_url"), 422, "invalid_input", None),
    (errors.KeyConflict("…", key="k"), 409, "key_conflict", None),
    (errors.TooBusy("…", scope="caller", **BUSY), 429, "too_many_unfinished", "7"),
    (errors.TooBusy("…", scope="client", **BUSY), 503, "busy", "7"),
    (errors.RateLimited(**API), 503, "busy", "60"),
    (errors.StartOutcomeUnknown("…", recovery=RECOVERY), 202, "start_unknown", None),
    (errors.TaskTimeout("…", task=TASK), 202, "not_finished", None),
    (errors.ResultMissing("…", task=TASK, record=FAILED), 202, "not_finished", None),
    (errors.BudgetExceeded("…"), 402, "budget_exceeded", None),
    (errors.BudgetExceeded("…", pending=True), 402, "budget_exceeded", "60"),
    (errors.InsufficientCredits(**API), 402, "no_credits", None),
    (errors.ContentRejected(**API), 422, "content_rejected", None),
    (errors.InvalidRequest(**API), 422, "refused", None),
    (errors.TaskFailed("…", task=TASK, record=FAILED), 502, "failed", None),
    (errors.TaskGone("…", task=TASK), 404, "gone", None),
    (errors.NotFound(**API), 404, "not_found", None),
    (errors.NotFound(**{**API, "from_api": False}), 502, "service_failed", None),
    (errors.ClientClosed("…"), 503, "closing", "5"),
    (errors.JournalError("/secret/path"), 503, "unavailable", "60"),
    (errors.ConfigurationError("/secret/path"), 500, "internal", None),
    (errors.AuthenticationError(**API), 502, "service_failed", None),
    (errors.PermissionDenied(**API), 502, "service_failed", None),
    (errors.ServerError(**API), 502, "service_failed", None),
    (errors.ConnectError("…", **SENT), 502, "service_failed", None),
    (errors.ResponseTimeout("…", **SENT), 502, "service_failed", None),
    (errors.ConnectionLost("…", **SENT), 502, "service_failed", None),
    (errors.TransferError("/secret/path", path="/secret/path"), 502, "service_failed", None),
    (errors.DecodeError("…", excerpt="/secret/path"), 502, "service_failed", None),
]


def test_the_answer_to_each_error() -> None:
    """Every class of errors has an answer, which tells the end user nothing internal."""
    bases = {"A2EError", "ApiError", "TaskError", "TransportError"}
    assert {type(error).__name__ for error, *_ in ANSWERS} == set(errors.__all__) - bases
    for error, status, code, wait in ANSWERS:
        answer = error_response(error)
        assert (answer.status, answer.body["error"]) == (status, code), error
        assert answer.headers.get("Retry-After") == wait, error
        assert answer.body["detail"].endswith("."), error
        assert "secret" not in str(answer), error
    said = {code: error_response(error).body for error, _, code, _ in ANSWERS}
    assert said["invalid_input"]["field"] == "source_url"
    assert said["refused"]["detail"] == "Bad face."
    assert said["failed"]["detail"] == "No voice was found."
    assert said["start_unknown"]["mark"] == "m1"
    assert said["not_finished"]["ref"] == said["gone"]["ref"] == "dubbing:1"


async def test_error_middleware(caplog: pytest.LogCaptureFixture) -> None:
    """What the user can repair is not logged; a response that has begun is not repeated."""
    failures: dict[str, A2EError] = {
        "/input": errors.InvalidInput("target_lang is required.", field="target_lang"),
        "/service": errors.ConnectError("The service is away.", **SENT),
        "/begun": errors.ConnectError("The service is away again.", **SENT),
    }

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/begun":
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise failures[scope["path"]]

    transport = httpx.ASGITransport(ErrorMiddleware(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        answer = await http.get("/input")
        assert (answer.status_code, answer.json()["field"]) == (422, "target_lang")
        assert not caplog.text
        answer = await http.get("/service")
        assert (answer.status_code, answer.headers["content-type"]) == (502, "application/json")
        assert "The service is away." in caplog.text
        with pytest.raises(errors.ConnectError):
            await http.get("/begun")


async def test_lifespan_middleware(make_client: MakeClient, tmp_path: Path) -> None:
    """The client is open during the lifespan only; what fails is reported to the server."""
    sent: list[str] = []
    messages = iter(("lifespan.startup", "lifespan.shutdown"))
    opened = list[A2E]()

    async def app(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        await send(scope["state"]["a2e"])

    @asynccontextmanager
    async def open_client(_: Any) -> AsyncIterator[dict[str, Any]]:
        async with make_client(journal=tmp_path / "jobs.db") as a2e:
            opened.append(a2e)
            yield {"a2e": a2e}

    wrapped = LifespanMiddleware(app, open_client)

    async def receive() -> dict[str, Any]:
        if opened:
            got = list[A2E]()

            async def keep(a2e: Any) -> None:
                got.append(a2e)

            await wrapped({"type": "http"}, receive, keep)
            assert got == opened
            assert not opened[0].closed
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    with pytest.raises(RuntimeError, match="lifespan"):
        await wrapped({"type": "http"}, receive, send)
    await wrapped({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert opened[0].closed

    async def start() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    sent.clear()
    without_journal = lifespan(make_client, download_to=tmp_path)
    with pytest.raises(errors.ConfigurationError):
        await LifespanMiddleware(app, without_journal)({"type": "lifespan"}, start, send)
    assert sent == ["lifespan.startup.failed"]


async def test_an_aiohttp_app(
    make_client: MakeClient, tmp_path: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Start, stream and result; errors are answered; an open stream does not delay the stop."""

    async def start(request: web.Request) -> web.Response:
        form = await request.post()
        source = form["file"] if "file" in form else str(form.get("url"))
        await request.app[CLIENT].dubbing.start(
            source_url=source, target_lang="es", key=f"ann:{request.query['key']}"
        )
        return web.Response(status=202)

    async def events(request: web.Request) -> web.StreamResponse:
        return await request.app[PROGRESS].respond(request, caller="ann")

    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        raise errors.ConnectError("The service is away.", **SENT)

    a2e = make_client(journal=tmp_path / "jobs.db")
    app = web.Application()
    setup(app, a2e, download_to=tmp_path / "out")
    app.router.add_post("/jobs", start)
    app.router.add_get("/events", events)
    app.router.add_get("/broken", broken)
    runner = web.AppRunner(app, shutdown_timeout=60)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as http:
        data = {"url": DUB["source_url"]}
        async with http.post(f"{url}/jobs?key=1", data=data) as answer:
            assert answer.status == 202
        async with http.post(f"{url}/jobs?key=2", data={"file": io.BytesIO(b"no media")}) as answer:
            assert (answer.status, (await answer.json())["field"]) == (422, "source_url")
        with pytest.raises(aiohttp.ClientPayloadError):
            async with http.get(f"{url}/broken") as answer:
                await answer.read()
        async with http.get(f"{url}/events") as answer:
            assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            async for line in answer.content:
                if b'"succeeded"' in line:
                    break
            await runner.cleanup()
            assert b"data" not in await answer.read()
    assert a2e.closed
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_stream_that_ended_does_not_keep_a_signal_from_the_server(tmp_path: Path) -> None:
    """Of two apps in a process the first ends first, so the second restores a handler of it."""

    async def run() -> None:
        async with AsyncExitStack() as first, AsyncExitStack() as second:
            for number, stack in enumerate((first, second)):
                a2e = A2E("sk_not-used", journal=tmp_path / f"{number}.db")
                await stack.enter_async_context(a2e)
                await stack.enter_async_context(ProgressStream(a2e, download_to=tmp_path / "out"))
            await first.aclose()

    received = list[int]()
    before = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        asyncio.run(run())
        signal.raise_signal(signal.SIGTERM)
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
