"""Remove secrets from text before it reaches a log, a repr, an exception or a file (pure)."""

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from typing import Any, Final, SupportsIndex, cast
from urllib.parse import quote
from weakref import WeakSet

Replacement = str | Callable[["re.Match[str]"], str]

# Characters as they appear in a URL, in text percent-encoded up to several times, in HTML and in
# JSON. Each pattern below consumes what it began to match (trailing parts are optional), so that
# no text causes quadratic rescanning.
_PERCENT: Final = "%(?:25){0,3}"
_COLON: Final = rf"(?::|{_PERCENT}3a|&#(?:58|x3a);|\\u003a)"
_SLASH: Final = rf"(?:\\{{0,3}}/|{_PERCENT}2f|&#(?:47|x2f);|\\u002f)"
_MARK: Final = rf"(?:[?#]|{_PERCENT}(?:3f|23)|&#(?:63|35|x3f|x23);|\\u00(?:3f|23))"
_EQUALS: Final = rf"(?:=|{_PERCENT}3d|&#(?:61|x3d);|\\u003d)"
_SCHEME: Final = rf"https?{_COLON}{_SLASH}{{2}}"

# A query broken across lines continues unless the next line begins with an ordinary word.
_NEXT_LINE: Final = r"(?:[ \t]*\r?\n[ \t]*(?=[^\s\"<>]*[=&%]|[^\s\"<>]{12})[^\s\"<>]+)*"
_QUERY: Final = rf"(?i)({_SCHEME}(?:(?!{_MARK})[^\s\"<>])*)({_MARK}[^\s\"<>]*{_NEXT_LINE})?"
_BEARER: Final = r"(?i)\b(bearer[\s:=\"']+)[^\s\"',;]+"
_AUTHORIZATION: Final = (
    r"(?i)\b(authorization[\"']?\s{0,9}[:=]\s{0,9}[\"']?(?:(?:basic|digest|token)\s{1,9})?)"
    r"(?!bearer\b)[^\s\"',;]+"
)
_KEY_FORMS: Final = r"(?a)(?:(?<![A-Za-z])|(?<=\\[nrt]))(?:sk_[\w\-.~+/=]{6,}|eyJ[\w\-.]{8,})"
_WEBHOOK_FORM: Final = r"(?a)a2e-[0-9a-v]{20}\.[\w\-]{43}"
_USERINFO: Final = (
    rf"(?i)({_SCHEME})[^/?#\s\"\\]*@"
    r"|((?<![a-z0-9+.\-])[a-z][a-z0-9+.\-]{1,20}://)[^/?#\s\"\\:]*:[^/?#\s\"\\]*@"
)
_CUT_URL: Final = rf"(?i){_SCHEME}[^/?#\s\"]*\Z"

# Names of signatures and passwords that appear outside of URLs, too.
_CREDENTIAL: Final = (
    r"(?:(?<![\w\-])|(?<=26)|(?<=3[fF])|(?<=\\[nrt]))(?=[\w\-])("
    r"x-(?:amz|goog|oss|tos|cos|obs|bce|ms)-[\w\-]{1,40}|q-(?:signature|ak|sign-[\w\-]{1,20})|"
    r"[\w\-]{0,40}(?:signature|token|secret|password|passwd|credentials?|accesskeyid|accessid|"
    r"api[-_]?key|access[-_]?key)|"
    r"sig|sign|key-pair-id|policy|auth[-_]?key|auth|pwd|jwt|hmac|hdnt[sl]|wssecret)"
)
_PARAMETER: Final = rf"(?i){_CREDENTIAL}({_EQUALS})(?![\[\s…])[^\s\"'<>,;)]+"
_JSON_KEY: Final = rf"(?i){_CREDENTIAL}(\\?[\"']\s{{0,9}}:\s{{0,9}}\\?[\"'])[^\"'\\\[]+"
_LABEL: Final = rf"(?i){_CREDENTIAL}(\s{{0,9}}:\s{{0,9}})(?=[^\s\"'<>,;\d]*\d)[^\s\"'<>,;\[]{{8,}}"

EXCERPT_CHARS: Final = 500
"""Length of the excerpt of a response that an exception keeps, in characters."""

_LONGEST_SEARCHED: Final = 10_000
"""Characters of an exception's text that are searched for secrets, which blocks the event loop."""

MIN_SECRET_CHARS: Final = 6
"""Shorter secrets are not searched for: such short strings occur in ordinary text."""

_secrets: "WeakSet[Secret]" = WeakSet()
"""The secrets of all live clients: a text of one may quote a secret of another."""


class Secret:
    """A text that no repr, copy, pickle or traceback reveals; `reveal` returns it.

    While the object is alive, `redact` replaces it with ``shown`` in every text.
    """

    __slots__ = ("__weakref__", "hide", "reveal", "scrub", "shown")

    reveal: Callable[[], str]
    """Return the text."""
    hide: Callable[[str], str]
    """Return a text with all forms of the secret replaced."""
    scrub: Callable[[bytes], bytes]
    """Return a body with the literal secret replaced."""

    def __init__(self, text: "str | Secret", shown: str = "[key]") -> None:
        plain = text.reveal() if isinstance(text, Secret) else text
        raw, replacement = plain.encode("utf-8", "surrogateescape"), shown.encode()
        long_enough = len(plain) >= MIN_SECRET_CHARS
        # In closures, not attributes, so that tools that walk over attributes do not find it.
        self.reveal = lambda: plain
        self.hide = _replacer(plain, shown) if long_enough else lambda text: text
        self.scrub = lambda body: body.replace(raw, replacement) if long_enough else body
        self.shown: str = shown
        _secrets.add(self)

    def __repr__(self) -> str:
        return self.shown

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (self.shown,)

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, _: Any) -> "Secret":
        return self


class HiddenText(str):
    """A secret that other libraries need as str; its repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[hidden]'"

    def __getitem__(self, index: SupportsIndex | slice) -> "HiddenText":
        return type(self)(str.__getitem__(self, index))

    def __reduce__(self) -> tuple[Any, ...]:
        return str, ("[hidden]",)


class FullUrl(HiddenText):
    """A URL with its signature; its repr leaves out the query."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(redact(str(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)  # the user asked for it explicitly, with `signed`


class SignedUrl(str):
    """A URL of a record as str, without credentials, query and fragment, which may sign it.

    ``signed`` is the URL as the service returned it; None after unpickling. So printing, storing
    or serialising a record never leaks a signature.
    """

    __slots__ = ("_identity", "_reveal")

    _identity: str | None
    _reveal: "Callable[[], FullUrl] | None"

    def __new__(cls, url: str) -> "SignedUrl":
        """Create the bare URL; ``url`` itself is kept in ``signed``."""
        made = super().__new__(cls, bare_url(url))
        live = FullUrl(url)
        made._identity, made._reveal = None, lambda: live
        return made

    @property
    def signed(self) -> "FullUrl | None":
        """The URL as the service returned it; None after unpickling."""
        return None if self._reveal is None else self._reveal()

    @property
    def identity(self) -> str:
        """Identifies the URL independent of its signature, for comparisons; not a URL."""
        if self._reveal is not None:
            url, bare = stable_url(self._reveal()), str(self)
            return url if url == bare else f"{bare} {sha256(url.encode()).hexdigest()[:16]}"
        return self._identity or str(self)

    def __copy__(self) -> "SignedUrl":
        return self

    def __deepcopy__(self, _: Any) -> "SignedUrl":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _unsigned, (str(self), self.identity)


def _unsigned(bare: str, identity: str) -> SignedUrl:
    made = SignedUrl(bare)
    made._identity, made._reveal = identity, None  # pyright: ignore[reportPrivateUsage]
    return made


def hide_signatures(value: Any) -> Any:
    """Return a JSON value with a `SignedUrl` in place of each URL that has a query.

    Webhook tokens, and queries of URLs within longer texts, are removed. Values that contain none
    of these are returned unchanged, not copied.
    """
    if isinstance(value, str):
        # Every poll of every task passes here: two searches rule out most texts.
        if "://" not in value and "a2e-" not in value:
            return value
        if _PLAIN_URL.fullmatch(value):
            return value
        if _WHOLE_URL.fullmatch(value):
            return value if bare_url(value) == value else SignedUrl(value)
        shown = redact(value)
        return value if shown == value else shown
    if isinstance(value, list | tuple):
        items: Sequence[Any] = cast("Any", value)
        kept = [hide_signatures(item) for item in items]
        if all(new is old for new, old in zip(kept, items, strict=True)):
            return items
        return kept if isinstance(items, list) else tuple(kept)
    if isinstance(value, dict):
        named: dict[Any, Any] = cast("Any", value)
        made = {_shown_name(name): hide_signatures(item) for name, item in named.items()}
        return named if all(made.get(name, made) is named[name] for name in named) else made
    return value


def _shown_name(name: Any) -> Any:
    """Return a name of a JSON object without secrets."""
    return redact(name) if isinstance(name, str) and ("://" in name or "a2e-" in name) else name


_PLAIN_URL: Final = re.compile(r"https?://[^\s\"<>?#@]*")
"""A URL in which `bare_url` has nothing to remove."""

_WHOLE_URL: Final = re.compile(r"(?i)\s*https?://[^\s\"<>]*\s*")


def redact(text: str, secret: "str | Secret | None" = None) -> str:
    """Return ``text`` without bearer tokens, API keys, URL credentials and URL queries.

    Whole queries are removed, because result and upload URLs carry their signature there. Every
    live `Secret`, and ``secret``, is removed in plain and encoded forms.
    """
    if isinstance(secret, str) and len(secret) >= MIN_SECRET_CHARS:
        text = _replacer(secret, "[key]")(text)
    for one in _live_secrets():
        text = one.hide(text)
    lowered = text.lower()
    for marks, general, replacement in _general_patterns():
        # Most texts have none of the marks; a search for them takes a fraction of the pattern's.
        if any(mark in lowered for mark in marks):
            text = general.sub(replacement, text)
    return text


@cache
def _general_patterns() -> "list[tuple[tuple[str, ...], re.Pattern[str], Replacement]]":
    """Return the patterns of what is secret by its form, in the order of their replacement.

    Each comes after its marks: every text that it matches contains one of them in lower case, and
    no replacement makes one. Where a pattern ignores case, its marks have no i or s, which also
    match letters that `str.lower` leaves as they are. Compiled when a text is first redacted: most
    programs that start never need them.
    """
    replacements: list[tuple[tuple[str, ...], str, Replacement]] = [
        (("@",), _USERINFO, lambda m: m[1] or m[2]),
        (("http",), _QUERY, lambda m: f"{m[1]}?[query]" if m[2] else m[1]),
        (("bearer",), _BEARER, r"\1[key]"),
        (("author",), _AUTHORIZATION, r"\1[key]"),
        (("a2e-",), _WEBHOOK_FORM, "[webhook token]"),
        (("sk_", "eyj"), _KEY_FORMS, "[key]"),
        (("=", "3d", "#61"), _PARAMETER, r"\1\2[hidden]"),
        ((":",), _JSON_KEY, r"\1\2[hidden]"),
        ((":",), _LABEL, r"\1\2[hidden]"),
    ]
    return [(marks, re.compile(pattern), shown) for marks, pattern, shown in replacements]


def may_reveal(text: str, secret: "str | Secret | None" = None) -> bool:
    """Return whether a text contains something secret, or is too long to be searched."""
    return len(text) > _LONGEST_SEARCHED or redact(text, secret) != text


def excerpt(
    body: bytes | str, secret: "str | Secret | None" = None, limit: int = EXCERPT_CHARS
) -> str:
    """Return the first ``limit`` characters of a body, redacted, on one line."""
    if isinstance(body, bytes):
        body = body[: limit * 8 + 1].decode("utf-8", "replace")
    head = body[: limit * 2]
    if len(body) > len(head):
        head = _drop_partial_secret(head, secret)
    flat = " ".join(redact(head, secret).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def describe(error: BaseException) -> str:
    """Return the text of another library's exception, redacted and short; its class if it has none.

    aiohttp's errors may quote a whole body.
    """
    return excerpt(str(error)) or type(error).__name__


_SIGNATURE: Final = re.compile(
    r"(?i)^(x-(amz|goog|oss|tos)-.*|signature|sig|expires|key-pair-id|policy|awsaccesskeyid|"
    r"googleaccessid|security-token|s[eprtvk]|sk[a-z]{1,3}|spr|st|token|auth(_?key)?|verify)$"
)


def stable_url(url: str) -> str:
    """Return ``url`` without its fragment and signature parameters.

    Two URLs of one file, signed at different times, give the same text. For comparing and hashing
    only: the rest of the query may still be private.
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


def full_url(url: str) -> str:
    """Return a URL with its signature, unless that was lost by pickling."""
    return (url.signed or url) if isinstance(url, SignedUrl) else url


def _live_secrets() -> "tuple[Secret, ...]":
    while True:
        try:
            return tuple(_secrets)
        except RuntimeError:  # another thread created a client during the iteration
            continue


def _replacer(secret: str, shown: str) -> Callable[[str], str]:
    """Return a function that replaces all forms of a secret in a text, in any case.

    A process may hold the keys of hundreds of users, and each text is searched for all of them:
    most texts are soon seen to have none, and a pattern is compiled for those that have one.
    """

    @cache
    def forms() -> list[str]:
        return sorted(_forms(secret), key=len, reverse=True)

    @cache
    def lowered_forms() -> list[str]:
        return [form.lower() for form in forms()]

    @cache
    def pattern() -> "re.Pattern[str]":
        return re.compile("|".join(map(re.escape, forms())), re.IGNORECASE)

    def replace(text: str) -> str:
        if text.isascii():  # among other letters, more are equal but for their case
            lowered = text.lower()
            if not any(form in lowered for form in lowered_forms()):
                return text
        return pattern().sub(lambda _: shown, text)

    return replace


def _forms(secret: str) -> set[str]:
    """Return a secret in plain, escaped, encoded and reversed form."""
    raw = secret.encode("utf-8", "surrogateescape")
    forms = {secret, secret[::-1], secret.replace("/", "\\/"), quote(raw, safe=""), raw.hex()}
    for shift in range(3):
        # Base64 of text that contains it: the characters that do not depend on the neighbours.
        coded = b64encode(b"\0" * shift + raw).decode().rstrip("=")
        inner = coded[(shift * 8 + 5) // 6 : (shift + len(raw)) * 8 // 6]
        if len(inner) >= 2 * MIN_SECRET_CHARS:
            forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    return forms


def _drop_partial_secret(head: str, secret: "str | Secret | None") -> str:
    """Remove from the end of truncated text what may be the beginning of a secret or URL."""
    known = {secret} if isinstance(secret, str) else set[str]()
    for text in known | {one.reveal() for one in _live_secrets()}:
        for length in range(min(len(text) - 1, len(head)), 0, -1):
            if head.endswith(text[:length]):
                head = head[:-length]
                break
    return re.sub(_CUT_URL, "", head)
