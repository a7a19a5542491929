"""Check and split the URLs of files, without changing their spelling (pure)."""

import ipaddress
import re
from functools import lru_cache
from typing import Final

from attrs import field, frozen

_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,63}", re.ASCII)
_END_OF_AUTHORITY: Final = re.compile(r"[/?]")
_ILLEGAL: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]")


class InvalidUrl(Exception):
    """The text is not a URL that can be requested. The message never contains the URL."""


@frozen
class SplitUrl:
    """The parts of an http(s) URL.

    ``authority`` is host (ASCII) and port, without credentials. ``target`` is path and query as
    given; only characters that are illegal in a request are percent-encoded, because the
    signature of a signed URL covers its exact text.
    """

    scheme: str
    authority: str
    target: str = field(repr=False)


def split_url(url: str) -> SplitUrl:
    """Return the parts of an http(s) URL, without its fragment. Raises `InvalidUrl`."""
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in ("http", "https"):
        raise InvalidUrl("it is not an http(s) URL")
    rest = rest.partition("#")[0]
    found = _END_OF_AUTHORITY.search(rest)
    end = found.start() if found else len(rest)
    authority = rest[:end].rpartition("@")[2]
    target = rest[end:]
    if not target.startswith("/"):
        target = f"/{target}"
    try:
        return SplitUrl(scheme, _authority(authority), _ILLEGAL.sub(_quote, target))
    except UnicodeError:  # lone surrogates
        raise InvalidUrl("it contains invalid Unicode") from None


def _quote(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode("utf-8", "surrogateescape"))


@lru_cache(maxsize=64)  # a program fetches from few hosts, and each start checks its URLs
def _authority(text: str) -> str:
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        try:
            ipaddress.IPv6Address(address.partition("%")[0])
        except ValueError:
            bracket = ""
        if not bracket or (rest and not rest.startswith(":")):
            raise InvalidUrl("its host is not a valid IPv6 address")
        host, port = f"[{address}]", rest[1:]
    else:
        host, _, port = text.partition(":")
        host = _host(host)
    if port and not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        raise InvalidUrl("its port is not a number from 1 to 65535")
    return f"{host}:{port}" if port else host


def _host(text: str) -> str:
    host = text if text.isascii() else _to_ascii(text)
    labels = host.removesuffix(".").split(".")
    if not host:
        raise InvalidUrl("it has no host")
    if len(host) > 254 or not all(_LABEL.fullmatch(label) for label in labels):
        raise InvalidUrl("its host is not a valid name")
    for label in labels:
        if label[:4].lower() == "xn--" and not _is_punycode(label[4:]):
            raise InvalidUrl("its host is not a valid name")
    if len(labels) == 4 and all(label.isdigit() for label in labels):
        try:
            ipaddress.IPv4Address(".".join(labels))
        except ValueError:
            raise InvalidUrl("its host is not a valid IPv4 address") from None
    return host


def _is_punycode(text: str) -> bool:
    try:
        decoded = text.encode().decode("punycode")
    except (UnicodeError, IndexError, OverflowError):
        return False
    return decoded.isprintable() and not decoded.isascii()


def _to_ascii(host: str) -> str:
    from yarl import URL

    try:
        return URL.build(scheme="http", host=host).raw_host or ""
    except (ValueError, UnicodeError):
        raise InvalidUrl("its host is not a valid name") from None
