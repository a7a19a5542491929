"""Checks of the connection to the service: DNS, TCP, TLS, and the service's clock."""

import asyncio
import contextlib
import socket
import ssl
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from a2e_async._core.http.call import proxy_setting
from a2e_async._core.http.error_mapping import certificate_file_advice
from a2e_async.cli.doctor.finding import Finding, Level
from a2e_async.cli.printer import one_line

STEP_TIMEOUT = 10.0
"""Seconds that each check may take."""

MAX_SKEW = 60.0
"""Seconds that the clocks may differ without a warning."""


async def check_connection(url: str, *, by_proxy: bool) -> list[Finding]:
    """Check DNS, TCP and TLS in turn, up to the first failure.

    Behind a proxy a failure is only a warning: the proxy makes the connection.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    level: Level = "warn" if by_proxy else "bad"
    proxy_note = "not needed if the proxy can connect" if by_proxy else ""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(STEP_TIMEOUT):
            resolved = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        fix = proxy_note or "check the address and your network"
        return [Finding(level, "DNS", f"{host} has no address: {_reason(error)}", fix)]
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in resolved))
    findings = [Finding("ok", "DNS", f"{host} is {', '.join(addresses[:3])}")]
    try:
        began = time.monotonic()
        await _connect(host, port, None)
    except OSError as error:
        fix = proxy_note or "check firewall and address"
        return [*findings, Finding(level, "TCP", f"port {port}: {_reason(error)}", fix)]
    milliseconds = (time.monotonic() - began) * 1000
    findings.append(Finding("ok", "TCP", f"connected to port {port} in {milliseconds:.0f} ms"))
    if parts.scheme != "https":
        return [*findings, Finding("ok", "TLS", "not used: http in this network")]
    try:
        version = await _connect(host, port, ssl.create_default_context())
    except OSError as error:
        fix = proxy_note or "check the clock, the certificates of this machine, and for a proxy"
        if isinstance(error, ssl.SSLError) and (advice := certificate_file_advice()):
            fix = f"{fix}.{advice}"
        return [*findings, Finding(level, "TLS", _reason(error), fix)]
    return [*findings, Finding("ok", "TLS", version)]


async def clock(url: str) -> Finding:
    """Compare this machine's clock with the service's Date header. Sends no API key."""
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=STEP_TIMEOUT)
    try:
        async with (
            # Not trust_env: it would send a netrc file's credentials for this host.
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, allow_redirects=False, proxy=proxy_setting(url)) as response,
        ):
            date = response.headers.get("Date")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Finding("warn", "clock", f"no response to compare with: {_reason(error)}")
    try:
        skew = time.time() - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return Finding("warn", "clock", "the response has no time to compare with")
    if abs(skew) <= MAX_SKEW:
        return Finding("ok", "clock", f"within {max(1, round(abs(skew)))} s of the service's")
    direction = "ahead of" if skew > 0 else "behind"
    fix = "set the clock; expiry of results and recovery of lost starts depend on it"
    return Finding("warn", "clock", f"{abs(skew):.0f} s {direction} the service's", fix)


async def _connect(host: str, port: int, context: ssl.SSLContext | None) -> str:
    async with asyncio.timeout(STEP_TIMEOUT):
        _, writer = await asyncio.open_connection(host, port, ssl=context)
    secured = writer.get_extra_info("ssl_object")
    version = str(secured.version()) if secured is not None else ""
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            await writer.wait_closed()
    return version


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no response within {STEP_TIMEOUT:.0f} s"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return one_line(str(text))
