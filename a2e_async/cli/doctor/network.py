"""The way to the service, step by step: name, connection, TLS, an answer and its clock."""

import asyncio
import contextlib
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from a2e_async.cli.doctor.findings import Finding, Level
from a2e_async.cli.printer import one_line
from a2e_async.transport.wire import proxy_setting

STEP = 10.0
"""Seconds that each step may take."""

SKEW = 60.0
"""Seconds that the clocks may differ before it is worth a word."""


async def reach(url: str, *, by_proxy: bool) -> list[Finding]:
    """Try DNS, TCP and TLS, as far as they lead. Behind a proxy they need not work from here."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    level: Level = "warn" if by_proxy else "bad"
    aside = "not needed if the proxy reaches it" if by_proxy else ""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(STEP):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        mend = aside or "check the address and your network"
        return [Finding(level, "DNS", f"{host} has no address: {_why(error)}", mend)]
    numbers = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    told = [Finding("ok", "DNS", f"{host} is {', '.join(numbers[:3])}")]
    try:
        began = time.monotonic()
        await _connect(host, port, None)
    except OSError as error:
        mend = aside or "check firewall and address"
        return [*told, Finding(level, "TCP", f"port {port}: {_why(error)}", mend)]
    took = (time.monotonic() - began) * 1000
    told.append(Finding("ok", "TCP", f"port {port} answers in {took:.0f} ms"))
    if parts.scheme != "https":
        return [*told, Finding("ok", "TLS", "none; http within this network")]
    try:
        version = await _connect(host, port, ssl.create_default_context())
    except OSError as error:
        mend = aside or "check the clock, the certificates of this machine, and for a proxy between"
        return [*told, Finding(level, "TLS", _why(error), mend)]
    return [*told, Finding("ok", "TLS", version)]


async def clock(url: str) -> Finding:
    """Compare this machine's clock with the service's (its Date header; sent without a key)."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=STEP)
    try:
        async with (
            # Not trust_env: it would send what a netrc file holds for this host.
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False, proxy=proxy_setting(url)) as answer,
        ):
            said = answer.headers.get("Date")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Finding("warn", "clock", f"no answer to compare with: {_why(error)}")
    try:
        away = time.time() - parsedate_to_datetime(said or "").timestamp()
    except ValueError:
        return Finding("warn", "clock", "the service gave no time to compare with")
    if abs(away) <= SKEW:
        return Finding("ok", "clock", f"within {max(1, round(abs(away)))} s of the service's")
    way = "ahead of" if away > 0 else "behind"
    mend = "set the clock; expiry of results and recovery of lost starts depend on it"
    return Finding("warn", "clock", f"{abs(away):.0f} s {way} the service's", mend)


async def _connect(host: str, port: int, context: ssl.SSLContext | None) -> str:
    async with asyncio.timeout(STEP):
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    secured = writer.get_extra_info("ssl_object")
    version = str(secured.version()) if secured is not None else ""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await writer.wait_closed()
    return version


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing within {STEP:.0f} s"
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return one_line(str(said))
