"""Requests to any API operation by its path: ``a2e.request``."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.http.retry import RetrySafety
from a2e_async._core.schema.json_guard import check_field_name, guarded_json
from a2e_async._core.submission.budget import commit_on_exit
from a2e_async._core.typeguards import is_mapping, is_sequence
from a2e_async.errors import InvalidInput

if TYPE_CHECKING:
    from a2e_async._core.context import RequestContext
    from a2e_async._core.http.session import ApiResponse

HTTP_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})

# Repeating one of these changes nothing more at the service (RFC 9110), so it may be retried.
_IDEMPOTENT_METHODS: Final = frozenset({"GET", "PUT", "DELETE"})

_PATH: Final = re.compile(r"/[A-Za-z0-9_\-.~%/:@]*")


def check_path(path: Any, field: str) -> str:
    """Return the path of an operation, without host and query."""
    if not isinstance(path, str) or not _PATH.fullmatch(path) or path.startswith("//"):
        raise InvalidInput(
            f"{field} must be the path of an operation, such as /api/v1/userDubbing/allRecords. "
            "Give the host as base_url and the query as params.",
            field=field,
        )
    return path


def _check_params(params: Any) -> None:
    if not is_mapping(params):
        raise InvalidInput("params must be a mapping of names to values.", field="params")
    for name, value in params.items():
        check_field_name("params", name)
        is_simple = value is None or isinstance(value, str | int | float)
        if not is_simple or (not isinstance(value, str | None) and not abs(value) < 2**63):
            raise InvalidInput(
                "The values of params must be strings, numbers or bools.", field="params"
            )


async def send_raw_request(
    context: "RequestContext",
    method: str,
    path: str,
    *,
    params: Mapping[str, Any] | None,
    json: Any,
    charged: bool | None,
) -> "ApiResponse":
    """Check and send one request; see `A2E.request`."""
    verb = method.upper() if isinstance(method, str) else ""
    if verb not in HTTP_METHODS:
        raise InvalidInput(
            f"method must be one of {', '.join(sorted(HTTP_METHODS))}.", field="method"
        )
    check_path(path, "path")
    if params is not None:
        _check_params(params)
    if json is not None and not is_mapping(json) and not is_sequence(json):
        # A string would bypass the check for inputs that switch off a safety check.
        raise InvalidInput(
            "json must be a mapping or a list; it is encoded by the client.", field="json"
        )
    if charged is not None and (not isinstance(charged, bool) or verb in _IDEMPOTENT_METHODS):
        raise InvalidInput(
            "charged must be True or False, for POST and PATCH only: GET, PUT and DELETE are "
            "idempotent and always retried.",
            field="charged",
        )
    paid = verb not in _IDEMPOTENT_METHODS if charged is None else charged
    body = None if json is None else guarded_json("json", json)
    priority = Priority.CALL if context.priority is None else context.priority
    if not paid:
        return await context.session.request(
            verb,
            path,
            params=params,
            json=body,
            timeout=context.request_timeout,
            priority=priority,
        )
    # A budget covers everything that may be charged, so the operation is priced and reserved.
    reservation = await context.charged.reserve(path, path, body if is_mapping(body) else {})
    call = context.session.new_call(
        verb,
        path,
        params=params,
        json=body,
        retry_safety=RetrySafety.CHARGED,
        timeout=context.start_timeout,
        priority=priority,
    )
    with commit_on_exit(reservation, path, call):
        return await context.session.send(call)
