"""One server that speaks the protocols of all clients, over one store of jobs and charges.

    python -m benchmarks.peers.server

Prints its base URL as JSON. The prompt of a job says what it does (`population.Job.prompt`).
``POST /control`` sets a fault and resets the counts, ``GET /control`` returns them.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from benchmarks.peers.store import AcceptedJob, Fault, Store, iso

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

HELD_FOR = 60.0
"""Longest hold of a ``Prefer: wait`` request in seconds, as documented by Replicate."""


STORE = web.AppKey("STORE", Store)


def _url(work: AcceptedJob) -> str:
    return f"https://media.example/{work.id}.mp4"


# -- control and faults ------------------------------------------------------------------------


async def report(request: web.Request) -> web.Response:
    """Return calls by role, charges, and the end time of each job."""
    store = request.app[STORE]
    ends = {str(w.number): w.ends for w in store.works.values()}
    return web.json_response({"calls": store.calls, "charges": store.count, "ends": ends})


async def control(request: web.Request) -> web.Response:
    """Reset everything, and set the fault given in the body."""
    wanted = await request.json()
    store = request.app[STORE]
    store.works.clear()
    store.keys.clear()
    store.calls.clear()
    store.count = 0
    seconds = wanted.pop("seconds", 0)
    store.fault = Fault(**wanted, until=time.time() + seconds if seconds else 0) if wanted else None
    return web.json_response({})


@web.middleware
async def faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count the request, and apply a fault that is due."""
    store = request.app[STORE]
    role = ROLES.get(request.match_info.handler, "")
    if not role:
        return await handler(request)
    store.calls[role] += 1
    fault = store.fault
    is_poll = role in ("detail", "batch", "list", "result")
    if fault is None or fault.role != ("poll" if is_poll else role) or not fault.strikes():
        return await handler(request)
    if fault.what == "429":
        return web.json_response({"error": "slow down"}, status=429, headers={"Retry-After": "1"})
    # The request is accepted and charged first; then its response fails.
    await handler(request)
    if fault.what == "hang":
        await asyncio.sleep(3600)
    if fault.what == "drop" and request.transport is not None:
        request.transport.abort()
    status = int(fault.what) if fault.what.isdigit() else 503
    return web.json_response({"error": "try again"}, status=status)


# -- A2E ---------------------------------------------------------------------------------------

_A2E = {"queued": "initialized", "running": "processing", "done": "completed", "failed": "failed"}


def _a2e(work: AcceptedJob) -> dict[str, Any]:
    state = work.state
    return {
        **work.body,
        "_id": work.id,
        "current_status": _A2E[state],
        "coins": 12,
        "createdAt": work.created,
        "failed_message": "no face was found" if state == "failed" else "",
        "failed_code": "",
        "result_url": _url(work) if state == "done" else "",
        "cover_url": "",
        "duration": 5,
    }


def _data(data: Any) -> web.Response:
    return web.json_response({"code": 0, "data": data, "trace_id": "t-1"})


async def a2e_start(request: web.Request) -> web.Response:
    return _data(_a2e(request.app[STORE].accept(request, await request.read())))


async def a2e_detail(request: web.Request) -> web.Response:
    return _data(_a2e(request.app[STORE].find(request.match_info["id"])))


async def a2e_batch(request: web.Request) -> web.Response:
    works = request.app[STORE].works
    ids = (await request.json())["ids"]
    return _data([_a2e(works[id]) for id in ids if id in works])


async def a2e_list(request: web.Request) -> web.Response:
    works = sorted(request.app[STORE].works.values(), key=lambda w: w.id, reverse=True)
    return _data({"rows": [_a2e(work) for work in works[:100]], "count": len(works)})


async def a2e_processing(request: web.Request) -> web.Response:
    works = request.app[STORE].works.values()
    return _data([_a2e(work) for work in works if not work.over])


# -- fal ---------------------------------------------------------------------------------------


async def fal_start(request: web.Request) -> web.Response:
    work = request.app[STORE].accept(request, await request.read())
    at = f"{request.url.origin()}/fal/requests/{work.id}"
    urls = {"response_url": at, "status_url": f"{at}/status", "cancel_url": f"{at}/cancel"}
    return web.json_response({"request_id": work.id, **urls})


async def fal_status(request: web.Request) -> web.Response:
    work = request.app[STORE].find(request.match_info["id"])
    if work.over:
        return web.json_response({"status": "COMPLETED", "logs": None, "metrics": {}})
    if work.state == "queued":
        return web.json_response({"status": "IN_QUEUE", "queue_position": 0})
    return web.json_response({"status": "IN_PROGRESS", "logs": None})


async def fal_result(request: web.Request) -> web.Response:
    work = request.app[STORE].find(request.match_info["id"])
    if work.fails:
        return web.json_response({"detail": "no face was found"}, status=422)
    return web.json_response({"video": {"url": _url(work), "content_type": "video/mp4"}})


async def fal_cancel(request: web.Request) -> web.Response:
    return web.json_response({"status": "CANCELLATION_REQUESTED"}, status=202)


# -- Replicate ---------------------------------------------------------------------------------

_REPLICATE = {
    "queued": "starting",
    "running": "processing",
    "done": "succeeded",
    "failed": "failed",
}


def _prediction(work: AcceptedJob, base: str, *, held: bool = False) -> dict[str, Any]:
    state = work.state
    return {
        "id": work.id,
        "model": "bench/video",
        "version": "v1",
        "status": "starting" if held and not work.over else _REPLICATE[state],
        "input": {},
        "output": _url(work) if state == "done" else None,
        "logs": "",
        "error": "no face was found" if state == "failed" else None,
        "metrics": {},
        "created_at": work.created,
        "started_at": work.created,
        "completed_at": iso(work.ends) if work.over else None,
        "urls": {"get": f"{base}/v1/predictions/{work.id}"},
    }


async def replicate_start(request: web.Request) -> web.Response:
    work = request.app[STORE].accept(request, await request.read())
    prefer = request.headers.get("Prefer", "")
    held = prefer.startswith("wait")
    if held:
        most = float(prefer.partition("=")[2] or HELD_FOR)
        await asyncio.sleep(max(0.0, min(most, work.ends - time.time())))
    base = f"{request.url.origin()}/replicate"
    return web.json_response(_prediction(work, base, held=held), status=201)


async def replicate_get(request: web.Request) -> web.Response:
    work = request.app[STORE].find(request.match_info["id"])
    return web.json_response(_prediction(work, f"{request.url.origin()}/replicate"))


# -- Runway ------------------------------------------------------------------------------------


async def runway_start(request: web.Request) -> web.Response:
    work = request.app[STORE].accept(request, await request.read())
    return web.json_response({"id": work.id})


async def runway_get(request: web.Request) -> web.Response:
    work = request.app[STORE].find(request.match_info["id"])
    state = work.state
    task: dict[str, Any] = {"id": work.id, "createdAt": work.created}
    if state == "done":
        task |= {"status": "SUCCEEDED", "output": [_url(work)], "cost": {"credits": 5}}
    elif state == "failed":
        task |= {"status": "FAILED", "failure": "no face was found", "cost": {"credits": 0}}
    elif state == "running":
        task |= {"status": "RUNNING", "progress": 0.5, "estimatedCost": {"credits": 5}}
    else:
        task |= {"status": "PENDING", "estimatedCost": {"credits": 5}}
    return web.json_response(task)


# -- OpenAI videos -----------------------------------------------------------------------------

_OPENAI = {"queued": "queued", "running": "in_progress", "done": "completed", "failed": "failed"}


def _video(work: AcceptedJob) -> dict[str, Any]:
    state = work.state
    return {
        "id": work.id,
        "object": "video",
        "created_at": int(work.began),
        "completed_at": int(work.ends) if work.over else None,
        "error": {"code": "no_face", "message": "no face was found"} if state == "failed" else None,
        "expires_at": None,
        "model": "sora-2",
        "progress": 100 if work.over else 50,
        "remixed_from_video_id": None,
        "seconds": "4",
        "size": "720x1280",
        "status": _OPENAI[state],
    }


async def openai_start(request: web.Request) -> web.Response:
    return web.json_response(_video(request.app[STORE].accept(request, await request.read())))


async def openai_get(request: web.Request) -> web.Response:
    return web.json_response(_video(request.app[STORE].find(request.match_info["id"])))


# -- Comfy -------------------------------------------------------------------------------------

_COMFY = {"queued": "queued", "running": "running", "done": "succeeded", "failed": "failed"}


def _comfy(work: AcceptedJob) -> dict[str, Any]:
    state, at = work.state, f"/api/v2/jobs/{work.id}"
    output = {
        "node_id": "9",
        "name": "out.mp4",
        "type": "video",
        "content_type": "video/mp4",
        "size_bytes": 1848320,
        "id": work.id,
        "hash": None,
        "url": _url(work),
        "url_expires_at": iso(work.ends + 3600),
    }
    return {
        "id": work.id,
        "status": _COMFY[state],
        "created_at": work.created,
        "started_at": work.created,
        "completed_at": iso(work.ends) if work.over else None,
        "expires_at": iso(work.began + 86400),
        "queue_position": None,
        "progress": None,
        "outputs": [output] if state == "done" else [],
        "error": {"code": "no_face", "message": "no face was found"} if state == "failed" else None,
        "urls": {"self": at, "cancel": f"{at}/cancel", "events": f"{at}/events"},
    }


async def comfy_start(request: web.Request) -> web.Response:
    work = request.app[STORE].accept(request, await request.read())
    return web.json_response(_comfy(work), status=201)


async def comfy_get(request: web.Request) -> web.Response:
    return web.json_response(_comfy(request.app[STORE].find(request.match_info["id"])))


async def comfy_events(request: web.Request) -> web.StreamResponse:
    """Send the states of a job as Server-Sent Events."""
    work = request.app[STORE].find(request.match_info["id"])
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    for at in (work.began, work.began + work.seconds / 10, work.ends):
        await asyncio.sleep(max(0.0, at - time.time()))
        data = json.dumps({"status": _COMFY[work.state]})
        await answer.write(f"event: status\ndata: {data}\n\n".encode())
    return answer


ROUTES = [
    ("GET", "/control", report, ""),
    ("POST", "/control", control, ""),
    ("POST", "/api/v1/talkingVideo/start", a2e_start, "start"),
    ("POST", "/api/v1/talkingVideo/batchDetail", a2e_batch, "batch"),
    ("GET", "/api/v1/talkingVideo/allRecords", a2e_list, "list"),
    ("GET", "/api/v1/talkingVideo/{id}", a2e_detail, "detail"),
    ("POST", "/api/v1/userDubbing/startDubbing", a2e_start, "start"),
    ("GET", "/api/v1/userDubbing/allRecords", a2e_list, "list"),
    ("GET", "/api/v1/userDubbing/allProcessing", a2e_processing, "list"),
    ("GET", "/api/v1/userDubbing/{id}", a2e_detail, "detail"),
    ("POST", "/fal/bench/video", fal_start, "start"),
    ("GET", "/fal/requests/{id}/status", fal_status, "detail"),
    ("PUT", "/fal/requests/{id}/cancel", fal_cancel, "cancel"),
    ("GET", "/fal/requests/{id}", fal_result, "result"),
    ("POST", "/replicate/v1/models/bench/video/predictions", replicate_start, "start"),
    ("GET", "/replicate/v1/predictions/{id}", replicate_get, "detail"),
    ("POST", "/runway/v1/text_to_image", runway_start, "start"),
    ("GET", "/runway/v1/tasks/{id}", runway_get, "detail"),
    ("POST", "/openai/v1/videos", openai_start, "start"),
    ("GET", "/openai/v1/videos/{id}", openai_get, "detail"),
    ("POST", "/api/v2/jobs", comfy_start, "start"),
    ("GET", "/api/v2/jobs/{id}", comfy_get, "detail"),
    ("GET", "/api/v2/jobs/{id}/events", comfy_events, "stream"),
]


ROLES: dict[Any, str] = {handler: role for _, _, handler, role in ROUTES}


async def main() -> None:
    """Serve until the process is terminated."""
    app = web.Application(middlewares=[faults], client_max_size=2**24)
    app[STORE] = Store()
    for method, path, handler, _ in ROUTES:
        app.router.add_route(method, path, handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=4096)
    await site.start()
    port = runner.addresses[0][1]
    print(json.dumps({"base_url": f"http://127.0.0.1:{port}"}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
