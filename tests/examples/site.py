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
        self.http = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

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
        """Send a multipart form, as `curl -F` does."""
        form = form or {"files": {"file": media.speech().read_bytes()}}
        data = {"target_lang": "es", **form.pop("data", {})}
        return self.http.post("/jobs", data=data, headers={"Idempotency-Key": key}, **form)

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the states that the stream of all jobs reports, each with its event's id."""
        with self.http.stream("GET", "/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            number = ""
            for line in answer.iter_lines():
                if line.startswith("id: "):
                    number = line.removeprefix("id: ")
                elif line.startswith('data: {"id"'):
                    yield {**json.loads(line.removeprefix("data: ")), "event": number}

    def until(self, status: str, key: str = KEY) -> dict[str, Any]:
        """Read the stream until a job has a status; return its state."""
        return next(one for one in self.events() if (one["id"], one["status"]) == (key, status))


class PageSite(Site):
    """The FastAPI example, used as its page does."""

    def start(self, path: str = "/") -> None:
        super().start(path)
        if "user" not in self.http.cookies:
            self.http.get("/")

    @property
    def user(self) -> str:
        """The user in the cookie."""
        return str(self.http.cookies["user"])

    def upload(self, content: bytes | None = None) -> httpx.Response:
        """Upload a recording."""
        return self.http.put("/files", content=content or media.speech().read_bytes())

    def post(self, key: str = KEY, **values: Any) -> httpx.Response:
        """Start a job with a recording at a URL; without ``url`` one is uploaded."""
        url = values.pop("url", None) or self.upload().json()["url"]
        job = {"id": key, "name": "talk.wav → Spanish", "url": url, "target_lang": "es", **values}
        return self.http.post("/jobs", json=job)
