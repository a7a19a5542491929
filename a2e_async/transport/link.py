"""The one aiohttp session of a client: made on first use, bound to its loop and process."""

import asyncio
import os
from collections.abc import Mapping
from typing import Final

import aiohttp

from a2e_async.errors import ConfigurationError
from a2e_async.transport.loops import closed_error, forked, wrong_loop
from a2e_async.transport.wire import MarkedRequest, check_proxy, environment_proxy

KEEPALIVE: Final = 4.0
"""Seconds an idle connection is kept.

Below the 5 s after which common servers close theirs: a start written to a connection that
the server is just closing has an unknown outcome. Longer than a poller's tick (2 s).
"""

_generation = 0

# Sessions of the parent process that a forked child has closed. They must not be collected:
# that would shut down sockets, and entries of the selector, which the parent still uses.
_orphans: list[aiohttp.ClientSession] = []


def _forked() -> None:
    global _generation
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Link:
    """Gives out the aiohttp session to who may use it. Made without I/O and without a loop."""

    def __init__(
        self, base_url: str, headers: Mapping[str, str], *, trust_env: bool, proxy: str | None
    ) -> None:
        self.closed = False
        self.time = _loop_time
        self._base = base_url
        self._headers = headers
        self._trust_env = trust_env
        self._proxy = None if proxy is None else check_proxy(proxy)
        self._http: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._made_in = 0

    def http(self) -> aiohttp.ClientSession:
        """Return the session, made now if there is none.

        Raises `ClientClosed`, or `ConfigurationError` on another loop or in a forked process.
        """
        http = self._http
        if (
            http is not None
            and asyncio.get_running_loop() is self._loop
            and self._made_in == _generation
        ):
            return http
        if self.closed:
            raise closed_error()
        if http is None:
            return self._open()
        if self._made_in != _generation:
            raise forked()
        raise wrong_loop()

    def close(self) -> aiohttp.ClientSession | None:
        """Give out nothing more; return the session that is to be closed, if there is one.

        Raises `ConfigurationError` while another loop runs that used it.
        """
        http = self._http
        mine = self._made_in == _generation
        if http is not None and mine and self._loop is not asyncio.get_running_loop():
            if self._loop is not None and not self._loop.is_closed():
                raise ConfigurationError("Close the client on the event loop it was used on.")
            http.detach()
            http = None
        elif http is not None and not mine:
            _orphans.append(http)
            http = None
        self.closed, self._http = True, None
        return http

    def _open(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        proxy: str | None = self._proxy
        if proxy is None and self._trust_env:
            proxy = environment_proxy(self._base)
        self._http = aiohttp.ClientSession(
            # No limit here: aiohttp's own queue is unfair, so the client's gate stands before it.
            # The threaded resolver is the system's; aiodns, where installed, fails in containers.
            connector=aiohttp.TCPConnector(
                limit=0, resolver=aiohttp.ThreadedResolver(), keepalive_timeout=KEEPALIVE
            ),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=MarkedRequest,
            proxy=proxy,
        )
        self._loop, self.time, self._made_in = loop, loop.time, _generation
        return self._http


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
