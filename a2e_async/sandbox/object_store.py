"""The object store behind the second port: permits, objects, signed result URLs. No I/O."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlencode, urlsplit

import attrs

OBJECT_LIFE_SECONDS: Final = 3 * 86400.0
"""How long an uploaded object is kept, in calendar seconds, as the default bucket does."""

Query = Mapping[str, str]


@attrs.frozen(slots=True)
class StoredObject:
    """One uploaded file on disk."""

    path: Path
    content_type: str
    size: int
    digest: str
    """SHA-256 of the bytes, in hex."""

    seconds: float | None
    """Length of the medium, when it could be read."""

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
    """Why storage says no: the HTTP status, the code of the XML answer, and the text."""

    status: int
    code: str
    message: str


@attrs.define(slots=True)
class ObjectStore:
    """What is stored, and who may read and write. Expiry is in calendar seconds."""

    secret: bytes
    base_url: str = ""
    objects: dict[str, StoredObject] = attrs.field(factory=dict[str, StoredObject])

    # Uploads

    def sign_upload(
        self, key: str, expires: int, content_type: str | None, length: int | None
    ) -> tuple[str, str]:
        """Returns the URL to PUT to and the URL under which the object is then found."""
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
        """Returns the key that the upload to this (decoded) path may write, or why it may not.

        Type and length are part of the signature: other ones, a missing length, or an
        Authorization header beside the signature answer 403, an old permit too.
        """
        names = ("X-Expires", "X-Type", "X-Length")
        expires, kind, length = (query.get(name, "") for name in names)
        key = path.removeprefix("/upload/")
        if "Authorization" in headers:
            return StorageRefusal(
                403, "SignatureDoesNotMatch", "Only one auth mechanism is allowed."
            )
        wanted = self._sign("PUT", f"/upload/{key}", expires, kind, length)
        if not _signatures_equal(wanted, query.get("X-Signature", "")):
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
        """Returns the object unless it is unknown or its three days are over."""
        found = self.objects.get(key)
        return found if found and calendar <= found.stored_at + OBJECT_LIFE_SECONDS else None

    def find_by_url(self, url: str, calendar: float) -> StoredObject | None:
        """Returns the uploaded object that a URL of this storage names."""
        if not self.base_url or not url.startswith(f"{self.base_url}/cdn/"):
            return None
        return self.get_object(unquote(urlsplit(url).path.removeprefix("/cdn/")), calendar)

    def is_storage_url(self, url: str) -> bool:
        """Returns whether a URL points to this storage."""
        return bool(self.base_url) and url.startswith(f"{self.base_url}/")

    # Results

    def sign_result(self, name: str, expires: int, generation: int) -> str:
        """Returns a signed URL of a result file, good until ``expires``."""
        path = f"/results/{name}"
        signature = self._sign("GET", path, str(expires), str(generation))
        return f"{self.base_url}{path}?Expires={expires}&Signature={signature}"

    def check_result(
        self, path: str, query: Query, generation: int, calendar: float
    ) -> StorageRefusal | None:
        """Returns why a result may not be read, or None."""
        expires = query.get("Expires", "")
        wanted = self._sign("GET", path, expires, str(generation))
        if not _signatures_equal(wanted, query.get("Signature", "")):
            return StorageRefusal(403, "SignatureDoesNotMatch", "The signature does not match.")
        if calendar > float(expires):
            return StorageRefusal(403, "AccessDenied", "Request has expired")
        return None

    def _sign(self, *parts: str) -> str:
        text = "\n".join(parts).encode("utf-8", "replace")
        return hmac.digest(self.secret, text, hashlib.sha256).hex()[:32]


def _signatures_equal(wanted: str, given: str) -> bool:
    return hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace"))


def result_task_id(url: str) -> str:
    """Returns the task id that the path of a result URL names; "" when it names none."""
    return _result_name(url).partition("-")[0]


def result_file_part(url: str) -> str:
    """Returns which of a task's several files a result URL names; "" for the only one."""
    return _result_name(url).partition("-")[2]


def _result_name(url: str) -> str:
    name = urlsplit(url).path.removeprefix("/results/").rsplit("/", 1)[-1]
    return name.split(".", 1)[0]
