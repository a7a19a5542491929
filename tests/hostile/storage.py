"""The file store: results under signed URLs, and uploads."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

from .reply import Reply
from .tasks import CONTENT, RemoteTask

_DENIED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'


@dataclass(frozen=True)
class Upload:
    """One uploaded object."""

    content: bytes
    content_type: str


@dataclass
class Storage:
    """Uploads by key, and how results are served. Owned by the server."""

    validators: bool = True
    """Send ETag and Last-Modified."""
    ranges: bool = True
    """Support range requests."""
    uploads: dict[str, Upload] = field(default_factory=dict)
    presigned: int = 0

    def presign(self, body: Mapping[str, Any], base: str) -> dict[str, Any]:
        """Return the response to a request for an upload URL."""
        self.presigned += 1
        key = f"{self.presigned}/{body.get('key') or 'file'}"
        return {
            "uploadUrl": f"{base}/uploads/{key}?X-Amz-Signature=signature-up-{self.presigned}",
            "cdnUrl": f"{base}/cdn/{key}",
            "key": key,
            "expiresIn": 900,
        }

    def put(self, key: str, content: bytes, content_type: str) -> Reply:
        """Store an uploaded object."""
        self.uploads[key] = Upload(content, content_type)
        return Reply()

    def uploaded(self, key: str) -> Reply:
        """Return an uploaded object."""
        found = self.uploads.get(key)
        if found is None:
            return Reply(status=404, headers={"Content-Type": "application/xml"}, body=_DENIED)
        return Reply(headers={"Content-Type": found.content_type}, body=found.content)

    def result(self, task: RemoteTask, signature: str, headers: Mapping[str, str]) -> Reply:
        """Return a task's result, or the requested range of it."""
        if not signature.endswith(f"-{task.url_version}"):
            return Reply(status=403, headers={"Content-Type": "application/xml"}, body=_DENIED)
        content = task.content()
        etag = f'"{task.id}-{task.content_version}"'
        changed = formatdate(1_790_000_000 + task.content_version, usegmt=True)
        reply = Reply(
            headers={"Content-Type": CONTENT[task.kind.media or "video"][1]}, body=content
        )
        if self.validators:
            reply = reply.with_headers(ETag=etag, Last_Modified=changed)
        wanted = headers.get("Range", "")
        if not self.ranges or not wanted.startswith("bytes="):
            return reply
        if headers.get("If-Range", etag) not in (etag, changed):
            return reply
        first = int(wanted.removeprefix("bytes=").partition("-")[0] or 0)
        if first >= len(content):
            return Reply(status=416, headers={"Content-Range": f"bytes */{len(content)}"})
        part = f"bytes {first}-{len(content) - 1}/{len(content)}"
        return replace(reply, status=206, body=content[first:]).with_headers(Content_Range=part)


def read_json(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object in a request body; an empty one if there is none."""
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
