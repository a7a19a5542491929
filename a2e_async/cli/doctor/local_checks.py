"""Checks that need no network: versions, API key, address, proxy."""

import os
import sys
from importlib import metadata
from importlib.util import find_spec
from urllib.parse import urlsplit

from a2e_async._core.config import DEFAULT_BASE_URL, clean_api_key, clean_base_url
from a2e_async._core.version import __version__
from a2e_async.cli.doctor.finding import Finding
from a2e_async.cli.known_kinds import VARIABLE, known_kinds
from a2e_async.errors import ConfigurationError

_PACKAGES = ("aiohttp", "anyio", "attrs", "cattrs")


def versions() -> list[Finding]:
    """Check Python and the required packages."""
    python = ".".join(map(str, sys.version_info[:3]))
    installed = [f"a2e_async {__version__}", f"Python {python}"]
    missing: list[str] = []
    for name in _PACKAGES:
        try:
            installed.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    text = ", ".join(installed)
    if missing:
        fix = "pip install --upgrade a2e-async"
        return [Finding("bad", "versions", f"{text}; missing: {', '.join(missing)}", fix)]
    return [Finding("ok", "versions", text)]


def decoder() -> Finding:
    """Check whether media files can be decoded here, for the demo and the sandbox."""
    if find_spec("av") is None:
        return Finding(
            "warn",
            "PyAV",
            "not installed; the demo checks only the structure of results, and the sandbox makes "
            "placeholder files",
            "pip install 'a2e-async[sandbox]'",
        )
    return Finding("ok", "PyAV", "installed; results can be decoded")


def api_key(variable: str) -> tuple[str | None, Finding]:
    """Return the key, if it is usable, and the finding, which never shows the key itself."""
    raw = os.environ.get(variable)
    try:
        key = clean_api_key(raw if raw is not None else "")
    except ConfigurationError as error:
        if not (raw or "").strip():
            return None, Finding("bad", "API key", f"{variable} is not set", "set it to your key")
        text = str(error).replace("api_key", variable)
        return None, Finding("bad", "API key", text, "copy the key again, without anything else")
    prefix = "begins with sk_" if key.startswith("sk_") else "does not begin with sk_"
    text = f"{variable} has {len(key)} characters and {prefix}"
    if raw is not None and raw != key:
        fix = "remove it (this package ignores it, other programs may not)"
        return key, Finding("warn", "API key", f"{text}; it has white space around it", fix)
    return key, Finding("ok", "API key", text)


def address(given: str | None) -> tuple[str | None, Finding]:
    """Return the URL of the service, if it is usable, and the finding."""
    source = "--base-url" if given else "A2E_BASE_URL"
    chosen = given or os.environ.get("A2E_BASE_URL")
    try:
        url = clean_base_url(chosen or DEFAULT_BASE_URL)
    except ConfigurationError as error:
        text = str(error).replace("base_url", source)
        return None, Finding("bad", "address", text, f"correct {source}")
    return url, Finding("ok", "address", f"{url} ({source if chosen else 'default'})")


def own_kinds() -> list[Finding]:
    """Check the file of the user's own kinds, if the environment names one."""
    try:
        declared = known_kinds().declared
    except ConfigurationError as error:
        return [Finding("bad", "kinds", str(error), f"correct the file, or unset {VARIABLE}")]
    return [Finding("ok", "kinds", f"{VARIABLE}: {', '.join(declared)}")] if declared else []


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment sets for a URL, without credentials."""
    from a2e_async._core.http.call import proxy_setting  # imports aiohttp, which --help must not

    setting = proxy_setting(url)
    if setting is None:
        return None
    parts = urlsplit(setting)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def proxy(url: str) -> Finding:
    """Report whether requests use a proxy."""
    address = proxy_for(url)
    if address is None:
        return Finding("ok", "proxy", "none for this address")
    return Finding("ok", "proxy", f"{address} (from the environment)")
