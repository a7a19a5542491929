"""Resolves and checks the API key, host and webhook settings before any request is sent.

Pure, except that defaults come from the environment.
"""

import hashlib
import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from attrs import field, frozen

from a2e_async._core.redact import Secret
from a2e_async.errors import ConfigurationError

DEFAULT_BASE_URL: Final = "https://video.a2e.ai"
"""The service's worldwide host."""

API_PREFIX: Final = "/api/v1"

MAX_WEBHOOK_URL_CHARS: Final = 2048
"""Maximum length of a webhook URL that the service accepts."""

MIN_WEBHOOK_SECRET_CHARS: Final = 16
"""Minimum length of the secret: a shorter one could be guessed from the tokens it signs."""

_ACCOUNT_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

_DOCS_HOSTS: Final = frozenset({"api.a2e.ai"})
_QUOTE_CHARS: Final = "\"'`\u201c\u201d\u2018\u2019"


@frozen
class Account:
    """API key and host of one account. ``name`` is the user's own name for it."""

    api_key: Secret = field(converter=Secret)
    base_url: str
    name: str | None = None

    @property
    def key_label(self) -> str:
        """Identifies the account by its key and host; the key cannot be derived from it."""
        digest = hashlib.sha256(self.api_key.reveal().encode()).hexdigest()
        return f"key-{digest[:20]}@{_bare_host(self.base_url)}"

    @property
    def label(self) -> str:
        """Identifies the account in journals: the user's name for it, or else `key_label`."""
        return f"{self.name}@{_bare_host(self.base_url)}" if self.name else self.key_label


def resolve_account(
    api_key: str | None,
    base_url: str | None,
    env: Mapping[str, str] | None = None,
    *,
    name: str | None = None,
) -> Account:
    """Return the account to use: arguments first, then the environment.

    The variables are A2E_API_KEY, A2E_BASE_URL and A2E_ACCOUNT. Raises `ConfigurationError` for a
    missing or damaged key and an unusable host or name.
    """
    env = os.environ if env is None else env
    return Account(
        clean_api_key(api_key, env.get("A2E_API_KEY")),
        clean_base_url(base_url or env.get("A2E_BASE_URL") or DEFAULT_BASE_URL),
        clean_account_name(name, env.get("A2E_ACCOUNT")),
    )


def clean_account_name(given: str | None, from_env: str | None = None) -> str | None:
    """Return the user's name for the account, None if there is none.

    Raises `ConfigurationError` for an invalid name.
    """
    where = "account" if given is not None else "A2E_ACCOUNT"
    name = given if given is not None else (from_env or "").strip() or None
    if name is None:
        return None
    if not isinstance(name, str) or not _ACCOUNT_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{where} must be a name of at most 64 letters, digits, '.', '_' or '-'."
        )
    return name


def _bare_host(base_url: str) -> str:
    """Return host and port, without the default port of the scheme."""
    scheme, _, host = base_url.partition("://")
    return host.removesuffix(":443" if scheme == "https" else ":80")


def clean_api_key(given: str | None, from_env: str | None = None) -> str:
    """Return the key without surrounding white space.

    Raises `ConfigurationError` for a key that could only be answered with 401.
    """
    where = "api_key" if given is not None else "A2E_API_KEY"
    key = given if given is not None else from_env
    if key is not None and not isinstance(key, str):
        raise ConfigurationError(f"{where} must be text, not {type(key).__name__}.")
    key = (key or "").strip()
    if not key:
        raise ConfigurationError(
            "There is no API key. Set A2E_API_KEY or pass A2E(api_key=…). To try the package "
            "without an account, run `a2e demo`."
        )
    if key[0] in _QUOTE_CHARS or key[-1] in _QUOTE_CHARS:
        raise ConfigurationError(f"{where} has quotes around the key. Remove them.")
    if key.lower().split()[0] in ("bearer", "bearer:"):
        raise ConfigurationError(f"{where} begins with 'Bearer'. Give only the key.")
    if any(c.isspace() or not c.isprintable() or not c.isascii() for c in key):
        raise ConfigurationError(
            f"{where} contains a space, line break or special character. Copy the key again."
        )
    return key


def clean_base_url(url: str) -> str:
    """Return scheme, host and port of the API; a trailing ``/api/v1`` is removed.

    Raises `ConfigurationError` for the documentation host, for a URL with credentials, query or
    another path, and for plain http to a public host (the key would be sent unencrypted).
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"base_url must be text, not {type(url).__name__}.")
    text = url.strip()
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigurationError(
            f"base_url has no valid host or port; it must look like {DEFAULT_BASE_URL}."
        ) from None
    if port == 0:
        raise ConfigurationError("base_url has port 0. Give the port of the service.")
    if parts.scheme not in ("http", "https") or not host or any(c.isspace() for c in text):
        raise ConfigurationError(f"base_url must look like {DEFAULT_BASE_URL}.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigurationError("base_url must not contain credentials, a query or a fragment.")
    if host in _DOCS_HOSTS:
        raise ConfigurationError(
            f"{host} serves the documentation, not the API. Use {DEFAULT_BASE_URL}."
        )
    path = parts.path.rstrip("/")
    if path not in ("", "/api", API_PREFIX):
        raise ConfigurationError(
            f"base_url has the path {path!r:.60}. Give only the host, such as {DEFAULT_BASE_URL}."
        )
    if parts.scheme == "http" and not _is_local(host):
        raise ConfigurationError(
            f"base_url uses http, so the key would be sent unencrypted to {host}. Use https."
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else "")


def clean_webhook_url(url: str) -> str:
    """Return the URL for webhook events unchanged; raise `ConfigurationError` if it is invalid.

    The service requires https. Plain http is allowed for loopback addresses, which only the sandbox
    can reach.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"webhook_url must be text, not {type(url).__name__}.")
    shape = ConfigurationError("webhook_url must look like https://your-app.example/a2e.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise shape from None
    plain = url.isascii() and url.isprintable() and " " not in url
    if not plain or not host or port == 0 or parts.scheme not in ("http", "https"):
        raise shape
    if len(url) > MAX_WEBHOOK_URL_CHARS:
        raise ConfigurationError(
            f"webhook_url has {len(url)} characters; the service accepts at most "
            f"{MAX_WEBHOOK_URL_CHARS}."
        )
    if parts.username or parts.password or parts.fragment:
        raise ConfigurationError("webhook_url must not contain credentials or a fragment.")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ConfigurationError(
            "webhook_url must begin with https://: the service sends events to https URLs only. "
            "http works only for 127.0.0.1, with the sandbox."
        )
    return url


def clean_webhook_secret(env: Mapping[str, str] | None = None) -> str:
    """Return A2E_WEBHOOK_SECRET; the `ConfigurationError` for a missing one says how to make it."""
    secret = (os.environ if env is None else env).get("A2E_WEBHOOK_SECRET", "").strip()
    if len(secret) < MIN_WEBHOOK_SECRET_CHARS:
        short = f"shorter than {MIN_WEBHOOK_SECRET_CHARS} characters" if secret else "not set"
        raise ConfigurationError(
            f"webhook_url needs a secret, and A2E_WEBHOOK_SECRET is {short}. Generate one with "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'` and set it to the same "
            "value in all processes of the app."
        )
    return secret


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        # A host that begins with a digit can be an IP address in another notation (134744072 is
        # 8.8.8.8).
        if "." not in host:
            return not host[0].isdigit()
        return host.endswith((".localhost", ".local", ".internal", ".test"))
