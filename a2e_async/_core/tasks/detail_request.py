"""The request for the record of one task, at one of two paths."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from a2e_async._core.tasks.kind import Endpoint, TaskKind
from a2e_async._core.tasks.parsing import unwrap_detail
from a2e_async.errors import A2EError, DecodeError, InvalidRequest, NotFound

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiResponse

# An unknown path is answered with 400, 404, 405, or a web page under any status.
_UNKNOWN_PATH = (NotFound, InvalidRequest, DecodeError)


async def request_detail(
    send: "Callable[..., Awaitable[ApiResponse]]",
    kind: TaskKind[..., Any],
    endpoint: Endpoint,
    id: str,
) -> "tuple[ApiResponse, str]":
    """Return the response of the kind's detail operation, and its path.

    If the service refuses, or answers without the record, and the kind has a ``detail_fallback``,
    that is tried. If that does not help, the first response is returned, or the first refusal
    raised.
    """
    answer: tuple[ApiResponse, str] | None = None
    refusal: A2EError | None = None
    for at in (endpoint, kind.detail_fallback):
        if at is None:
            break
        path, params = at.for_id(id)
        try:
            response = await send(at.method, path, params=params)
        except _UNKNOWN_PATH as error:
            refusal = refusal or error
            continue
        if kind.detail_fallback is None or unwrap_detail(kind, response.data, id) is not None:
            return response, path
        answer = answer or (response, path)
    if answer is not None:
        return answer
    assert refusal is not None  # noqa: S101  # the first endpoint was tried
    raise refusal
