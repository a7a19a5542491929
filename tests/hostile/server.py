"""`HostileServer`: the service's operations, its ledger, and faults added by tests."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Any, Self

import aiohttp
from aiohttp import web

from .faults import Faults, OrderedFault, Step
from .kinds import Kind
from .ledger import AcceptedStart, Ledger
from .reply import Reply, json_reply, send
from .routes import CALL_DATA, Route, find_route
from .storage import Storage, read_json
from .tasks import Behaviour, RemoteTask, render


class HostileServer:
    """A service for tests: ``async with HostileServer() as server: … server.base_url``.

    ``ledger`` lists everything it accepted. ``faults`` affect single requests, ``behaviour``
    applies all the time. Simulations can serve ``handle`` with any aiohttp server and replace the
    clock with ``wall``.
    """

    def __init__(self, *, base_url: str = "", wall: Callable[[], float] | None = None) -> None:
        self.base_url = base_url
        self.ledger = Ledger()
        self.faults = Faults()
        self.behaviour = Behaviour()
        self.storage = Storage()
        self.tasks: dict[str, RemoteTask] = {}
        self.requests: Counter[tuple[Step, str]] = Counter()
        """Requests that arrived, by step and kind."""
        self.keys_at_storage: list[str] = []
        """Paths of requests that sent the API key to a place that must not get it."""
        self.unknown_requests: list[str] = []
        self._wall = wall or time.time
        self._id_count = 0
        self._late: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[Any]] = set()
        self._runner: web.ServerRunner | None = None

    # -- its life --------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._runner = web.ServerRunner(
            web.Server(self.handle), shutdown_timeout=0, access_log=None
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.base_url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self._late, *self._answering):
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    # -- for tests -------------------------------------------------------------------------------

    def now(self) -> float:
        """Return the loop time in seconds, the clock of all tasks."""
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        """Return the service's own clock, in seconds since 1970."""
        return self._wall() + self.behaviour.clock_skew

    def count(self, step: Step, kind: str | None = None) -> int:
        """Return how many requests of a step arrived."""
        return sum(n for (s, k), n in self.requests.items() if s is step and kind in (None, k))

    def finish(self, *ids: str) -> None:
        """Finish these tasks now; without arguments, all of them."""
        for id in ids or self.tasks:
            self.tasks[id].ends_at = min(self.tasks[id].ends_at, self.now())

    def accept(self, kind: Kind, body: Mapping[str, Any], account: str = "") -> list[RemoteTask]:
        """Accept a start as if it had been requested; it is added to the ledger."""
        made = [self._new_task(kind, body, account) for _ in range(kind.ordered(body))]
        coins = self.behaviour.coins
        self.ledger.starts.append(
            AcceptedStart(
                at=self.now(),
                kind=kind.kind,
                body=dict(body),
                ids=tuple(task.id for task in made),
                coins=coins * len(made) if isinstance(coins, int) else 0,
                account=account,
            )
        )
        return made

    async def deliver_webhooks(
        self, session: aiohttp.ClientSession, *, copies: int = 1, lose: bool = False
    ) -> int:
        """Send the events of tasks that ended since the last call; return their number.

        Makes one attempt each, like the service. ``lose`` drops events, ``copies`` repeats them.
        """
        due = [t for t in self.tasks.values() if t.ended(self.now()) and not t.event_sent]
        for task in due:
            task.event_sent = True
            url = task.body.get("webhook_url")
            if not isinstance(url, str) or lose:
                continue
            event = "task.failed" if task.fails else "task.completed"
            for _ in range(copies):
                try:
                    async with session.post(
                        url,
                        json={"event": event, "data": {"_id": task.id}},
                        headers={"X-A2e-Webhook-Token": str(task.body.get("webhook_token", ""))},
                    ):
                        pass
                except (aiohttp.ClientError, TimeoutError):
                    pass  # like the service: one attempt, errors are ignored
        return len(due)

    # -- requests --------------------------------------------------------------------------------

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Respond to any request. Slow responses are cancelled when the server is closed."""
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        try:
            return await self._handle(request)
        finally:
            self._answering.discard(task)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        content = await request.content.read()
        if request.path.startswith(("/files/", "/uploads/", "/cdn/")):
            step = Step.UPLOAD if request.method == "PUT" else Step.FILE
            if "Authorization" in request.headers:
                self.keys_at_storage.append(request.path)
            self.requests[step, ""] += 1
            reply = self._stored(request, content)
            if (ordered := self.faults.next(step, None)) is not None:
                reply = ordered.fault.change(reply)
            return await self._send(request, reply)
        route = find_route(request.method, request.path, request.query)
        if route is None:
            self.unknown_requests.append(f"{request.method} {request.path}")
            return await self._send(
                request, json_reply(None, code=404, status=404, message="no such operation")
            )
        name = route.kind.kind if route.kind else route.name
        self.requests[route.step, name] += 1
        ordered = self.faults.next(route.step, name)
        reply = self._answer(request, route, read_json(content), ordered)
        if ordered is not None:
            reply = ordered.fault.change(reply)
        return await self._send(request, reply)

    async def _send(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        date = formatdate(self.wall(), usegmt=True) if self.behaviour.sends_date else None
        return await send(request, reply, date)

    def _answer(
        self,
        request: web.BaseRequest,
        route: Route,
        body: Mapping[str, Any],
        ordered: OrderedFault | None,
    ) -> Reply:
        """Return the correct response. A paid request is accepted unless the fault prevents it."""
        account = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if route.step in (Step.START, Step.CHARGED, Step.PRESIGN):
            if ordered is not None and not ordered.accepts:
                if ordered.accept_late is not None:
                    self._accept_later(ordered.accept_late, route, body, account)
                return json_reply(None, code=503, status=503, message="not accepted")
            return json_reply(self._accept(route, body, account))
        if route.kind is None:
            return json_reply(self._own(route, request.query, body))
        if route.step in (Step.DETAIL, Step.DELETE):
            return self._one(route.step, route.kind, route.id or body.get("_id"), account)
        if route.step is Step.BATCH_DETAIL:
            return self._many(route.kind, body.get("ids"), account)
        return json_reply(self._list(route, request.query, account))

    # -- paid requests ---------------------------------------------------------------------------

    def _accept(self, route: Route, body: Mapping[str, Any], account: str) -> Any:
        if route.kind is not None:
            rows = [self._row(task) for task in self.accept(route.kind, body, account)]
            return rows if route.kind.start_answers_list or len(rows) > 1 else rows[0]
        self.ledger.starts.append(
            AcceptedStart(at=self.now(), kind=route.name, body=dict(body), coins=1, account=account)
        )
        if route.step is Step.PRESIGN:
            return self.storage.presign(body, self.base_url)
        if route.name in CALL_DATA:
            return CALL_DATA[route.name]
        return f"{self.base_url}/cdn/{route.name}-{len(self.ledger)}.wav"

    def _accept_later(
        self, seconds: float, route: Route, body: Mapping[str, Any], account: str
    ) -> None:
        async def later() -> None:
            await asyncio.sleep(seconds)
            self._accept(route, body, account)

        task = asyncio.get_running_loop().create_task(later())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    def _new_id(self) -> str:
        """Return an id of 24 hex digits that begins with the creation time."""
        self._id_count += 1
        return f"{int(self.wall()):08x}{self._id_count:016x}"

    def _new_task(self, kind: Kind, body: Mapping[str, Any], account: str) -> RemoteTask:
        now, behaviour = self.now(), self.behaviour
        task = RemoteTask(
            id=self._new_id(),
            kind=kind,
            body=dict(body),
            account=account,
            accepted_at=now,
            stamp=self.wall(),
            ends_at=now + behaviour.duration,
            fails=behaviour.fails(body),
            failure=behaviour.failure,
        )
        if behaviour.vanish is not None:
            begin, end = behaviour.vanish(task)
            task.hidden = now + begin, now + end
        self.tasks[task.id] = task
        return task

    # -- records ---------------------------------------------------------------------------------

    def _row(self, task: RemoteTask, *, stale: bool = False) -> dict[str, Any]:
        return render(task, self.behaviour, self.now(), self.base_url, stale=stale)

    def _shown(self, task: RemoteTask | None, kind: Kind, account: str, lag: float) -> bool:
        """Return whether an operation shows a task to an account now."""
        if task is None or task.deleted or task.kind is not kind or task.account != account:
            return False
        begin, end = task.hidden
        return self.now() >= task.accepted_at + lag and not begin <= self.now() < end

    def _one(self, step: Step, kind: Kind, id: Any, account: str) -> Reply:
        task = self.tasks.get(str(id))
        if task is None or not self._shown(task, kind, account, self.behaviour.detail_lag):
            return json_reply(None, code=404, status=404, message="record not found")
        if step is Step.DELETE:
            task.deleted = True
            return json_reply(None)
        return json_reply(self._row(task))

    def _many(self, kind: Kind, ids: Any, account: str) -> Reply:
        wanted = ids if isinstance(ids, list) else []
        if len(wanted) > self.behaviour.batch_limit:
            return json_reply(None, code=400, status=400, message="too many ids")
        lag = self.behaviour.detail_lag
        found = [
            task
            for id in sorted(map(str, wanted), reverse=True)
            if (task := self.tasks.get(id)) is not None and self._shown(task, kind, account, lag)
        ]
        rows = [self._row(task) for task in found]
        if self.behaviour.stale_duplicates:
            rows += [self._row(task, stale=True) for task in found]
        return json_reply(rows)

    def _list(self, route: Route, query: Mapping[str, str], account: str) -> Any:
        kind, behaviour = route.kind, self.behaviour
        assert kind is not None
        tasks = [
            task
            for task in reversed(self.tasks.values())
            if self._shown(task, kind, account, behaviour.list_lag)
        ]
        if route.step is Step.PROCESSING:
            tasks = [task for task in tasks if not task.ended(self.now())]
        elif kind.kind == "voice_clone":  # its list contains only finished ones
            tasks = [task for task in tasks if task.ended(self.now())]
        rows: list[Any] = [self._row(task) for task in tasks]
        if behaviour.repeats_rows:
            rows = [row for row in rows for _ in range(2)]
        rows[1:1] = behaviour.odd_rows
        full = len(rows)
        if route.step is Step.LIST and kind.paging is not None:
            rows = self._page(rows, query, kind.paging)
        if behaviour.list_shape is not None:
            return behaviour.list_shape(rows, full)
        if kind.paging is None or route.step is Step.PROCESSING:
            return rows
        return {kind.rows_key: rows} | ({"count": full} if behaviour.counts else {})

    def _page(self, rows: list[Any], query: Mapping[str, str], names: tuple[str, str]) -> list[Any]:
        number, size = (_number(query.get(name)) for name in names)
        size = min(size or 10, self.behaviour.page_limit or 1000)
        begin = 0 if self.behaviour.ignores_paging else ((number or 1) - 1) * size
        return rows[max(0, begin - self.behaviour.page_overlap if begin else 0) : begin + size]

    # -- all else --------------------------------------------------------------------------------

    def _quote(self, body: Mapping[str, Any]) -> Any:
        """Return the actual price of a start."""
        path = str(body.get("endpoint", "")).removeprefix("POST ")
        wanted, inputs = find_route("POST", path, {}), body.get("requestBody")
        kind = wanted.kind if wanted else None
        count = kind.ordered(inputs) if kind and isinstance(inputs, dict) else 1
        coins = self.behaviour.coins
        return {"coins": coins * count if isinstance(coins, int) else coins}

    def _own(self, route: Route, query: Mapping[str, str], body: Mapping[str, Any]) -> Any:
        if route.name == "quote":
            return self.behaviour.quote or self._quote(body)
        if route.name == "balance":
            return {"coins": 100_000 - self.ledger.coins}
        rows = [
            {"_id": f"{n:024x}", "amount": -start.coins, "is_consumption": True}
            for n, start in enumerate(reversed(self.ledger.starts))
        ]
        page = self._page(rows, query, ("pageNum", "pageSize"))
        return {"rows": page} | ({"count": len(rows)} if self.behaviour.counts else {})

    def _stored(self, request: web.BaseRequest, content: bytes) -> Reply:
        place, _, key = request.path.removeprefix("/").partition("/")
        if place == "uploads":
            kind = request.headers.get("Content-Type", "")
            return self.storage.put(key, content, kind)
        if place == "cdn":
            return self.storage.uploaded(key)
        task = self.tasks.get(key.partition(".")[0])
        if task is None:
            return Reply(status=404, headers={"Content-Type": "application/xml"}, body=b"<Error/>")
        return self.storage.result(task, request.query.get("X-Amz-Signature", ""), request.headers)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
