"""The server's accepted jobs, received requests and pending faults."""

import json
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from attrs import Factory, define, field

from benchmarks.peers.population import read_prompt


def iso(at: float) -> str:
    """Return a time in the format that all these services use."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@define(eq=False)
class AcceptedJob:
    """One accepted, and charged, job."""

    id: str
    number: int
    began: float
    seconds: float
    fails: bool
    body: dict[str, Any]

    @property
    def ends(self) -> float:
        return self.began + self.seconds

    @property
    def state(self) -> str:
        """queued, running, done or failed."""
        now = time.time()
        if now >= self.ends:
            return "failed" if self.fails else "done"
        return "queued" if now < self.began + self.seconds / 10 else "running"

    @property
    def over(self) -> bool:
        return time.time() >= self.ends

    @property
    def created(self) -> str:
        return iso(self.began)


@define(eq=False)
class Fault:
    """A fault for the next ``times`` requests of a role, or for all during some seconds."""

    role: str
    what: str
    times: int = 1
    until: float = 0.0

    def strikes(self) -> bool:
        """Return whether the fault applies to this request; counts down."""
        self.times -= 1
        return time.time() < self.until if self.until else self.times >= 0


@define(eq=False)
class Store:
    """All jobs, received requests and pending faults."""

    works: dict[str, AcceptedJob] = Factory(dict[str, AcceptedJob])
    keys: dict[str, AcceptedJob] = Factory(dict[str, AcceptedJob])
    calls: Counter[str] = Factory(Counter[str])
    fault: Fault | None = None
    count: int = field(default=0)

    def accept(self, request: web.Request, body: bytes) -> AcceptedJob:
        """Create a job and charge for it, unless the idempotency key is known."""
        key = request.headers.get("Idempotency-Key", "")
        if key in self.keys:
            return self.keys[key]
        prompt = read_prompt(body)
        if prompt is None:
            raise web.HTTPBadRequest(text="no job in the body")
        self.count += 1
        try:
            inputs = json.loads(body)
        except ValueError:
            inputs = {}
        now = time.time()
        id = f"{int(now):08x}db10c73f{self.count:08x}"
        work = self.works[id] = AcceptedJob(id, prompt[0], now, prompt[1], prompt[2], inputs)
        if key:
            self.keys[key] = work
        return work

    def find(self, id: str) -> AcceptedJob:
        work = self.works.get(id)
        if work is None:
            raise web.HTTPNotFound(text="no such job")
        return work
