"""Hold a client's aiohttp session: created on first use, bound to one event loop and process."""

import asyncio
import warnings
from collections.abc import Mapping
from typing import Final

import aiohttp

from a2e_async._core.http.call import TrackedRequest, check_proxy, environment_proxy
from a2e_async._core.http.loop_affinity import LoopAffinity, closed_error

KEEPALIVE_SECONDS: Final = 4.0
"""Seconds for which an idle connection is kept.

Shorter than the 5 s after which common servers close idle connections: a start request written to
a connection that the server is closing has an unknown outcome. Longer than the poller's tick
(2 s), so that polls reuse their connections.
"""

# Sessions of the parent process, closed by a forked child. They must never be garbage-collected:
# that would shut down sockets and selector entries that the parent still uses.
_orphans: list[aiohttp.ClientSession] = []


class SessionHolder:
    """Creates, hands out and closes the aiohttp session. Constructed without I/O or a loop.

    Created and closed by the `ApiSession`; changed on the client's event loop only.
    """

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
        self._loop_affinity = LoopAffinity()

    def __del__(self) -> None:
        session = self._session
        if session is not None and not (self.closed or session.closed):
            # aiohttp reports its own objects as well, which its users have never seen.
            warnings.warn(
                "This A2E client was not closed. Use it as `async with A2E() as a2e:`, or end with "
                "`await a2e.aclose()`.",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )

    def get_session(self) -> aiohttp.ClientSession:
        """Return the session; create it on first use.

        Raises `ClientClosed`, or `ConfigurationError` on another event loop or in a forked process.
        """
        if self.closed:
            raise closed_error()
        session = self._open() if self._session is None else self._session
        self._loop_affinity.check()
        return session

    def close(self) -> aiohttp.ClientSession | None:
        """Stop handing out the session; return it for the caller to close, or None.

        Raises `ConfigurationError` if the session belongs to another loop that is still open.
        """
        http, affinity = self._session, self._loop_affinity
        if http is not None and affinity.is_parents():
            _orphans.append(http)
            http = None
        elif http is not None and affinity.loop_is_gone():
            http.detach()  # its loop is closed: nothing could be awaited on it
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
        self.time = loop.time
        return self._session


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
