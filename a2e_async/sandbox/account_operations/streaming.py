"""Rooms with a streaming avatar: paid ahead, few at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from ..clock import Moment, iso
from ..api_spec import Problem
from . import catalogue
from .helpers import Call, Play, given, invalid, pay, refuse
from ..account_state import Room

if TYPE_CHECKING:
    from ..service import Service

HOSTS: Final = 3
"""How many rooms there can be at once."""

OCCUPIED: Final = 1001
"""The code that says that all hosts are occupied."""

SECONDS_PER_COIN: Final = 10
"""How long one coin lasts, in true seconds."""

USUAL_SECONDS: Final = 60
"""How long a room lasts when nothing is asked."""

LONGEST_STAY: Final = 86400
"""The longest time that one token may ask for, in seconds."""

LONGEST_CONTEXT: Final = 5000
"""Characters of a room's context."""


def _avatars(service: Service, call: Call, now: Moment) -> Any:
    return catalogue.rooms()


def _open(service: Service, call: Call, now: Moment) -> Any:
    seconds, wrong = call.body.get("expire_seconds", USUAL_SECONDS), list[Problem]()
    if call.body.get("avatar_id") not in {item["_id"] for item in catalogue.rooms()}:
        wrong.append(Problem("avatar_id", "is no streaming avatar"))
    if not 1 <= seconds <= LONGEST_STAY:
        wrong.append(Problem("expire_seconds", f"must lie between 1 and {LONGEST_STAY}"))
    if wrong:
        invalid(service, *wrong)
    if len(_rooms(service, now)) >= HOSTS:
        refuse(service, 200, "All hosts are occupied, please try again later", OCCUPIED)
    pay(service, call, "streaming_avatar", math.ceil(seconds / SECONDS_PER_COIN), now)
    channel, expires = service.trace_id(), now.calendar + seconds
    service.others.rooms[channel] = Room(now.calendar, expires, len(service.ledger.charges) - 1)
    return {
        "appId": f"{service.random.getrandbits(128):032x}",
        "channel": channel,
        "token": f"007{service.random.getrandbits(256):064x}",
        "uid": service.random.randrange(1, 2**31),
        "expire_epoch_timestamp": math.floor(expires),
        "expire_date_UTC": iso(expires),
    }


def _context(service: Service, call: Call, now: Moment) -> Any:
    _room(service, call, now)
    if len(call.body["text"]) > LONGEST_CONTEXT:
        invalid(service, Problem("text", f"must have at most {LONGEST_CONTEXT} characters"))
    return {}


def _say(service: Service, call: Call, now: Moment) -> Any:
    given(service, call, "channel", "text")
    _room(service, call, now)
    return {}


def _leave(service: Service, call: Call, now: Moment) -> Any:
    """Gives back the coins of the time that was not used; a begun coin is used."""
    room = _room(service, call, now)
    del service.others.rooms[call.body["channel"]]
    used = math.ceil((now.calendar - room.opened) / SECONDS_PER_COIN)
    unused = service.ledger.charges[room.charge].coins - used
    service.ledger.give_back(room.charge, unused, now.calendar, service.new_id(now))
    return {}


def _rooms(service: Service, now: Moment) -> dict[str, Room]:
    """Returns the rooms that are open; those whose time is over are closed first."""
    rooms = service.others.rooms
    for channel in [key for key, room in rooms.items() if room.expires <= now.calendar]:
        del rooms[channel]
    return rooms


def _room(service: Service, call: Call, now: Moment) -> Room:
    room = _rooms(service, now).get(call.body["channel"])
    if room is None:
        refuse(service, 400, "There is no such channel")
    return room


PLAYS: Final[dict[str, Play]] = {
    "GET /api/v1/streaming-avatar/all_avatars": _avatars,
    "POST /api/v1/streaming-avatar/agora-token": _open,
    "POST /api/v1/streaming-avatar/set-qa-context": _context,
    "POST /api/v1/streaming-avatar/ask": _say,
    "POST /api/v1/streaming-avatar/speak": _say,
    "POST /api/v1/streaming-avatar/leave": _leave,
}
"""What this module carries out, by method and path."""
