"""Every operation that is no task kind's own: voices, speech, avatars, rooms, older ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from . import avatars, legacy as older, streaming as rooms, voices
from .helpers import Handler, handler
from ..account_state import Others as Others

HANDLERS: Final[Mapping[tuple[str, str], Handler]] = {
    (name.partition(" ")[0], name.partition(" ")[2]): handler(play)
    for plays in (voices.PLAYS, avatars.PLAYS, rooms.PLAYS, older.PLAYS)
    for name, play in plays.items()
}
"""What answers a request, by method and path of its operation."""
