"""What the account holds besides its tasks."""

from __future__ import annotations

from typing import Any

import attrs

from .simulated_task import SimulatedTask

Record = dict[str, Any]
"""One thing of the account, as the service shows it."""


@attrs.define(slots=True)
class StreamingRoom:
    """One room of a streaming avatar, paid for until it expires."""

    opened: float
    expires: float
    """Seconds since 1970; rooms live on the true clock, as people do."""

    charge: int
    """Which charge of the ledger paid for it."""


@attrs.define(slots=True)
class AccountState:
    """The things by their ids, each table in the order of making."""

    avatars: dict[str, Record] = attrs.field(factory=dict[str, Record])
    backgrounds: dict[str, Record] = attrs.field(factory=dict[str, Record])
    faces: dict[str, Record] = attrs.field(factory=dict[str, Record])
    uploads: dict[str, Record] = attrs.field(factory=dict[str, Record])
    """Files of video twins."""

    previews: dict[str, Record] | None = None
    """Speech that the account tried on the web; None until someone asks."""

    previews_until: float = 0.0
    """The moment of the work clock at which the previews are dropped."""

    rooms: dict[str, StreamingRoom] = attrs.field(factory=dict[str, StreamingRoom])
    files: dict[str, SimulatedTask] = attrs.field(factory=dict[str, SimulatedTask])
    """Results of calls that are no tasks: in no list, but they can be downloaded."""

    uses_public_pool: bool = False
