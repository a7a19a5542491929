"""Any call to the API by its path: ``a2e.request``."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from a2e_async.errors import InvalidInput
from a2e_async.inputs import check_names
from a2e_async.narrow import is_map
from a2e_async.transport.ratelimit import Priority
from a2e_async.transport.retry import Repeat

if TYPE_CHECKING:
    from a2e_async.resources.room import Room
    from a2e_async.transport.session import Answer

METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})

# Of these the service keeps one result however often they arrive.
_REPEATABLE: Final = frozenset({"GET", "PUT", "DELETE"})

_PATH: Final = re.compile(r"/[A-Za-z0-9_\-.~%/:@]*")


async def send(
    room: "Room",
    method: str,
    path: str,
    *,
    params: Mapping[str, Any] | None,
    json: Any,
    charged: bool | None,
) -> "Answer":
    """Check and send one call; see `A2E.request`."""
    verb = method.upper() if isinstance(method, str) else ""
    if verb not in METHODS:
        raise InvalidInput(f"method must be one of {', '.join(sorted(METHODS))}.", field="method")
    if not isinstance(path, str) or not _PATH.fullmatch(path) or path.startswith("//"):
        raise InvalidInput(
            "path must be the path of the operation alone, such as /api/v1/userDubbing/allRecords: "
            "no host (that is base_url), no query (that is params).",
            field="path",
        )
    if params is not None and not is_map(params):
        raise InvalidInput("params must be a mapping of names to values.", field="params")
    if charged is not None and (not isinstance(charged, bool) or verb in _REPEATABLE):
        raise InvalidInput(
            "charged is True or False for a POST or PATCH; GET, PUT and DELETE are free to "
            "repeat by HTTP's own rules.",
            field="charged",
        )
    check_names("json", json)
    check_names("params", params)
    paid = verb not in _REPEATABLE if charged is None else charged
    return await room.session.request(
        verb,
        path,
        params=params,
        json=json,
        repeat=Repeat.CHARGED if paid else Repeat.FREE,
        timeout=room.start_timeout if paid else room.request_timeout,
        priority=Priority.CALL if room.priority is None else room.priority,
    )
