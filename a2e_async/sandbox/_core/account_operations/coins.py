"""Quotes, the balance and the credit history."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from ..api_messages import SandboxRequest, SandboxResponse
from ..api_spec import all_operations
from ..clock import Moment, format_iso, parse_iso
from ..kinds.kind import SimulatedKind
from ..service import Service
from ..validation import FieldProblem, parse_query, schema_problems
from .helpers import RequestHandler


def _quote_price(service: Service, request: SandboxRequest, now: Moment) -> SandboxResponse:
    body = request.body
    if problems := list(schema_problems(request.operation.body_schema or {}, body)):
        return service.refuse(400, "Invalid parameters", problems)
    path = body["endpoint"].strip().removeprefix("POST ").strip()
    kind = service.kinds_by_start_path.get(path)
    if kind is None or not kind.is_quotable:
        return service.refuse(400, "This endpoint cannot be quoted")
    inputs = body["requestBody"]
    if problems := _price_input_problems(kind, inputs):
        return service.refuse(400, "Invalid pricing parameters", problems)
    source_seconds = service.measure_source(kind, inputs, now)
    coins = kind.price(inputs, source_seconds) * kind.output_count(inputs)
    return service.accept({"coins": coins, "generationRequestValidated": False})


def _price_input_problems(kind: SimulatedKind, inputs: Mapping[str, Any]) -> list[FieldProblem]:
    """Return what is wrong with the inputs that decide the price; a quote checks no others."""
    if kind.is_declared:
        return []
    start = next(item for item in all_operations() if item.path == kind.start_path)
    properties = (start.body_schema or {}).get("properties", {})
    priced = {name: properties[name] for name in kind.price_inputs}
    return list(schema_problems({"type": "object", "properties": priced}, inputs))


def _get_balance(service: Service, request: SandboxRequest, now: Moment) -> SandboxResponse:
    return service.accept({"coins": service.ledger.balance, "diamonds": 0})


def _list_transactions(service: Service, request: SandboxRequest, now: Moment) -> SandboxResponse:
    values, problems = parse_query(request.operation, request.query)
    bounds = {"startDate": -math.inf, "endDate": math.inf}
    for name in bounds:
        if name in values:
            try:
                bounds[name] = parse_iso(values[name])
            except (ValueError, OverflowError):
                problems.append(FieldProblem(name, "must be an ISO date"))
    if problems:
        return service.refuse(400, "Invalid parameters", problems)
    only_spending = values.get("is_consumption")
    found = [
        item
        for item in reversed(service.ledger.transactions)
        if bounds["startDate"] <= item.at <= bounds["endDate"]
        and (only_spending is None or (item.amount < 0) == only_spending)
    ]
    page, size = values.get("pageNum", 1), values.get("pageSize", 10)
    rows = [
        {
            "_id": item.id,
            "amount": item.amount,
            "balance": item.balance,
            "description": item.note,
            "task_ids": list(item.task_ids),
            "createdAt": format_iso(item.at),
        }
        for item in found[(page - 1) * size : page * size]
    ]
    return service.accept({"rows": rows, "count": len(found)})


HANDLERS: Final[dict[str, RequestHandler]] = {
    "POST /api/v1/generation/quote": _quote_price,
    "GET /api/v1/user/remainingCoins": _get_balance,
    "GET /api/v1/transactionRecord/creditsHistory": _list_transactions,
}
"""The handlers of this module, by method and path."""
