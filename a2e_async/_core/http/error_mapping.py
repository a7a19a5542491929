"""The error for each exception of an attempt, without what its attributes and frames reveal.

`error_classes` chooses the class for a response of the API; here is what fails without one.
"""

import os
import ssl
from pathlib import Path
from typing import Any, Final

import aiohttp

from a2e_async._core.base_errors import without_frames
from a2e_async._core.http.call import ApiCall, ResponseTooLarge
from a2e_async._core.http.envelope import MAYBE_CHARGED_ADVICE
from a2e_async._core.http.retry import RetrySafety
from a2e_async._core.redact import Secret, excerpt, may_reveal
from a2e_async.errors import (
    A2EError,
    ConfigurationError,
    ConnectError,
    ConnectionLost,
    DecodeError,
    RateLimited,
    ResponseTimeout,
)

_REVEALING_ERRORS: Final = (
    aiohttp.ClientResponseError,
    aiohttp.ClientConnectorError,
    aiohttp.InvalidURL,
)
"""Exceptions whose attributes hold the request or the proxy."""


def map_exception(
    raw: Exception, call: ApiCall, *, host: str, secret: Secret, elapsed: float
) -> A2EError:
    """Return our error for an exception that aiohttp raised during an attempt of ``call``."""
    where = f"{call.method} {call.path}"
    why = excerpt(str(raw), secret) or type(raw).__name__
    attempts = "1 attempt" if call.attempt == 1 else f"{call.attempt} attempts"
    tries = f"after {attempts} in {elapsed:.1f} s"
    advice_after = (
        MAYBE_CHARGED_ADVICE
        if call.retry_safety is RetrySafety.CHARGED
        else "It is safe to call again."
    )
    fields: dict[str, Any] = {
        "method": call.method,
        "path": call.path,
        "sent": call.send_count > 0,
        "attempts": call.attempt,
    }
    status = call.status or 0
    error: A2EError
    if isinstance(raw, ResponseTooLarge):
        call.never_retry = True
        error = _decode_error(
            call,
            f"{where}: the response of {host} is larger than {call.max_bytes} bytes and was not "
            "read. Request fewer records at once.",
            status,
        )
    elif isinstance(raw, aiohttp.InvalidURL):
        error = ConfigurationError(f"{where}: the URL or the proxy cannot be used ({why}).")
    elif not call.send_count:
        advice = "Check the network, the proxy and base_url."
        if isinstance(raw, aiohttp.ClientSSLError):
            call.never_retry = True
            advice = (
                "This machine did not accept its TLS certificate or protocol version."
                f"{certificate_file_advice()}"
            )
        error = ConnectError(
            f"{where}: {host} could not be reached {tries} ({why}). The request was not sent. "
            f"{advice}",
            **fields,
        )
    elif isinstance(raw, TimeoutError):
        error = ResponseTimeout(
            f"{where}: {host} sent no complete response within the timeout, {tries}. "
            f"{advice_after}",
            **fields,
        )
    elif isinstance(raw, aiohttp.ClientResponseError):
        # Not str(raw): it contains the URL with its query.
        reason = excerpt(raw.message, secret, 200)
        text = f"{where}: {host} sent an invalid HTTP response, {tries} ({reason}). {advice_after}"
        error = _decode_error(call, text, status or raw.status)
    else:
        error = ConnectionLost(
            f"{where}: the connection to {host} was lost before the response was complete, {tries} "
            f"({why}). {advice_after}",
            **fields,
        )
    error.__cause__ = sanitize_cause(raw, secret)
    return error


def certificate_file_advice() -> str:
    """Return a sentence if the environment names the certificates that are trusted, else ``""``.

    OpenSSL ignores a file that it cannot read, and then trusts no certificate at all.
    """
    found: list[str] = []
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = os.environ.get(variable)
        if not path:
            continue
        what = "which is trusted instead of this machine's certificates"
        if not Path(path).exists():
            what = "which does not exist"
        elif variable == "SSL_CERT_FILE":
            try:
                ssl.create_default_context(cafile=path)
            except OSError:  # also `ssl.SSLError`
                what = "which is no file of certificates"
        found.append(f" {variable} names {path}, {what}: correct or unset it.")
    return "".join(found)


def rate_limit_pause_error(call: ApiCall, seconds: float) -> RateLimited:
    """Return the error for a rate-limit pause that is longer than ``call`` may wait."""
    error = RateLimited(
        http_status=429,
        code=None,
        message=f"the service asked for a pause; this client holds for another {seconds:.1f} s",
        trace_id=None,
        method=call.method,
        path=call.path,
        attempts=call.attempt - 1,
        advice="That is longer than this call may wait. It was not sent; try again later.",
        retry_after=seconds,
    )
    error.__cause__ = call.last_error
    return error


def deadline_error(call: ApiCall) -> A2EError:
    """Return the error for a deadline that passed before the next attempt was sent."""
    if call.last_error is not None:
        return call.last_error
    return ConnectError(
        f"{call.method} {call.path}: the deadline passed while the call waited for this client's "
        "rate limit and connections. It was not sent. Use a longer timeout, or raise rate and "
        "max_connections.",
        method=call.method,
        path=call.path,
        sent=False,
        attempts=call.attempt - 1,
    )


def _decode_error(call: ApiCall, text: str, status: int) -> DecodeError:
    return DecodeError(
        text, method=call.method, path=call.path, http_status=status, attempts=call.attempt
    )


def sanitize_cause(raw: BaseException, secret: str | Secret | None = None) -> BaseException:
    """Return a version of another library's exception that is safe as the cause of our error.

    The repr of some of aiohttp's exceptions shows the request headers (with the API key), the URL
    or the proxy's password, and the frames of all of them hold these values.
    """
    text = raw.message if isinstance(raw, aiohttp.ClientResponseError) else str(raw)
    shown = f"{text} {raw!r}"
    if isinstance(raw, _REVEALING_ERRORS) or may_reveal(shown, secret):
        kept: BaseException = aiohttp.ClientError(f"{type(raw).__name__}: {excerpt(text, secret)}")
        os_error = getattr(raw, "os_error", None)
        if isinstance(os_error, OSError):
            os_error.__context__ = os_error.__cause__ = None
            kept.__cause__ = os_error
    else:
        kept = raw
        kept.__context__ = kept.__cause__ = None
    return without_frames(kept)
