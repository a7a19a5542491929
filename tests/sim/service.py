"""The service of a world: the hostile server with random behaviour and faults."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import simloom
from aiohttp import web

from tests.hostile import Fault, HostileServer, OrderedFault, RemoteTask, Step
from tests.hostile.catalogue import FILE_FAULTS, LOST, ODD_ACCEPTANCES, REFUSALS
from tests.hostile.spelling import SPELLINGS

from .clocks import EPOCH
from .draws import chance, pick, pick_from
from .hooks import deliver
from .story import Story

BASE_URL: Final = "http://service"
DONE_WORDS: Final = ("processing", "pendding", "queued", "rendering", "in_progress")

SLOW: Final = (Fault.slow(2), Fault.slow(8), Fault.slow(18), Fault.slow(40))
STARTS: Final = (*LOST, *SLOW, *REFUSALS, *ODD_ACCEPTANCES)
ACCEPTING: Final = frozenset((*SLOW, *ODD_ACCEPTANCES))
"""Faults with which the response still shows that a start was accepted."""
POLLS: Final = (
    *LOST,
    *SLOW,
    Fault.refusal(429, 429, "too many requests", Retry_After="3"),
    Fault.refusal(404, 404, "record not found"),
    Fault.refusal(400, 400, "cannot read"),
    Fault.field("_id", None),
    Fault.field("createdAt", {}),
    Fault.field("coins", 2**70),
    Fault.edit("the first left out", lambda data: data[1:] if isinstance(data, list) else data),
    Fault.edit("odd rows", lambda data: _with_odd_rows(data)),
)
"""Faults of polls. Without 401 and 403 of the API, which end waits by design."""
DETAILS: Final = (*POLLS, Fault.field("_id", "6b0b7d2f000000000000ffff"))
"""Faults of detail requests only: in a list, a foreign id with our name is undetectable."""
FILES: Final = (*FILE_FAULTS, *SLOW, Fault.slow(90))
UPLOADS: Final = (
    *(Fault.status(status) for status in (403, 408, 429, 500, 503)),
    Fault.disconnect(),
    *SLOW,
)
QUOTES: Final = (*LOST, *SLOW, Fault.data({"coins": -5}), Fault.data({"coins": 2**70}))
_BY_STEP: Final[Mapping[Step, tuple[Fault, ...]]] = {
    Step.START: STARTS,
    Step.CHARGED: STARTS,
    Step.PRESIGN: STARTS,
    Step.FILE: FILES,
    Step.UPLOAD: UPLOADS,
    Step.QUOTE: QUOTES,
    Step.DETAIL: DETAILS,
}


def _with_odd_rows(data: Any) -> Any:
    odd = [None, "x", {"_id": None}, {"_id": 5, "name": []}]
    if isinstance(data, list):
        return [*data[:1], *odd, *data[1:]]
    if isinstance(data, dict) and isinstance(data.get("rows"), list):
        return {**data, "rows": [*data["rows"][:1], *odd, *data["rows"][1:]]}
    return data


class SimulatedService:
    """A hostile server on a host of the world. Its state survives its own restarts."""

    def __init__(self, story: Story) -> None:
        self.story = story
        loop = asyncio.get_running_loop()
        self.server = HostileServer(base_url=BASE_URL, wall=lambda: EPOCH + loop.time())
        self.server.faults.choose = self.choose
        self.stopped = asyncio.Event()
        self.rate = pick("service.rate", 0, 5, 15, 35, 60)
        """Percentage of requests with a fault."""
        self.draw_behaviour()
        self._accepted = 0

    def draw_behaviour(self) -> None:
        """Choose the service's permanent behaviour at random."""
        behaviour = self.server.behaviour
        behaviour.duration = float(pick("service.duration", 20, 3, 0, 90, 240))
        behaviour.list_lag = float(pick("service.list_lag", 0, 0, 2, 12, 40))
        behaviour.detail_lag = float(pick("service.detail_lag", 0, 0, 3, 25))
        behaviour.clock_skew = float(pick("service.skew", 0, 0, -40, 90, -3600, 7200))
        behaviour.sends_date = pick("service.date", True, True, False)
        behaviour.result_delay = float(pick("service.result_delay", 0, 0, 4, 30))
        behaviour.page_limit = pick("service.page_limit", None, None, 5, 2, 1)
        behaviour.counts = pick("service.counts", True, False)
        behaviour.page_overlap = pick("service.overlap", 0, 0, 1)
        behaviour.repeats_rows = pick("service.repeats", False, False, True)
        behaviour.ignores_paging = pick("service.ignores_paging", False, False, False, True)
        if behaviour.page_limit == 1 and (behaviour.repeats_rows or behaviour.page_overlap):
            behaviour.counts = True  # otherwise such pages look like the last one
        if behaviour.ignores_paging:
            behaviour.page_limit = None  # otherwise most tasks would never be shown
        behaviour.stale_duplicates = pick("service.stale", False, False, True)
        self.spelling = pick("service.spelling", "unchanged", "unchanged", *SPELLINGS)
        behaviour.respell = SPELLINGS[self.spelling]
        behaviour.fails = lambda _: chance("task.fails", 6)
        behaviour.failure = pick("service.failure", "the model failed", "cannot read {url}")
        self.wobbles = pick("service.wobbles", False, False, True)
        if self.wobbles:
            behaviour.statuses = lambda _: pick_from("row.word", DONE_WORDS)
        self.regress = pick("service.regress", 0, 0, 10)
        behaviour.regresses = lambda _: not self.story.calm and chance("row.regress", self.regress)
        self.vanishing = pick("service.vanish", 0, 0, 30)
        behaviour.vanish = self.vanish

    def vanish(self, task: RemoteTask) -> tuple[float, float]:
        """Choose the time in which a new task is not shown by any operation."""
        if not chance("task.vanish", self.vanishing):
            return 0.0, 0.0
        begin = float(pick("task.vanish_at", 30, 0, 5, 90))
        return begin, begin + float(pick("task.vanish_for", 5, 20, 60))

    def stop_misbehaving(self) -> None:
        """Stop misbehaving from now on; existing state is unchanged."""
        behaviour = self.server.behaviour
        behaviour.list_lag = behaviour.detail_lag = behaviour.result_delay = 0.0
        behaviour.stale_duplicates = False
        for task in self.server.tasks.values():
            task.hidden = 0.0, 0.0

    @property
    def lists_are_faithful(self) -> bool:
        """Whether lists show starts as they were sent, so that lost ones can be found."""
        return self.spelling == "unchanged" and not self.server.behaviour.ignores_paging

    def choose(self, step: Step, kind: str | None) -> OrderedFault | None:
        """Choose a fault for a request; usually none."""
        if self.story.calm or not chance(f"fault?{step}", self.rate):
            return None
        fault = pick_from(f"fault.{step}", _BY_STEP.get(step, POLLS))
        accepted = fault in ACCEPTING or chance("fault.accepted", 50)
        ordered = OrderedFault(step, fault, after_accept=accepted)
        lost = step is Step.START and not ordered.accepts and not fault.refuses
        if lost and chance("fault.accept_late", 15):
            ordered.accept_late = float(pick("fault.accept_after", 1, 10, 60))
        how = "accepted" if ordered.accepts else "not accepted"
        if ordered.accept_late is not None:
            how = f"accepted {ordered.accept_late:g} s later"
        paid = f", {how}" if step in (Step.START, Step.CHARGED, Step.PRESIGN) else ""
        self.story.say(f"service: {step} {kind} meets {fault.name!r}{paid}")
        return ordered

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond, and log accepted starts."""
        response = await self.server.handle(request)
        for start in self.server.ledger.starts[self._accepted :]:
            self._accepted += 1
            ids = [id[-4:] for id in start.ids]
            self.story.say(f"service: ACCEPTED {start.kind} {start.body.get('prompt', '')} {ids}")
        return response

    async def run(self) -> None:
        """Serve until the world ends."""
        runner = web.ServerRunner(web.Server(self.handle), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "service", 80).start()
        events = asyncio.create_task(deliver(self.server, self.story))
        await self.stopped.wait()
        events.cancel()
        await asyncio.wait([events])
        await runner.cleanup()


def reset(request: web.BaseRequest) -> None:
    """Reset a simulated connection; its ``abort`` would look like a regular close."""
    transport: Any = request.transport
    if transport is None:
        return
    peer = transport._peer
    if peer is not None and not peer._closed:
        asyncio.get_running_loop().call_soon(peer._reset_by_peer, context=peer._host_ctx)
    transport._force_close(None)


def hosted(world: simloom.World, service: SimulatedService) -> simloom.Host:
    """Run the service on a separate host."""
    host = world.host("service")
    host.spawn(service.run)
    return host


__all__ = ["BASE_URL", "SimulatedService", "hosted", "reset"]
