"""Finds the tasks of starts whose answer was lost, among the records of their kind's list (pure).

A start that the client named carries a mark no other start has: a record that shows the mark is
its task. Under a user's own name a record counts when it repeats the name and the inputs and was
made in the time in which the start was under way. Only exactly as many unclaimed records as the
starts can have made are adopted; anything else is left to the user, as candidates.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from a2e_async.models import Recovery
from a2e_async.narrow import is_sequence
from a2e_async.reading import read_time
from a2e_async.redact import stable_url
from a2e_async.tasks.kind import TaskKind, id_time
from a2e_async.tasks.status import read_id

PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 7.0, 10.0, 10.0, 10.0)
"""Seconds before each search; 44.5 in all. A list can lag behind a start."""

SLACK: Final = 30.0
"""Seconds that a record's time may lie outside the time in which its start was under way."""

UNDER_WAY: Final = 600.0
"""Seconds after which a start whose process died was certainly not under way any more."""

RESEND_AFTER: Final = 180.0
"""Seconds after a start before which its absence proves nothing."""

CLOCKS_APART: Final = 600.0
"""Seconds that the clock which timed a start may be wrong, as another machine's may."""

_MARK: Final = re.compile(r"a2e-[0-9a-v]{20}\Z")

Raw = Mapping[str, Any]


@frozen
class Found:
    """What a look through the list showed for a start.

    ``records`` are its tasks when ``sure``, else candidates. ``absent``: the list was read
    back to before the start, it repeats names, and nothing in it can be this start's.
    """

    records: tuple[Raw, ...] = ()
    sure: bool = False
    absent: bool = False


def wait_for_absence(age: float, after: float = RESEND_AFTER) -> float:
    """Return the seconds to wait before a start's absence proves something.

    ``age`` is how long ago it was sent, by clocks that may be apart: only a great one is believed.
    """
    return 0.0 if age >= after + CLOCKS_APART else after


def echo_of(body: Mapping[str, Any]) -> dict[str, str]:
    """Return digests of what a record may repeat of a start's body, by wire name."""
    return {name: _digest(value) for name, value in body.items()}


def begins_at(lost: Sequence[Recovery], offset: float) -> float:
    """Return the earliest moment (service's seconds since 1970) at which one may have been made."""
    return min(item.sent_at.timestamp() for item in lost) + offset - SLACK


def ends_at(lost: Recovery, offset: float) -> float:
    """Return the latest such moment of one start."""
    if lost.lost_at is not None:
        return lost.lost_at.timestamp() + offset + SLACK
    return lost.sent_at.timestamp() + offset + UNDER_WAY


def made_at(raw: Raw) -> float | None:
    """Return when a record was made, in the service's seconds since 1970."""
    try:
        return read_time(raw["createdAt"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        id = read_id(raw)
        return id_time(id) if id else None


def repeats_names(kind: TaskKind[..., Any], rows: Sequence[Raw]) -> bool:
    """Whether the list shows names as they were sent: some record carries a client's mark."""
    wire = kind.name_wire
    return wire is not None and any(_MARK.search(str(raw.get(wire, ""))) for raw in rows)


def match(
    kind: TaskKind[..., Any],
    lost: Sequence[Recovery],
    rows: Sequence[Raw],
    *,
    claimed: Collection[str],
    offset: float,
    complete: bool,
) -> list[Found]:
    """Return what the list shows for each of these starts of one kind, in their order.

    ``claimed`` are ids that belong to other starts; ``offset`` is the service's clock less
    ours, in seconds; ``complete`` tells whether the rows reach back to before the starts, in a
    list that repeats names.
    """
    free = {id: raw for raw in rows if (id := read_id(raw)) and id not in claimed}
    found: list[Found] = [Found()] * len(lost)
    for group in _groups(lost):
        starts = [lost[place] for place in group]
        fits = [id for id, raw in free.items() if _fits(kind, starts, raw, offset)]
        fits.sort(key=lambda id: (made_at(free[id]) or 0.0, id))
        wanted = sum(start.expected for start in starts)
        sure = len(fits) == wanted and kind.name_wire is not None and bool(starts[0].name)
        ids = iter(fits)
        for place in group:
            mine = [next(ids) for _ in range(lost[place].expected)] if sure else fits
            records = tuple(free[id] for id in mine)
            found[place] = Found(records, sure, complete and not fits)
        if sure:
            for id in fits:
                del free[id]
    return found


def _groups(lost: Sequence[Recovery]) -> Iterator[list[int]]:
    """Starts that no record can tell apart stand together, the earliest first; a mark alone."""
    groups: dict[Any, list[int]] = {}
    for place, item in enumerate(lost):
        groups.setdefault(item.mark or (item.name, item.digest), []).append(place)
    for group in groups.values():
        yield sorted(group, key=lambda place: lost[place].sent_at)


def _fits(kind: TaskKind[..., Any], starts: Sequence[Recovery], raw: Raw, offset: float) -> bool:
    name = raw.get(kind.name_wire) if kind.name_wire else None
    one = starts[0]
    if one.mark is not None:
        return isinstance(name, str) and name.strip().endswith(one.mark)
    if name != one.name or not _repeats(one.echo, raw):
        return False
    when = made_at(raw)
    if when is None:
        return True  # without a time nothing speaks against it; the count still does
    return begins_at(starts, offset) <= when <= max(ends_at(start, offset) for start in starts)


def _repeats(echo: Mapping[str, str], raw: Raw) -> bool:
    """Whether the record repeats the inputs, as far as it shows them."""
    return all(
        _digest(raw[name]) == digest
        for name, digest in echo.items()
        if raw.get(name) not in (None, "", [])
    )


def _digest(value: Any) -> str:
    if is_sequence(value):
        value = [stable_url(item) if isinstance(item, str) else item for item in value]
    elif isinstance(value, str):
        value = stable_url(value)
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
