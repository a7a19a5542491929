"""What the account owns besides its tasks."""

from __future__ import annotations

from typing import Any

import attrs

from .simulated_task import SimulatedTask

Record = dict[str, Any]
"""A record of the account, as the service returns it."""


@attrs.define(slots=True)
class OpenRoom:
    """A streaming-avatar room, paid for until it expires.

    Created when a room is entered; kept by the `AccountState` until it is left.
    """

    opened: float
    expires: float
    """Seconds since 1970. Rooms use the real-time clock: people watch them."""

    charge: int
    """The index of the charge in the ledger that paid for it."""


@attrs.define(slots=True)
class AccountState:
    """The records of the account by id, each table in order of creation.

    Owned by the `Service`, whose operations change it under its lock.
    """

    avatars: dict[str, Record] = attrs.field(factory=dict[str, Record])
    backgrounds: dict[str, Record] = attrs.field(factory=dict[str, Record])
    faces: dict[str, Record] = attrs.field(factory=dict[str, Record])
    uploads: dict[str, Record] = attrs.field(factory=dict[str, Record])
    """Files uploaded for video twins."""

    previews: dict[str, Record] | None = None
    """Speech previews made on the web page; None until the first request for them."""

    previews_until: float = 0.0
    """When the previews are dropped, in service time."""

    rooms: dict[str, OpenRoom] = attrs.field(factory=dict[str, OpenRoom])
    files: dict[str, SimulatedTask] = attrs.field(factory=dict[str, SimulatedTask])
    """Files of calls that start no task: they are in no list but can be downloaded."""

    uses_public_pool: bool = False
