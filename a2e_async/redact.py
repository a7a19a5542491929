"""Takes secrets out of text before it reaches a log, a repr or an exception (pure)."""

import re
from typing import Final

# Each pattern consumes whatever it began on (the query is optional), so that no text makes it
# start over and over. Slashes may be escaped, as some JSON writers do.
_SCHEME: Final = r"https?:(?:\\?/){2}"
_QUERY: Final = re.compile(rf"(?i)({_SCHEME}[^\s\"<>?#]*)([?#][^\s\"<>]*)?")
_BEARER: Final = re.compile(r"(?i)\b(bearer[\s:=\"']+)[^\s\"',;]+")
_TOKEN: Final = re.compile(
    r"(?:(?<![A-Za-z])|(?<=\\[nrt]))(?:sk_[\w\-.~+/=]{6,}|eyJ[\w\-.]{8,})", re.ASCII
)
_HOOK: Final = re.compile(r"a2e-[0-9a-v]{20}\.[\w\-]{43}", re.ASCII)
_USERINFO: Final = re.compile(rf"(?i)({_SCHEME})[^/?#\s\"\\]*@")
_CUT_URL: Final = re.compile(rf"(?i){_SCHEME}[^/?#\s\"]*\Z")

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
    text = _QUERY.sub(lambda m: f"{m[1]}?[query]" if m[2] else m[1], text)
    text = _BEARER.sub(r"\1[key]", text)
    text = _HOOK.sub("[webhook token]", text)
    return _TOKEN.sub("[key]", text)


def excerpt(body: bytes | str, secret: str | None = None, limit: int = EXCERPT_CHARS) -> str:
    """Return the first ``limit`` characters of a body, redacted, on one line."""
    if isinstance(body, bytes):
        body = body[: limit * 8 + 1].decode("utf-8", "replace")
    head = body[: limit * 2]
    if len(body) > len(head):
        head = _drop_cut(head, secret)
    flat = " ".join(redact(head, secret).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


_SIGNATURE: Final = re.compile(
    r"(?i)^(x-(amz|goog|oss|tos)-.*|signature|sig|expires|key-pair-id|policy|awsaccesskeyid|"
    r"googleaccessid|security-token|s[eprtvk]|sk[a-z]{1,3}|spr|st|token|auth(_?key)?|verify)$"
)


def stable_url(url: str) -> str:
    """Return what names a file in ``url``: without fragment and without signature parameters.

    Two URLs of one file that were signed at different times give the same text. For comparing
    and hashing only: what is left of the query may still be private.
    """
    head, _, rest = url.partition("?")
    if not rest:
        return head.partition("#")[0]
    query = rest.partition("#")[0]
    kept = [part for part in query.split("&") if not _SIGNATURE.match(part.partition("=")[0])]
    return f"{head}?{'&'.join(kept)}" if kept else head


def bare_url(url: str) -> str:
    """Return ``url`` without credentials, query and fragment."""
    scheme, slashes, rest = url.partition("?")[0].partition("#")[0].partition("://")
    host, slash, path = rest.partition("/")
    return scheme + slashes + host.rpartition("@")[2] + slash + path


def _drop_cut(head: str, secret: str | None) -> str:
    """Return a text that was cut without what the cut made unrecognisable at its end."""
    if secret:
        for length in range(min(len(secret) - 1, len(head)), 0, -1):
            if head.endswith(secret[:length]):
                head = head[:-length]
                break
    return _CUT_URL.sub("", head)
