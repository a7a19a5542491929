"""Takes secrets out of text before it reaches a log, a repr or an exception (pure)."""

import re
from typing import Final

_QUERY: Final = re.compile(r"(https?://[^\s\"'<>?#]+)[?#][^\s\"'<>]*")
_BEARER: Final = re.compile(r"(?i)\b(bearer\s+)[^\s\"',;]+")
_TOKEN: Final = re.compile(r"\b(?:sk_[A-Za-z0-9_\-]{6,}|eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-.]+)")
_USERINFO: Final = re.compile(r"(https?://)[^/\s@\"']+@")

EXCERPT_CHARS: Final = 500
"""Characters of a server's text that an exception keeps."""


def redact(text: str, secret: str | None = None) -> str:
    """Return ``text`` without bearer tokens, API keys, URL credentials and URL queries.

    Queries go as a whole: signed result and upload URLs carry their signature there.
    ``secret`` is the API key in use; it is removed wherever it stands.
    """
    if secret and len(secret) >= 6:
        text = text.replace(secret, "[key]")
    text = _USERINFO.sub(r"\1", text)
    text = _QUERY.sub(r"\1?[query]", text)
    text = _BEARER.sub(r"\1[key]", text)
    return _TOKEN.sub("[key]", text)


def excerpt(body: bytes | str, secret: str | None = None, limit: int = EXCERPT_CHARS) -> str:
    """Return the first ``limit`` characters of a body, redacted, on one line."""
    if isinstance(body, bytes):
        body = body[: limit * 4].decode("utf-8", "replace")
    flat = " ".join(redact(body[: limit * 2], secret).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def bare_url(url: str) -> str:
    """Return ``url`` without credentials, query and fragment."""
    return _USERINFO.sub(r"\1", url).partition("?")[0].partition("#")[0]
