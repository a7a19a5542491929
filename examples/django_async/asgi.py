"""A Django project that dubs recordings, under any ASGI server with lifespan support.

    pip install -e ".[examples]"
    A2E_API_KEY=… uvicorn --app-dir examples/django_async asgi:application
    curl -F file=@talk.wav -F target_lang=es -H "Idempotency-Key: $(uuidgen)" localhost:8000/jobs
    curl -N localhost:8000/events         # live, all jobs
    curl localhost:8000/jobs/KEY/result   # when it is ready

Django does not handle lifespan events, so a middleware does: one client per process, on the loop
that serves the requests.
"""

import os

from django.core.asgi import get_asgi_application

from a2e_async import A2E
from a2e_async.contrib.asgi import LifespanMiddleware, lifespan

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")

# Finishes every task, also those that an earlier process started. One user has all jobs.
client = lifespan(lambda: A2E(journal="jobs.db"), download_to="results", caller_of=lambda _: "")
application = LifespanMiddleware(get_asgi_application(), client)
