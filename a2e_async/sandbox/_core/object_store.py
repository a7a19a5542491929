"""The object store behind the storage server: uploads, objects, signed URLs. No I/O."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import attrs

OBJECT_LIFE_SECONDS: Final = 3 * 86400.0
"""How long an uploaded object is kept, in calendar seconds: that of the default bucket."""

Query = Mapping[str, str]


@attrs.frozen(slots=True)
class StoredObject:
    """An uploaded file on disk."""

    path: Path
    content_type: str
    size: int
    digest: str
    """SHA-256 of the bytes, in hex."""

    seconds: float | None
    """The length of the medium in seconds; None when it could not be read."""

    stored_at: float


@attrs.frozen(slots=True)
class AuthLeak:
    """A request that carried an Authorization header to storage. The token is not kept."""

    method: str
    path: str
    at: float
    """Seconds since 1970."""


@attrs.frozen(slots=True)
class StorageRefusal:
    """A refusal of the storage: the HTTP status, and the code and text of the XML error."""

    status: int
    code: str
    message: str


@attrs.define(slots=True)
class ObjectStore:
    """The stored objects and the signed URLs to them. Expiry is in calendar seconds.

    Owned by the `Service`, whose callers hold its lock.
    """

    secret: bytes
    base_url: str = ""
    objects: dict[str, StoredObject] = attrs.field(factory=dict[str, StoredObject])

    # Uploads

    def sign_upload(
        self, key: str, expires: int, content_type: str | None, length: int | None
    ) -> tuple[str, str]:
        """Return the URL to PUT to, and the URL where the object can be read afterwards."""
        bound = {
            "X-Expires": str(expires),
            "X-Type": content_type or "",
            "X-Length": "" if length is None else str(length),
        }
        bound["X-Signature"] = self._sign("PUT", f"/upload/{key}", *bound.values())
        name = quote(key)
        upload_url = f"{self.base_url}/upload/{name}?{urlencode(bound)}"
        return upload_url, f"{self.base_url}/cdn/{name}"

    def check_upload(
        self, path: str, query: Query, headers: Mapping[str, str], calendar: float
    ) -> str | StorageRefusal:
        """Return the key that an upload to this (decoded) path may write, or the refusal.

        Type and length are part of the signature. Another type or length, an expired signature,
        or an Authorization header besides the signature is refused with 403, a missing length
        with 411.
        """
        names = ("X-Expires", "X-Type", "X-Length")
        expires, kind, length = (query.get(name, "") for name in names)
        key = path.removeprefix("/upload/")
        if "Authorization" in headers:
            return StorageRefusal(
                403, "SignatureDoesNotMatch", "Only one auth mechanism is allowed."
            )
        expected = self._sign("PUT", f"/upload/{key}", expires, kind, length)
        if not _signatures_equal(expected, query.get("X-Signature", "")):
            return StorageRefusal(403, "SignatureDoesNotMatch", "The signature does not match.")
        if calendar > float(expires):
            return StorageRefusal(403, "AccessDenied", "Request has expired")
        if kind and headers.get("Content-Type", "") != kind:
            return StorageRefusal(
                403, "SignatureDoesNotMatch", f"Content-Type is signed as {kind}."
            )
        if "Content-Length" not in headers:
            return StorageRefusal(411, "MissingContentLength", "Content-Length is needed.")
        if length and headers["Content-Length"] != length:
            return StorageRefusal(
                403, "SignatureDoesNotMatch", f"Content-Length is signed as {length}."
            )
        return key

    def get_object(self, key: str, calendar: float) -> StoredObject | None:
        """Return the object; None if it is unknown or has expired."""
        found = self.objects.get(key)
        return found if found and calendar <= found.stored_at + OBJECT_LIFE_SECONDS else None

    def find_by_url(self, url: str, calendar: float) -> StoredObject | None:
        """Return the uploaded object at a URL of this storage; None if there is none."""
        if not self.base_url or not url.startswith(f"{self.base_url}/cdn/"):
            return None
        name = urlsplit(url.removeprefix(self.base_url)).path.removeprefix("/cdn/")
        return self.get_object(unquote(name), calendar)

    def is_storage_url(self, url: str) -> bool:
        """Return whether a URL points to this storage."""
        return bool(self.base_url) and url.startswith(f"{self.base_url}/")

    # Results

    def sign_result(self, name: str, expires: int, generation: int) -> str:
        """Return a signed URL of a result file, valid until ``expires``."""
        path = f"/results/{name}"
        signature = self._sign("GET", path, str(expires), str(generation))
        return f"{self.base_url}{path}?Expires={expires}&Signature={signature}"

    def check_result(
        self, path: str, query: Query, generation: int, calendar: float
    ) -> StorageRefusal | None:
        """Return the refusal for a result that may not be read, or None."""
        expires = query.get("Expires", "")
        expected = self._sign("GET", path, expires, str(generation))
        if not _signatures_equal(expected, query.get("Signature", "")):
            return StorageRefusal(403, "SignatureDoesNotMatch", "The signature does not match.")
        if calendar > float(expires):
            return StorageRefusal(403, "AccessDenied", "Request has expired")
        return None

    def _sign(self, *parts: str) -> str:
        text = "\n".join(parts).encode("utf-8", "replace")
        return hmac.digest(self.secret, text, hashlib.sha256).hex()[:32]


def _signatures_equal(expected: str, given: str) -> bool:
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))


def result_task_id(url: str) -> str:
    """Return the task id in a result URL; "" when there is none."""
    return _result_name(url).partition("-")[0]


def result_file_part(url: str) -> str:
    """Return which of a task's files a result URL names; "" when it has only one."""
    return _result_name(url).partition("-")[2]


def _result_name(url: str) -> str:
    name = urlsplit(url).path.rsplit("/", 1)[-1]
    return name.split(".", 1)[0]
