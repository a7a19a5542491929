"""Routes an API request to the function that carries it out."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from .account_operations.registry import ACCOUNT_HANDLERS
from .api_messages import SandboxRequest, SandboxResponse
from .api_spec import Operation, Router, all_operations
from .clock import Moment
from .kind_operations.dispatch import handle_kind_request
from .kinds.registry import KINDS
from .service import Service


def handle(service: Service, request: SandboxRequest, now: Moment) -> SandboxResponse:
    """Carry out one request and return its response.

    ``now`` must not be earlier than in any previous call.
    """
    service.process_ended_tasks(now)
    handler = ACCOUNT_HANDLERS.get((request.operation.method, request.operation.path))
    if handler is not None:
        return handler(service, request, now)
    return handle_kind_request(service, request, now)


@cache
def router() -> Router:
    """Return the router over every operation that the sandbox serves."""
    return Router.from_operations(_served_operations())


def router_with(declared: Iterable[Operation]) -> Router:
    """Return the router over these operations and those that the sandbox always serves."""
    own = tuple(declared)
    return Router.from_operations((*own, *_served_operations())) if own else router()


def _served_operations() -> Iterable[Operation]:
    return (
        item
        for item in all_operations()
        if item.kind in KINDS or (item.method, item.path) in ACCOUNT_HANDLERS
    )
