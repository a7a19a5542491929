"""The control routes under ``/__sandbox__/``, for other processes on this machine."""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Callable
from typing import Any, Final

import attrs
from aiohttp import web

from ..faults import CONTROLLABLE_FAULTS
from ..locked_service import LockedService
from ..views import LedgerView, view_tasks
from .responses import json_bytes, json_response

CONTROL_PREFIX: Final = "/__sandbox__/"
"""What the paths of the control routes begin with."""


@attrs.define(slots=True)
class ControlRoutes:
    """Handles the control routes: without a token, but only over loopback.

    Web pages cannot read their responses: these carry no CORS headers.
    """

    locked: LockedService

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Return the response to one control request."""
        if not _is_loopback(request.remote):
            return _json_answer({"error": "control routes answer on loopback only"}, 403)
        route = (request.method, request.path.removeprefix(CONTROL_PREFIX))
        if route == ("GET", "ledger"):
            return _json_answer(self._ledger())
        if route == ("GET", "tasks"):
            return _json_answer(
                {"tasks": [_task_as_json(view) for view in view_tasks(self.locked)]}
            )
        if route not in {("POST", "faults"), ("POST", "clock")}:
            return _json_answer({"error": "no such control route"}, 404)
        try:
            body = json.loads(await request.read())
            if route[1] == "faults":
                self._add_fault(**body)
            else:
                self.locked.advance(float(body["advance"]))
        except (ValueError, TypeError, KeyError) as error:
            return _json_answer({"error": f"{type(error).__name__}: {error}"}, 400)
        return _json_answer({"ok": True, "pending": list(self.locked.faults.pending)})

    def _ledger(self) -> dict[str, Any]:
        view, locked = LedgerView(self.locked), self.locked
        with locked.lock:
            return {
                "charges": [attrs.asdict(charge) for charge in view.charges],
                "balance": view.balance,
                "spent": view.spent,
                "calls": [
                    {"role": role, "kind": kind, "count": count}
                    for (role, kind), count in locked.service.calls.items()
                ],
                "calls_total": locked.service.calls.total(),
                "transfers": dict(locked.transfers),
                "leaks": [attrs.asdict(leak) for leak in locked.leaks],
                "results_made_with": locked.maker.made_with,
            }

    def _add_fault(self, fault: str, **values: Any) -> None:
        if fault not in CONTROLLABLE_FAULTS:
            msg = f"no such fault: {fault}"
            raise ValueError(msg)
        method: Callable[..., None] = getattr(self.locked.faults, fault)
        method(**values)


def _task_as_json(view: Any) -> dict[str, Any]:
    value = attrs.asdict(view)
    value["marks"] = sorted(view.marks)
    if math.isinf(view.ends_at):
        value["ends_at"] = None
    return value


def _json_answer(value: Any, status: int = 200) -> web.Response:
    return json_response(json_bytes(value), status)


def _is_loopback(remote: str | None) -> bool:
    try:
        address = ipaddress.ip_address((remote or "").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
