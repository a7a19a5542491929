"""Hold a client's aiohttp session: created on first use, bound to one event loop and process."""

import asyncio
import os
from collections.abc import Mapping
from typing import Final

import aiohttp

from a2e_async._core.http.call import TrackedRequest, check_proxy, environment_proxy
from a2e_async._core.http.loop_affinity import closed_error, forked_process_error, wrong_loop_error
from a2e_async.errors import ConfigurationError

KEEPALIVE_SECONDS: Final = 4.0
"""Seconds for which an idle connection is kept.

Shorter than the 5 s after which common servers close idle connections: a start request written to
a connection that the server is closing has an unknown outcome. Longer than the poller's tick
(2 s), so that polls reuse their connections.
"""

_fork_generation = 0

# Sessions of the parent process, closed by a forked child. They must never be garbage-collected:
# that would shut down sockets and selector entries that the parent still uses.
_orphans: list[aiohttp.ClientSession] = []


def _count_fork() -> None:
    global _fork_generation
    _fork_generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class SessionHolder:
    """Creates, hands out and closes the aiohttp session. Constructed without I/O or a loop."""

    def __init__(
        self, base_url: str, headers: Mapping[str, str], *, trust_env: bool, proxy: str | None
    ) -> None:
        self.closed = False
        self.time = _loop_time
        self._base = base_url
        self._headers = headers
        self._trust_env = trust_env
        self._proxy = None if proxy is None else check_proxy(proxy)
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened_generation = 0

    def get_session(self) -> aiohttp.ClientSession:
        """Return the session; create it on first use.

        Raises `ClientClosed`, or `ConfigurationError` on another event loop or in a forked process.
        """
        http = self._session
        if (
            http is not None
            and asyncio.get_running_loop() is self._loop
            and self._opened_generation == _fork_generation
        ):
            return http
        if self.closed:
            raise closed_error()
        if http is None:
            return self._open()
        if self._opened_generation != _fork_generation:
            raise forked_process_error()
        raise wrong_loop_error()

    def close(self) -> aiohttp.ClientSession | None:
        """Stop handing out the session; return it for the caller to close, or None.

        Raises `ConfigurationError` if the session belongs to another loop that is still open.
        """
        http = self._session
        mine = self._opened_generation == _fork_generation
        if http is not None and mine and self._loop is not asyncio.get_running_loop():
            if self._loop is not None and not self._loop.is_closed():
                raise ConfigurationError("Close the client on the event loop it was used on.")
            http.detach()  # its loop is closed: nothing could be awaited on it
            http = None
        elif http is not None and not mine:
            _orphans.append(http)
            http = None
        self.closed, self._session = True, None
        return http

    def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        proxy: str | None = self._proxy
        if proxy is None and self._trust_env:
            proxy = environment_proxy(self._base)
        self._session = aiohttp.ClientSession(
            # No limit here: aiohttp's own queue is unfair, so ConnectionLimiter does the limiting.
            # ThreadedResolver uses the system's resolver; aiodns, if installed, fails in some
            # containers.
            connector=aiohttp.TCPConnector(
                limit=0, resolver=aiohttp.ThreadedResolver(), keepalive_timeout=KEEPALIVE_SECONDS
            ),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=TrackedRequest,
            proxy=proxy,
        )
        self._loop, self.time, self._opened_generation = loop, loop.time, _fork_generation
        return self._session


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
