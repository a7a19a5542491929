"""Signed upload URLs: the current operation, which costs coins, and the free older one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from ..api_messages import SandboxRequest, SandboxResponse
from ..clock import Moment
from ..ledger import Charge
from ..service import Service
from ..validation import FieldProblem, schema_problems
from .helpers import RequestHandler

PRESIGN_COINS: Final = 1
"""The price of one upload URL."""

MAX_UPLOAD_URL_LIFE: Final = 7 * 86400
"""The longest life of a signed URL that S3 and R2 allow, in seconds."""

DEFAULT_UPLOAD_URL_LIFE: Final = 3600
"""The life of an upload URL when the request names none, in real seconds."""


def _presign_upload(service: Service, request: SandboxRequest, now: Moment) -> SandboxResponse:
    body, path = request.body, request.operation.path
    problems = list(schema_problems(request.operation.body_schema or {}, body))
    if problems := problems or _upload_request_problems(body):
        return service.refuse(400, "Invalid parameters", problems)
    is_legacy = path.endswith("/get_upload_presigned_url")
    if not is_legacy:
        charge = Charge("presign", (), PRESIGN_COINS, now.calendar, path, dict(body))
        if (refusal := service.deduct(charge, now)) is not None:
            return refusal
    lifetime = body.get("expiresIn", DEFAULT_UPLOAD_URL_LIFE)
    length = body.get("contentLength", body.get("fileSize"))
    prefix = body.get("urlPrefix", "adam2eve").strip("/")
    key = f"{prefix}/stable/user/{service.user_id}/{body['key'].lstrip('/')}"
    upload_url, cdn_url = service.store.sign_upload(
        key,
        math.ceil(now.calendar + lifetime),
        body.get("contentType"),
        None if length is None else int(length),
    )
    data: dict[str, Any] = {"uploadUrl": upload_url, "key": key}
    if is_legacy:
        data["bucket"] = body.get("bucket", "3days-apac")
    else:
        data["cdnUrl"] = cdn_url
    return service.accept({**data, "expiresIn": lifetime})


def _upload_request_problems(body: Mapping[str, Any]) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    key = body["key"].strip("/")
    if not key or ".." in key.split("/") or any(ord(character) < 32 for character in key):
        problems.append(FieldProblem("key", "must be the name of an object"))
    elif key.encode("utf-8", "replace").decode() != key:  # a lone surrogate
        problems.append(FieldProblem("key", "must be valid Unicode"))
    problems += [
        FieldProblem(name, "must be a whole number of bytes")
        for name in ("contentLength", "fileSize")
        if name in body and not (0 <= body[name] <= 2**53 and body[name] == int(body[name]))
    ]
    if body.get("expiresIn", 0) > MAX_UPLOAD_URL_LIFE:
        problems.append(FieldProblem("expiresIn", f"must be at most {MAX_UPLOAD_URL_LIFE}"))
    return problems


HANDLERS: Final[dict[str, RequestHandler]] = {
    "POST /api/v1/r2/upload-presigned-url": _presign_upload,
    "POST /api/v1/r2/get_upload_presigned_url": _presign_upload,
}
"""The handlers of this module, by method and path."""
