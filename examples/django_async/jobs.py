"""The client of the process, and the views that use it."""

import asyncio
import logging
from pathlib import Path

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET, require_POST

from a2e_async import A2E, A2EError, errors
from a2e_async.journal import Entry

log = logging.getLogger(__name__)


_clients: list[A2E] = []


def open_client() -> None:
    """Open the client; called on the loop that serves the requests."""
    _clients.append(A2E(journal="jobs.db"))
    _clients[0].follow_all(download_to="results")  # also what an earlier process started


async def close_client() -> None:
    await _clients.pop().aclose()  # tasks continue at the service


async def find(key: str) -> Entry:
    journal = _clients[0].journal
    entry = await journal.get(key) if journal else None
    if entry is None:
        raise Http404
    return entry


@require_POST
async def start(request: HttpRequest) -> HttpResponse:
    key, file = request.headers.get("Idempotency-Key"), request.FILES.get("file")
    language = request.POST.get("target_lang")
    if not key or not file or not language:
        wanted = "Required: file, target_lang, header Idempotency-Key."
        return HttpResponse(wanted, status=400)
    try:
        await _clients[0].dubbing.start(
            source_url=await asyncio.to_thread(file.read), target_lang=language, key=key
        )
    except (errors.InvalidInput, errors.KeyConflict) as error:
        return HttpResponse(str(error), status=422)
    except A2EError as error:
        log.warning("%s", error)
        return HttpResponse("Try again later.", status=503, headers={"Retry-After": "60"})
    return JsonResponse({"id": key}, status=202)


@require_GET
async def show(request: HttpRequest, key: str) -> HttpResponse:
    entry = await find(key)
    failed = entry.succeeded is False
    status = "failed" if failed else "running" if entry.open else "succeeded"
    return JsonResponse({"status": status, "error": entry.failure})


@require_GET
async def result(request: HttpRequest, key: str) -> HttpResponse:
    entry = await find(key)
    if not entry.paths:
        return HttpResponse("Not ready yet.", status=404)
    data = await asyncio.to_thread(Path(next(iter(entry.paths.values()))).read_bytes)
    return HttpResponse(data, content_type="audio/mpeg")
