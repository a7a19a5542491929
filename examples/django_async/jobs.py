"""The views. ``request.scope["state"]`` is what the lifespan in `asgi` yields."""

import asyncio

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET, require_POST

from a2e_async import A2EError
from a2e_async.contrib.asgi import SSE_HEADERS, error_response


@require_POST
async def start(request: ASGIRequest) -> HttpResponse:
    key, file = request.headers.get("Idempotency-Key"), request.FILES.get("file")
    language = request.POST.get("target_lang")
    if not key or not file or not language:
        wanted = "Required: file, target_lang, header Idempotency-Key."
        return HttpResponse(wanted, status=400)
    a2e = request.scope["state"]["a2e"]
    try:
        await a2e.dubbing.start(source_url=file, target_lang=language, key=key)
    except A2EError as error:
        answer = error_response(error)
        return JsonResponse(answer.body, status=answer.status, headers=answer.headers)
    return JsonResponse({"id": key}, status=202)


@require_GET
async def events(request: ASGIRequest) -> StreamingHttpResponse:
    progress = request.scope["state"]["progress"]
    return StreamingHttpResponse(progress.events(request.headers), headers=SSE_HEADERS)


@require_GET
async def result(request: ASGIRequest, key: str) -> HttpResponse:
    files = await request.scope["state"]["progress"].files(key)
    if not files:
        return HttpResponse("Not ready yet.", status=404)
    data = await asyncio.to_thread(files[0].read_bytes)
    return HttpResponse(data, content_type="audio/mpeg")
