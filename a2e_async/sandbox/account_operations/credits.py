"""Operations that belong to no kind: quotes, coins, history, upload permits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..clock import Moment, from_iso, iso
from ..kinds.registry import BY_START, PRESIGN_COINS, Kind
from ..ledger import Charge
from ..api_spec import Operation, Problem, operations, problems, query_problems

if TYPE_CHECKING:
    from ..service import Answer, Request, Service

ROLES: Final[Mapping[str, str]] = {
    "/api/v1/generation/quote": "quote",
    "/api/v1/user/remainingCoins": "coins",
    "/api/v1/transactionRecord/creditsHistory": "history",
    "/api/v1/r2/upload-presigned-url": "presign",
    "/api/v1/r2/get_upload_presigned_url": "presign",
}
"""The role under which each of these paths is counted."""

LONGEST_PERMIT: Final = 7 * 86400
"""The longest life of a signed URL that S3 and R2 know, in seconds."""

DEFAULT_PERMIT: Final = 3600
"""How long an upload permit lasts when nothing is asked, in true seconds."""


def is_account(operation: Operation) -> bool:
    """Returns whether the operation is served here."""
    return operation.path in ROLES


def role_of(operation: Operation) -> str:
    """Returns the role of an operation for counters and faults."""
    return ROLES.get(operation.path, operation.role)


def handle_account(service: Service, request: Request, now: Moment) -> Answer:
    """Carries out one request to an operation without a kind."""
    operation = request.operation
    if operation.body_schema is not None:
        wrong = list(problems(operation.body_schema, request.body))
        if wrong:
            return service.refuse(400, "Invalid parameters", wrong)
    role = role_of(operation)
    if role == "quote":
        return _quote(service, request.body, now)
    if role == "history":
        return _history(service, request)
    if role == "presign":
        return _presign(service, request, now)
    return service.accept({"coins": service.ledger.balance, "diamonds": 0})


def _quote(service: Service, body: Mapping[str, Any], now: Moment) -> Answer:
    path = body["endpoint"].strip().removeprefix("POST ").strip()
    kind = BY_START.get(path)
    if kind is None or not kind.quotable:
        return service.refuse(400, "This endpoint cannot be quoted")
    inputs = body["requestBody"]
    wrong = _price_problems(kind, inputs)
    if wrong:
        return service.refuse(400, "Invalid pricing parameters", wrong)
    coins = kind.price(inputs, service.source_seconds(kind, inputs, now)) * kind.count(inputs)
    return service.accept({"coins": coins, "generationRequestValidated": False})


def _price_problems(kind: Kind, inputs: Mapping[str, Any]) -> list[Problem]:
    start = next(item for item in operations() if item.path == kind.start_path)
    properties = (start.body_schema or {}).get("properties", {})
    wanted = {name: properties[name] for name in kind.price_inputs}
    return list(problems({"type": "object", "properties": wanted}, inputs))


def _history(service: Service, request: Request) -> Answer:
    values, wrong = query_problems(request.operation, request.query)
    bounds = {"startDate": -math.inf, "endDate": math.inf}
    for name in bounds:
        if name in values:
            try:
                bounds[name] = from_iso(values[name])
            except (ValueError, OverflowError):
                wrong.append(Problem(name, "must be an ISO date"))
    if wrong:
        return service.refuse(400, "Invalid parameters", wrong)
    spending = values.get("is_consumption")
    found = [
        item
        for item in reversed(service.ledger.transactions)
        if bounds["startDate"] <= item.at <= bounds["endDate"]
        and (spending is None or (item.amount < 0) == spending)
    ]
    page, size = values.get("pageNum", 1), values.get("pageSize", 10)
    rows = [
        {
            "_id": item.id,
            "amount": item.amount,
            "balance": item.balance,
            "description": item.note,
            "task_ids": list(item.task_ids),
            "createdAt": iso(item.at),
        }
        for item in found[(page - 1) * size : page * size]
    ]
    return service.accept({"rows": rows, "count": len(found)})


def _presign(service: Service, request: Request, now: Moment) -> Answer:
    body = request.body
    wrong = list(_permit_problems(body))
    if wrong:
        return service.refuse(400, "Invalid parameters", wrong)
    is_legacy = request.operation.path.endswith("/get_upload_presigned_url")
    if not is_legacy:
        charge = Charge(
            "presign", (), PRESIGN_COINS, now.calendar, request.operation.path, dict(body)
        )
        if (refusal := service.pay(charge, now)) is not None:
            return refusal
    lasts = body.get("expiresIn", DEFAULT_PERMIT)
    length = body.get("contentLength", body.get("fileSize"))
    prefix = body.get("urlPrefix", "adam2eve").strip("/")
    key = f"{prefix}/stable/user/{service.user_id}/{body['key'].lstrip('/')}"
    upload_url, cdn_url = service.store.permit(
        key,
        math.ceil(now.calendar + lasts),
        body.get("contentType"),
        None if length is None else int(length),
    )
    data: dict[str, Any] = {"uploadUrl": upload_url, "key": key}
    if is_legacy:
        data["bucket"] = body.get("bucket", "3days-apac")
    else:
        data["cdnUrl"] = cdn_url
    return service.accept({**data, "expiresIn": lasts})


def _permit_problems(body: Mapping[str, Any]) -> list[Problem]:
    wrong: list[Problem] = []
    key = body["key"].strip("/")
    if not key or ".." in key.split("/") or any(ord(character) < 32 for character in key):
        wrong.append(Problem("key", "must be the name of an object"))
    elif key.encode("utf-8", "replace").decode() != key:
        wrong.append(Problem("key", "must be valid Unicode"))
    wrong += [
        Problem(name, "must be a whole number of bytes")
        for name in ("contentLength", "fileSize")
        if name in body and not (0 <= body[name] <= 2**53 and body[name] == int(body[name]))
    ]
    if body.get("expiresIn", 0) > LONGEST_PERMIT:
        wrong.append(Problem("expiresIn", f"must be at most {LONGEST_PERMIT}"))
    return wrong
