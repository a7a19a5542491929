"""The sandbox's own routes under ``/__sandbox__/``: for other processes on this machine."""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Callable
from typing import Any

import attrs
from aiohttp import web

from ..locked_service import Engine, LedgerView
from ..faults import SETTABLE
from .responses import json_bytes, json_response


@attrs.define(slots=True)
class Control:
    """Answers the control routes, without a token but only over loopback."""

    engine: Engine

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Returns the answer to one control request."""
        if not _is_loopback(request.remote):
            return _told({"error": "control routes answer on loopback only"}, 403)
        route = (request.method, request.path.removeprefix("/__sandbox__/"))
        if route == ("GET", "ledger"):
            return _told(self._ledger())
        if route == ("GET", "tasks"):
            return _told({"tasks": [_plain(view) for view in self.engine.views()]})
        if route not in {("POST", "faults"), ("POST", "clock")}:
            return _told({"error": "no such control route"}, 404)
        try:
            body = json.loads(await request.read())
            if route[1] == "faults":
                self._order_fault(**body)
            else:
                self.engine.advance(float(body["advance"]))
        except (ValueError, TypeError, KeyError) as error:
            return _told({"error": f"{type(error).__name__}: {error}"}, 400)
        return _told({"ok": True, "pending": list(self.engine.faults.pending)})

    def _ledger(self) -> dict[str, Any]:
        view, engine = LedgerView(self.engine), self.engine
        with engine.lock:
            return {
                "charges": [attrs.asdict(charge) for charge in view.charges],
                "balance": view.balance,
                "spent": view.spent,
                "calls": [
                    {"role": role, "kind": kind, "count": count}
                    for (role, kind), count in engine.service.calls.items()
                ],
                "calls_total": engine.service.calls.total(),
                "transfers": dict(engine.transfers),
                "leaks": [attrs.asdict(leak) for leak in engine.leaks],
                "results_made_with": engine.maker.made_with,
            }

    def _order_fault(self, fault: str, **values: Any) -> None:
        if fault not in SETTABLE:
            msg = f"no such fault: {fault}"
            raise ValueError(msg)
        method: Callable[..., None] = getattr(self.engine.faults, fault)
        method(**values)


def _plain(view: Any) -> dict[str, Any]:
    told = attrs.asdict(view)
    told["marks"] = sorted(view.marks)
    if math.isinf(view.ends_at):
        told["ends_at"] = None
    return told


def _told(value: Any, status: int = 200) -> web.Response:
    return json_response(json_bytes(value), status)


def _is_loopback(remote: str | None) -> bool:
    try:
        address = ipaddress.ip_address((remote or "").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
