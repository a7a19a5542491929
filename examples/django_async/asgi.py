"""A Django project that dubs recordings, under any ASGI server with lifespan support.

    pip install -e ".[examples]"
    A2E_API_KEY=… uvicorn --app-dir examples/django_async asgi:application
    curl -F file=@talk.wav -F target_lang=es -H "Idempotency-Key: $(uuidgen)" localhost:8000/jobs
    curl localhost:8000/jobs/KEY          # and /jobs/KEY/result when it is ready

Django does not handle lifespan events. This module opens the client on the server's loop before the
first request and closes it after the last: one client per process, on the loop that it belongs to.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import jobs
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
django = get_asgi_application()

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] != "lifespan":
        await django(scope, receive, send)
        return
    await receive()
    jobs.open_client()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await jobs.close_client()
    await send({"type": "lifespan.shutdown.complete"})
