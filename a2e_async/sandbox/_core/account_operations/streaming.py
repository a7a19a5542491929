"""Streaming-avatar rooms: prepaid, with a limit on how many are open at once."""

from __future__ import annotations

import math
from typing import Any, Final

from ..account_state import OpenRoom
from ..clock import Moment, format_iso
from ..service import Service
from ..validation import FieldProblem
from . import system_catalogue
from .helpers import (
    OperationFunction,
    ValidatedCall,
    charge_call,
    refuse,
    refuse_invalid,
    require_fields,
)

MAX_ROOMS: Final = 3
"""How many rooms can be open at once."""

ALL_HOSTS_OCCUPIED_CODE: Final = 1001
"""The envelope code for "all hosts are occupied"."""

SECONDS_PER_COIN: Final = 10
"""The real seconds that one coin pays for."""

DEFAULT_SECONDS: Final = 60
"""How long a room stays open when the request names no time, in seconds."""

MAX_SECONDS: Final = 86400
"""The longest time that a request may ask for, in seconds."""

MAX_CONTEXT_LENGTH: Final = 5000
"""The longest context of a room, in characters."""


def _list_avatars(service: Service, call: ValidatedCall, now: Moment) -> Any:
    return system_catalogue.streaming_avatars()


def _open_room(service: Service, call: ValidatedCall, now: Moment) -> Any:
    seconds, problems = call.body.get("expire_seconds", DEFAULT_SECONDS), list[FieldProblem]()
    if call.body.get("avatar_id") not in {
        item["_id"] for item in system_catalogue.streaming_avatars()
    }:
        problems.append(FieldProblem("avatar_id", "is no streaming avatar"))
    if not 1 <= seconds <= MAX_SECONDS:
        problems.append(FieldProblem("expire_seconds", f"must lie between 1 and {MAX_SECONDS}"))
    if problems:
        refuse_invalid(service, *problems)
    if len(_open_rooms(service, now)) >= MAX_ROOMS:
        refuse(
            service, 200, "All hosts are occupied, please try again later", ALL_HOSTS_OCCUPIED_CODE
        )
    charge_call(service, call, "streaming_avatar", math.ceil(seconds / SECONDS_PER_COIN), now)
    channel, expires = service.trace_id(), now.calendar + seconds
    service.account.rooms[channel] = OpenRoom(
        now.calendar, expires, len(service.ledger.charges) - 1
    )
    return {
        "appId": f"{service.random.getrandbits(128):032x}",
        "channel": channel,
        "token": f"007{service.random.getrandbits(256):064x}",
        "uid": service.random.randrange(1, 2**31),
        "expire_epoch_timestamp": math.floor(expires),
        "expire_date_UTC": format_iso(expires),
    }


def _set_context(service: Service, call: ValidatedCall, now: Moment) -> Any:
    _require_room(service, call, now)
    if len(call.body["text"]) > MAX_CONTEXT_LENGTH:
        refuse_invalid(
            service, FieldProblem("text", f"must have at most {MAX_CONTEXT_LENGTH} characters")
        )
    return {}


def _speak_in_room(service: Service, call: ValidatedCall, now: Moment) -> Any:
    require_fields(service, call, "channel", "text")
    _require_room(service, call, now)
    return {}


def _leave_room(service: Service, call: ValidatedCall, now: Moment) -> Any:
    """Close the room and refund the unused time; a coin counts as used once its time has begun."""
    room = _require_room(service, call, now)
    del service.account.rooms[call.body["channel"]]
    used = math.ceil((now.calendar - room.opened) / SECONDS_PER_COIN)
    unused = service.ledger.charges[room.charge].coins - used
    service.ledger.refund_part(room.charge, unused, now.calendar, service.new_id(now))
    return {}


def _open_rooms(service: Service, now: Moment) -> dict[str, OpenRoom]:
    """Return the open rooms, after closing the expired ones."""
    rooms = service.account.rooms
    for channel in [key for key, room in rooms.items() if room.expires <= now.calendar]:
        del rooms[channel]
    return rooms


def _require_room(service: Service, call: ValidatedCall, now: Moment) -> OpenRoom:
    room = _open_rooms(service, now).get(call.body["channel"])
    if room is None:
        refuse(service, 400, "There is no such channel")
    return room


OPERATIONS: Final[dict[str, OperationFunction]] = {
    "GET /api/v1/streaming-avatar/all_avatars": _list_avatars,
    "POST /api/v1/streaming-avatar/agora-token": _open_room,
    "POST /api/v1/streaming-avatar/set-qa-context": _set_context,
    "POST /api/v1/streaming-avatar/ask": _speak_in_room,
    "POST /api/v1/streaming-avatar/speak": _speak_in_room,
    "POST /api/v1/streaming-avatar/leave": _leave_room,
}
"""The operations of this module, by method and path."""
