"""The client of the process, and the views that use it."""

import asyncio
import logging
from pathlib import Path
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET, require_POST

from a2e_async import A2E, A2EError, Task, errors
from a2e_async.journal import Entry

log = logging.getLogger(__name__)


class Jobs:
    """Saves each result when it is ready, whether or not it is requested."""

    def __init__(self) -> None:
        self.a2e = A2E(journal="jobs.db")
        self._saving: dict[str, asyncio.Task[None]] = {}
        self._resuming = asyncio.create_task(self._resume())

    def follow(self, task: Task[Any]) -> None:
        key = task.key or task.ref
        if key not in self._saving:
            self._saving[key] = asyncio.create_task(self._save(task))
            self._saving[key].add_done_callback(lambda _: self._saving.pop(key))

    async def aclose(self) -> None:
        await self.a2e.aclose()  # ends all waits; tasks continue at the service
        await asyncio.gather(self._resuming, *self._saving.values(), return_exceptions=True)

    async def find(self, key: str) -> Entry:
        entry = await self.a2e.journal.get(key) if self.a2e.journal else None
        if entry is None:
            raise Http404
        return entry

    async def _resume(self) -> None:
        async for task in self.a2e.unfinished():  # tasks that an earlier process started
            self.follow(task)

    async def _save(self, task: Task[Any]) -> None:
        try:
            await task.download("results")
        except errors.ClientClosed:
            pass  # the next process continues
        except A2EError as error:
            log.warning("%s", error)


_open: list[Jobs] = []


def open_client() -> None:
    """Open the client; called on the loop that serves the requests."""
    _open.append(Jobs())


async def close_client() -> None:
    await _open.pop().aclose()


@require_POST
async def start(request: HttpRequest) -> HttpResponse:
    key, file = request.headers.get("Idempotency-Key"), request.FILES.get("file")
    language = request.POST.get("target_lang")
    if not key or not file or not language:
        wanted = "Required: file, target_lang, header Idempotency-Key."
        return HttpResponse(wanted, status=400)
    try:
        task = await _open[0].a2e.dubbing.start(
            source_url=await asyncio.to_thread(file.read), target_lang=language, key=key
        )
    except (errors.InvalidInput, errors.KeyConflict) as error:
        return HttpResponse(str(error), status=422)
    except A2EError as error:
        log.warning("%s", error)
        return HttpResponse("Try again later.", status=503, headers={"Retry-After": "60"})
    _open[0].follow(task)
    return JsonResponse({"id": key}, status=202)


@require_GET
async def show(request: HttpRequest, key: str) -> HttpResponse:
    entry = await _open[0].find(key)
    failed = entry.succeeded is False
    status = "failed" if failed else "running" if entry.open else "succeeded"
    return JsonResponse({"status": status, "error": entry.failure})


@require_GET
async def result(request: HttpRequest, key: str) -> HttpResponse:
    entry = await _open[0].find(key)
    if not entry.paths:
        return HttpResponse("Not ready yet.", status=404)
    data = await asyncio.to_thread(Path(next(iter(entry.paths.values()))).read_bytes)
    return HttpResponse(data, content_type="audio/mpeg")
