"""The API server: HTTP in front of the service, and the faults of requests."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any, Final

import attrs
from aiohttp import web

from a2e_async._core.typeguards import is_list

from ..api_messages import SandboxRequest, SandboxResponse
from ..api_spec import counted_role
from ..faults import REQUEST_FAULTS, Fault
from ..kind_operations.prompt_extension import event_stream
from ..locked_service import LockedService
from ..replay import PlayedResponse, Replay
from .responses import (
    MonotonicClock,
    close_connection,
    cors_headers,
    html_response,
    json_bytes,
    json_response,
)

EMPTY_STARTS: Final[Mapping[str, Any]] = {
    "null": {"data": None},
    "object": {"data": {}},
    "list": {"data": []},
    "string": {"data": "queued"},
    "refused": {"data": {"failed_message": "The content was refused", "failed_code": "400"}},
    "success_false": {"data": None, "success": False, "message": "The start was refused"},
}
"""Envelopes of a start that created no task, by shape."""

DETAIL_REFUSALS: Final[Mapping[int, str]] = {
    400: "Invalid record id",
    404: "Record not found",
    405: "Method not allowed",
}
"""The texts of a refused detail, by status."""


@attrs.define(slots=True)
class ApiHandler:
    """Handles each request to the API."""

    locked: LockedService
    api_key: str
    real: MonotonicClock
    replay: Replay | None = None
    """The recorded shapes that responses have, if a report is played."""

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response to a request."""
        found = self.locked.router.find(request.method, request.path)
        if found is None:
            played = None if self.replay is None else self.replay.play_unknown_path()
            return html_response(404, "404 Not Found") if played is None else _as_http(played)
        operation, given = found
        role = counted_role(operation)
        with self.locked.lock:
            self.locked.service.calls[role, operation.kind] += 1
            wait = self.locked.faults.rate_limit_delay(self.real())
        if wait:
            return self._rate_limited(wait)
        if not self._is_authorized(request):
            return self._answer(None, self._failure(401, "Invalid token"))
        fault = self.locked.faults.take(REQUEST_FAULTS, role, operation.kind)
        if fault is not None and fault.name == "reset":
            return close_connection(request, reset=True)
        body: Any = None
        if operation.body_schema is not None or request.can_read_body:
            try:
                text = await request.read() or b"null"
                body = json.loads(text, parse_constant=_reject_constant, parse_float=_parse_finite)
            except (ValueError, RecursionError):
                return self._json_answer(self._failure(400, "The body is not JSON"))
        query = request.rel_url.query
        call = SandboxRequest(operation, given, query, body)
        if fault is not None:
            return await self._respond_with_fault(fault, request, call)
        return await self._respond(request, self.locked.handle(call), call)

    def _is_authorized(self, request: web.BaseRequest) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and token == self.api_key

    async def _respond_with_fault(
        self, fault: Fault, request: web.BaseRequest, call: SandboxRequest
    ) -> web.StreamResponse:
        values = fault.values
        match fault.name:
            case "drop_before_accept":
                return close_connection(request)
            case "drop_after_accept":
                self.locked.handle(call)
                return close_connection(request)
            case "http_error":
                if values["accepted"]:
                    self.locked.handle(call)
                return self._http_error(values)
            case "slow":
                response = self.locked.handle(call) if values["accepted"] else None
                await asyncio.sleep(values["seconds"])
                return await self._respond(request, response or self.locked.handle(call), call)
            case "html":
                return html_response(200, "Please wait")
            case "malformed":
                body = json_bytes(self.locked.handle(call).body)
                return json_response(body[: len(body) * 2 // 3])
            case "code_error":
                refusal = self._failure(200, values["message"], values["code"])
                return await self._respond(request, refusal, call)
            case "detail_refused":
                status = values["status"]
                return self._json_answer(self._failure(status, DETAIL_REFUSALS[status]))
            case "empty_start":
                return json_response(
                    json_bytes({"code": 0, **EMPTY_STARTS[values["shape"]], **self._trace_field()})
                )
            case _:
                return self._with_response_shape(self.locked.handle(call), values["shape"])

    async def _respond(
        self, request: web.BaseRequest, response: SandboxResponse, call: SandboxRequest
    ) -> web.StreamResponse:
        if not _wants_event_stream(call) or response.status != 200:
            return self._answer(call, response)
        stream = web.StreamResponse(headers={"Cache-Control": "no-cache", **cors_headers(request)})
        stream.content_type, stream.charset = "text/event-stream", "utf-8"
        await stream.prepare(request)
        for event in event_stream(response.body):
            await stream.write(event)
        return stream

    def _answer(self, call: SandboxRequest | None, response: SandboxResponse) -> web.Response:
        """Return a response in its recorded shape, if a report is played."""
        if self.replay is None:
            return self._json_answer(response)
        return _as_http(self.replay.play(call, response))

    def _json_answer(self, response: SandboxResponse) -> web.Response:
        return json_response(json_bytes(response.body), response.status)

    def _with_response_shape(self, response: SandboxResponse, shape: str) -> web.Response:
        data = response.data
        if response.status != 200:
            return json_response(json_bytes(response.body), response.status)
        if shape == "bare":
            return json_response(json_bytes(data))
        if shape == "record":
            item = data[0] if is_list(data) and len(data) == 1 else data
            return json_response(json_bytes({**response.body, "data": item}))
        wrapped = {"list": [data], "nested": {"data": data}, "text": json.dumps(data)}[shape]
        return json_response(json_bytes({**response.body, "data": wrapped}))

    def _http_error(self, values: Mapping[str, Any]) -> web.Response:
        status, after = values["status"], values["retry_after"]
        headers = {} if after is None else {"Retry-After": _retry_after_header(after)}
        if values["html"]:
            return html_response(status, f"{status} Error", headers)
        refusal = self._failure(status, f"Sandbox fault {status}")
        return json_response(json_bytes(refusal.body), status, headers)

    def _rate_limited(self, wait: float) -> web.Response:
        refusal = self._failure(429, "Too many requests, please try again later")
        headers = {"Retry-After": str(max(1, math.ceil(wait)))}
        return json_response(json_bytes(refusal.body), 429, headers)

    def _failure(self, status: int, message: str, code: int | None = None) -> SandboxResponse:
        with self.locked.lock:
            return self.locked.service.refuse(status, message, code=code)

    def _trace_field(self) -> dict[str, str]:
        with self.locked.lock:
            return {"trace_id": self.locked.service.trace_id()}


def _as_http(played: PlayedResponse) -> web.Response:
    if played.body is None:
        if played.is_html:
            return html_response(played.status, "Recorded page", played.headers)
        return web.Response(status=played.status, text="recorded", headers=played.headers)
    return json_response(json_bytes(played.body), played.status, played.headers)


def _reject_constant(name: str) -> None:
    msg = f"{name} is no JSON"
    raise ValueError(msg)


def _parse_finite(text: str) -> float:
    """Return the number; refuse an infinite one, which JSON cannot represent."""
    number = float(text)
    if not math.isfinite(number):
        _reject_constant(text)
    return number


def _retry_after_header(after: float | str) -> str:
    return after if isinstance(after, str) else f"{after:g}"


def _wants_event_stream(call: SandboxRequest) -> bool:
    shape: object = call.body.__class__
    return call.operation.role == "action" and shape is dict and call.body.get("stream") is True
