"""A web example as its users reach it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from a2e_async.sandbox import media

from .programs import Program, wait_for

KEY = "0123456789abcdef0123456789abcdef"


class Site:
    """The app as its users reach it."""

    def __init__(self, app: Program, port: int) -> None:
        self.app = app
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def start(self, path: str = "/") -> None:
        """Run it (again); return once it responds."""
        self.app.start()
        wait_for(lambda: self.is_up(path))

    def is_up(self, path: str) -> bool:
        """Return whether it responds."""
        try:
            return self.http.get(path).status_code < 500
        except httpx.TransportError:
            return False

    def post(self, key: str = KEY, **form: Any) -> httpx.Response:
        form = form or {"files": {"file": media.speech().read_bytes()}}
        data = {"target_lang": "es", **form.pop("data", {})}
        return self.http.post("/jobs", data=data, headers={"Idempotency-Key": key}, **form)

    def events(self, key: str = KEY) -> Iterator[dict[str, Any]]:
        with self.http.stream("GET", f"/jobs/{key}/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))
