"""What can be told without the network: versions, key, address, proxies."""

import os
import sys
from importlib import metadata
from importlib.util import find_spec
from urllib.parse import urlsplit

from a2e_async import __version__
from a2e_async.cli.doctor.findings import Finding
from a2e_async.config import DEFAULT_BASE_URL, clean_api_key, clean_base_url
from a2e_async.errors import ConfigurationError

_PACKAGES = ("aiohttp", "anyio", "attrs", "cattrs")


def versions() -> list[Finding]:
    """Look at Python and the packages this one stands on."""
    python = ".".join(map(str, sys.version_info[:3]))
    found = [f"a2e_async {__version__}", f"Python {python}"]
    missing: list[str] = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    said = ", ".join(found)
    if missing:
        mend = "pip install --upgrade a2e-async"
        return [Finding("bad", "versions", f"{said}; without {', '.join(missing)}", mend)]
    return [Finding("ok", "versions", said)]


def decoder() -> Finding:
    """Look whether media files can be decoded here (for the demo and the sandbox)."""
    if find_spec("av") is None:
        return Finding(
            "warn",
            "PyAV",
            "not installed; demo checks the structure of results only, and the sandbox makes "
            "stand-ins",
            "pip install 'a2e-async[sandbox]'",
        )
    return Finding("ok", "PyAV", "installed; results can be decoded")


def api_key(variable: str) -> tuple[str | None, Finding]:
    """Return the key, if one can be used, and what is to be said of it; never the key itself."""
    raw = os.environ.get(variable)
    try:
        key = clean_api_key(raw if raw is not None else "")
    except ConfigurationError as error:
        if not (raw or "").strip():
            return None, Finding("bad", "API key", f"{variable} is not set", "set it to your key")
        said = str(error).replace("api_key", variable)
        return None, Finding("bad", "API key", said, "copy the key again, alone")
    sort = "begins with sk_" if key.startswith("sk_") else "does not begin with sk_"
    said = f"{variable} has {len(key)} characters and {sort}"
    if raw is not None and raw != key:
        mend = "remove it (this package does so by itself, other programs may not)"
        return key, Finding("warn", "API key", f"{said}; white space stands around it", mend)
    return key, Finding("ok", "API key", said)


def address(given: str | None) -> tuple[str | None, Finding]:
    """Return the address of the service, if it can be used, and what is to be said of it."""
    source = "--base-url" if given else "A2E_BASE_URL"
    chosen = given or os.environ.get("A2E_BASE_URL")
    try:
        url = clean_base_url(chosen or DEFAULT_BASE_URL)
    except ConfigurationError as error:
        return None, Finding("bad", "address", str(error), f"mend {source}")
    return url, Finding("ok", "address", f"{url} ({source if chosen else 'default'})")


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment names for an address, without credentials."""
    from a2e_async.transport.wire import proxy_setting  # it loads aiohttp, which help does not need

    found = proxy_setting(url)
    if found is None:
        return None
    parts = urlsplit(found)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def proxy(url: str) -> Finding:
    """Say whether calls go through a proxy."""
    found = proxy_for(url)
    if found is None:
        return Finding("ok", "proxy", "none for this address")
    return Finding("ok", "proxy", f"{found} (from the environment)")
