"""``Sandbox``: two web servers over one service, on the running loop or in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

import attrs
from aiohttp import web
from anyio.from_thread import start_blocking_portal

from .certificates import make_certificate, require_trustme
from .faults import Faults
from .kinds.declared_kind import DeclaredKind
from .locked_service import LockedService
from .object_store import AuthLeak
from .replay import Replay
from .results.maker import MediaBackend, MediaBackendChoice
from .simulated_task import Durations
from .views import LedgerView, TaskView, view_tasks
from .web.api import ApiHandler
from .web.control import CONTROL_PREFIX, ControlRoutes
from .web.responses import WebHandler, ignore_disconnects, serve_browsers, with_prefixes
from .web.storage import STORAGE_PREFIXES, StorageHandler
from .web.webhooks import Delivery, WebhookSender

API_KEY: Final = "sandbox-key"
"""The default token of a sandbox."""


@attrs.define(slots=True, kw_only=True, eq=False)
class Sandbox:
    """The A2E service on this machine: the same routes and quirks, without coins.

    ``async with`` runs it on the running event loop. ``with`` runs it in its own thread, for
    synchronous code and for any event loop. All attributes can be read from any thread. A sandbox
    runs only once.
    """

    speed: float = 60.0
    """How many times faster than real time tasks progress."""

    seed: int | None = None
    """Makes ids and durations reproducible; None for random ones."""

    port: int = 0
    """The API port; 0 for a free one. The storage server always uses a free port."""

    host: str = "127.0.0.1"
    api_key: str = API_KEY
    balance: int = 100_000
    """The initial balance in coins; ``ledger.balance`` is what is left."""

    durations: Durations | None = None
    """Service seconds from start to end, by kind: a number, a range, or a function of a
    ``random.Random``. Other kinds take their usual time."""

    failure_rate: float = 0.0
    """The share of tasks that fail by themselves, 0 to 1."""

    result_life: float = 3 * 86400.0
    """Service seconds for which a signed result URL works."""

    rate_limit: float | tuple[float, float] | None = None
    """Requests per real second, or a tuple of that and the burst; None for no limit."""

    deliver_webhooks: bool = False
    """Whether webhooks go to any address. To this machine they always do, over http too."""

    webhook_verify: bool = True
    """Whether the certificate of a webhook receiver is checked."""

    make_results: MediaBackendChoice = "auto"
    """``pyav`` makes results from the real inputs, ``stdlib`` from the samples in `media`."""

    kinds: Iterable[DeclaredKind] | str | os.PathLike[str] | None = None
    """Kinds of your own, as given to `A2E`: a list of declarations, or a TOML file with them. They
    behave as declared; a task costs 10 coins."""

    replay: str | os.PathLike[str] | None = None
    """A report of ``a2e verify`` whose shapes all responses have: fields, types, status words,
    HTTP statuses and headers."""

    clock: Callable[[], float] = time.monotonic
    epoch: float | None = None
    """The calendar time at the start, in seconds since 1970; None for now."""

    tls: bool = False
    """Whether both servers serve https, with a new certificate of the authority in `ca_file`."""

    public_url: str | None = None
    """The URL under which clients reach the sandbox through a proxy or a tunnel, which forwards to
    `local_url`. All URLs in responses begin with it, uploads and results use the port of the API,
    and the control routes are off."""

    base_url: str = attrs.field(init=False, default="")
    """The API's base URL; empty until the sandbox runs."""

    storage_url: str = attrs.field(init=False, default="")
    """The base URL of uploads and results; another origin than the API, unless there is a public
    URL."""

    local_url: str = attrs.field(init=False, default="")
    """The base URL of the API on this machine; `base_url` unless there is a public URL."""

    ca_file: Path | None = attrs.field(init=False, default=None)
    """With ``tls``, the certificate that clients must trust (PEM), while the sandbox runs."""

    _replay: Replay | None = attrs.field(init=False, default=None, repr=False)
    _locked: LockedService = attrs.field(init=False, repr=False)
    _pool: ThreadPoolExecutor | None = attrs.field(init=False, default=None, repr=False)
    _runners: list[web.ServerRunner] = attrs.field(
        init=False, factory=list[web.ServerRunner], repr=False
    )
    _webhooks: WebhookSender | None = attrs.field(init=False, default=None, repr=False)
    _webhook_sender_task: asyncio.Task[None] | None = attrs.field(
        init=False, default=None, repr=False
    )
    _in_thread: contextlib.ExitStack = attrs.field(init=False, repr=False)
    """Stops both servers and ends their thread; set by ``__enter__``."""

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.failure_rate <= 1:
            msg = "failure_rate must lie between 0 and 1"
            raise ValueError(msg)
        if self.public_url is not None:
            self.public_url = _checked_public_url(self.public_url)
        if self.tls:
            require_trustme()
        if self.replay is not None:
            self._replay = Replay.load(self.replay)
        self._locked = LockedService.create(
            source=self.clock,
            speed=self.speed,
            epoch=time.time() if self.epoch is None else self.epoch,
            seed=self.seed,
            balance=self.balance,
            durations=self.durations,
            failure_rate=self.failure_rate,
            result_life=self.result_life,
            make_results=self.make_results,
            webhooks=self.deliver_webhooks,
            kinds=_declared_kinds(self.kinds),
        )
        if self.rate_limit is not None:
            limit = self.rate_limit
            rate, burst = limit if isinstance(limit, tuple) else (limit, max(1.0, limit))
            self.faults.rate_limit(rate, burst)

    # What tests read

    @property
    def ledger(self) -> LedgerView:
        """What was charged: ``charges``, ``balance``, ``spent``, ``starts(kind)``."""
        return LedgerView(self._locked)

    @property
    def calls(self) -> Counter[tuple[str, str]]:
        """The number of API requests by role and kind ("" where there is none); a copy."""
        with self._locked.lock:
            return Counter(self._locked.service.calls)

    @property
    def calls_total(self) -> int:
        """The number of all API requests."""
        with self._locked.lock:
            return self._locked.service.calls.total()

    @property
    def transfers(self) -> Counter[str]:
        """The number of storage requests by role: ``upload``, ``result``, ``cdn``; a copy."""
        with self._locked.lock:
            return Counter(self._locked.transfers)

    @property
    def tasks(self) -> tuple[TaskView, ...]:
        """A view of every task that was not deleted, oldest first, as it is now."""
        return view_tasks(self._locked)

    @property
    def webhooks(self) -> tuple[Delivery, ...]:
        """Every webhook event so far, sent or held back by a fault; oldest first."""
        return tuple(self._webhooks.deliveries) if self._webhooks is not None else ()

    @property
    def leaks(self) -> tuple[AuthLeak, ...]:
        """Every request that carried an Authorization header to storage."""
        with self._locked.lock:
            return tuple(self._locked.leaks)

    @property
    def faults(self) -> Faults:
        """Injects faults into the following requests and tasks."""
        return self._locked.faults

    @property
    def results_made_with(self) -> MediaBackend:
        """The backend that makes result files: ``pyav`` or ``stdlib``."""
        return self._locked.maker.made_with

    def advance(self, seconds: float) -> None:
        """Move the service forward by this many service seconds, at once.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        self._locked.advance(seconds)

    # Running

    async def __aenter__(self) -> Sandbox:
        """Start both servers on the running loop."""
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop both servers; open connections are closed."""
        await self._stop()

    def __enter__(self) -> Sandbox:
        """Start both servers in their own thread."""
        with contextlib.ExitStack() as stack:
            portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(portal.wrap_async_context_manager(self))
            self._in_thread = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop both servers and end the thread."""
        self._in_thread.close()

    async def _start(self) -> None:
        if self._pool is not None:
            msg = "a Sandbox runs only once: create a new one"
            raise RuntimeError(msg)
        self._locked.open()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="a2e-sandbox")
        try:
            api = serve_browsers(ApiHandler(self._locked, self.api_key, self.clock, self._replay))
            storage = serve_browsers(StorageHandler(self._locked, self._pool))
            if self.tls:
                self.ca_file = self._locked.maker.directory / "ca.pem"
                tls = await asyncio.to_thread(
                    make_certificate, self._certificate_names(), self.ca_file
                )
            else:
                tls = None
            if self.public_url is not None:
                self.storage_url = self.public_url
                main = with_prefixes(api, dict.fromkeys(STORAGE_PREFIXES, storage))
            else:
                self.storage_url = await self._serve(storage, 0, tls)
                control = ControlRoutes(self._locked).handle
                main = with_prefixes(api, {CONTROL_PREFIX: control})
            with self._locked.lock:
                self._locked.service.store.base_url = self.storage_url
            self.local_url = await self._serve(main, self.port, tls)
            self.base_url = self.public_url or self.local_url
        except BaseException:
            await self._stop()
            raise
        self._webhooks = WebhookSender(self._locked, self.webhook_verify)
        self._webhook_sender_task = asyncio.create_task(
            self._webhooks.run(), name="a2e-sandbox webhooks"
        )

    def _certificate_names(self) -> Iterator[str]:
        yield from ("localhost", "127.0.0.1", "::1", self.host)
        if self.public_url is not None:
            yield urlsplit(self.public_url).hostname or ""

    async def _serve(self, handler: WebHandler, port: int, tls: ssl.SSLContext | None) -> str:
        server = web.Server(ignore_disconnects(handler), access_log=None)
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=0.05)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, self.host, port, ssl_context=tls).start()
        bound: int = runner.addresses[0][1]
        scheme = "http" if tls is None else "https"
        return f"{scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{bound}"

    async def _stop(self) -> None:
        if self._webhook_sender_task is not None:
            self._webhook_sender_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._webhook_sender_task
        while self._runners:
            await self._runners.pop().cleanup()
        if self._pool is not None:
            await asyncio.to_thread(self._pool.shutdown)
        self._locked.close()


def _checked_public_url(url: str) -> str:
    """Return a usable public URL without the slash at its end."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or not url.isascii() or not url.isprintable() or set(url) & set("?#@ "):
        msg = "The public URL must be an http or https URL: host, port and path only."
        raise ValueError(msg)
    return url.rstrip("/")


def _declared_kinds(
    given: Iterable[DeclaredKind] | str | os.PathLike[str] | None,
) -> tuple[DeclaredKind, ...]:
    """Return the declared kinds. Raises like `A2E` for those that it refuses."""
    if given is None:
        return ()
    # The only import of the package that the sandbox simulates a service for: declarations are
    # read and checked by one function, so that a test refuses what the client refuses.
    from a2e_async.kinds.registry import registry_of

    declared: tuple[DeclaredKind, ...] = tuple(registry_of(given).declared.values())
    return declared
