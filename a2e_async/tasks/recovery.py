"""Matches starts whose response was lost with the records of their kind's lists (pure).

A start named by the client has a unique mark: a record that shows the mark is its task. With a
name of the user's, a record matches if it has the same name and inputs and was created while the
start was in flight. Such records are accepted only if there are exactly as many unclaimed ones as
the starts can have created, and if none of them could belong to another start that is in flight
or unresolved. Everything else is returned as candidates for the user to decide, including records
whose name, inputs or time the service may have changed.
"""

import hashlib
import html
import json
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from attrs import frozen

from a2e_async.models import Recovery
from a2e_async.narrow import is_sequence
from a2e_async.reading import read_time
from a2e_async.redact import stable_url
from a2e_async.tasks.kind import MARK_LENGTH, TaskKind, id_time
from a2e_async.tasks.status import read_id

PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 7.0, 7.0, 8.0)
"""Seconds before each scan; 29.5 s in all. New tasks can appear in a list with a delay."""

FIRST_PAUSES: Final = (0.0, 0.5)
"""Seconds before the scans that a start awaits when its response has too few tasks."""

SLACK: Final = 30.0
"""How far (s) a record's time may lie outside the period in which its start was in flight."""

UNDER_WAY: Final = 600.0
"""Seconds after which a start of a dead process is certainly no longer in flight.

A gateway may hold a request for as long before it passes it on.
"""

CLOCK_ERROR: Final = 26 * 3600.0
"""How far (s) a candidate's time may be wrong, for example by a time zone."""

RESEND_AFTER: Final = 180.0
"""Seconds after a start during which its absence from the lists proves nothing."""

CLOCKS_APART: Final = 600.0
"""How far (s) the clock of another machine that sent a start may be off."""

_MARK: Final = re.compile(r"a2e-[0-9a-v]{20}")

Raw = Mapping[str, Any]


@frozen
class Found:
    """The result of a search for a start.

    ``records`` are its tasks if ``is_certain``, else candidates, the most likely first.
    ``is_absent``: the lists show names, were read back to before the start, and hold no record
    that could be this start's.
    """

    records: tuple[Raw, ...] = ()
    sure: bool = False
    absent: bool = False


@frozen
class Rival:
    """Another start without a task, to which a record may belong.

    ``in_flight``: its response may still arrive and name any of the records.
    """

    lost: Recovery
    in_flight: bool


class _Name(IntEnum):
    """How the name in a record compares with the name that was sent; the best match first."""

    SAME = 0
    ALTERED = 1
    """Equal except for case, spaces, punctuation, escapes, emoji or Unicode form."""
    CUT = 2
    NONE = 3
    """The record shows no name."""
    OTHER = 4
    FOREIGN = 5
    """It has the mark of another start."""


def wait_for_absence(age: float, after: float = RESEND_AFTER) -> float:
    """Return the seconds to wait until a start's absence counts as proof.

    ``age`` (s) is the time since it was sent, by clocks that may differ. So it only counts if it
    exceeds the required age by the largest difference.
    """
    return 0.0 if age >= after + CLOCKS_APART else after


def echo_of(body: Mapping[str, Any]) -> dict[str, str]:
    """Return digests of the body's fields by wire name, to compare with those of a record."""
    return {name: _digest(value) for name, value in body.items()}


def same_recovery(one: Recovery, other: Recovery) -> bool:
    """Return whether two recoveries belong to one start; a journal rounds their times."""
    apart = abs((one.sent_at - other.sent_at).total_seconds())
    return (one.kind, one.digest, one.name, one.mark) == (
        other.kind,
        other.digest,
        other.name,
        other.mark,
    ) and apart < 0.001


def begins_at(lost: Sequence[Recovery], offset: float) -> float:
    """Return the earliest possible creation time, in seconds since 1970 of the service's clock."""
    return min(item.sent_at.timestamp() for item in lost) + offset - SLACK


def ends_at(lost: Recovery, offset: float) -> float:
    """Return the latest possible creation time of one start's tasks, by the same clock."""
    if lost.lost_at is not None:
        return lost.lost_at.timestamp() + offset + SLACK
    return lost.sent_at.timestamp() + offset + UNDER_WAY


def made_at(raw: Raw) -> float | None:
    """Return when a record was created, in seconds since 1970 of the service's clock."""
    try:
        return read_time(raw["createdAt"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        # Records of some kinds have no `createdAt`, but an ObjectId begins with its creation time.
        id = read_id(raw)
        return id_time(id) if id else None


def repeats_names(kind: TaskKind[..., Any], rows: Sequence[Raw]) -> bool:
    """Whether the list shows names unchanged: some record's name ends with a mark."""
    names = (_shown(kind, raw) for raw in rows)
    return any(_MARK.fullmatch(name[-MARK_LENGTH:]) for name in names)


def carries(kind: TaskKind[..., Any], raw: Raw, mark: str) -> bool:
    """Whether a record shows this mark and therefore belongs to the start with the mark."""
    return mark in _shown(kind, raw).casefold()


def match(
    kind: TaskKind[..., Any],
    lost: Sequence[Recovery],
    rows: Sequence[Raw],
    *,
    claimed: Collection[str],
    offset: float,
    complete: bool,
    rivals: Sequence[Rival] = (),
) -> list[Found]:
    """Return the search result of each of these starts of one kind, in their order.

    ``claimed`` are ids that belong to other starts. ``competing`` are other starts of the kind
    without a task. ``clock_offset`` is the service's clock minus the local one (s).
    ``reached_back``: the lists show names and were read back to before the starts.
    """
    unclaimed = {id: raw for raw in rows if (id := read_id(raw)) and id not in claimed}
    certain = _by_mark(kind, lost, unclaimed) | _by_name(kind, lost, rivals, unclaimed, offset)
    # Records that certainly belong to one start are not candidates of the others.
    matched = {id for ids in certain.values() for id in ids}
    left = [raw for id, raw in unclaimed.items() if id not in matched]
    results: list[Found] = []
    for index, start in enumerate(lost):
        if index in certain:
            results.append(Found(tuple(unclaimed[id] for id in certain[index]), sure=True))
        else:
            records = _candidates(kind, start, left, offset)
            results.append(Found(records, absent=complete and not records))
    return results


def _by_mark(
    kind: TaskKind[..., Any], lost: Sequence[Recovery], free: Mapping[str, Raw]
) -> dict[int, list[str]]:
    """Return the tasks of starts with a mark, if there are as many as expected."""
    certain: dict[int, list[str]] = {}
    mark_by_start = {index: start.mark for index, start in enumerate(lost) if start.mark}
    if not mark_by_start or kind.name_wire is None:
        return certain
    ids_by_mark: dict[str, list[str]] = {}
    for id, raw in free.items():
        # Case is ignored here, because a service may change it; marks are lower-case.
        for mark in _MARK.findall(_shown(kind, raw).casefold()):
            ids_by_mark.setdefault(mark, []).append(id)
    for index, mark in mark_by_start.items():
        ids = ids_by_mark.get(mark, [])
        # Fewer records than expected may only mean that the list lags behind.
        if len(ids) == lost[index].expected and list(mark_by_start.values()).count(mark) == 1:
            certain[index] = _in_order(ids, free)
    return certain


def _by_name(
    kind: TaskKind[..., Any],
    lost: Sequence[Recovery],
    rivals: Sequence[Rival],
    free: Mapping[str, Raw],
    offset: float,
) -> dict[int, list[str]]:
    """Return the tasks of starts with a user's own name, unless they are ambiguous.

    Starts that could have created the same record form a group. They get their tasks, the earlier
    start the earlier record, only if the starts of the group are indistinguishable, none of them
    may still get a response, and there are exactly as many records as they can have created.
    """
    certain: dict[int, list[str]] = {}
    if kind.name_wire is None or all(start.mark or not start.name for start in lost):
        return certain
    starts = [*lost, *(rival.lost for rival in rivals)]
    in_flight = {len(lost) + n for n, rival in enumerate(rivals) if rival.in_flight}
    longest_name = max((len(_shown(kind, raw)) for raw in free.values()), default=0)
    possible_starts: dict[str, set[int]] = {}
    for id, raw in free.items():
        matches = {
            place: name
            for place, start in enumerate(starts)
            if (name := _could_be(kind, start, raw, offset, longest_name)) is not None
        }
        if any(name is _Name.SAME and not starts[place].mark for place, name in matches.items()):
            possible_starts[id] = set(matches)
    for group, ids in _groups(possible_starts):
        members = sorted(group, key=lambda place: starts[place].sent_at)
        identities = {
            (starts[start_index].mark, starts[start_index].name, starts[start_index].digest)
            for start_index in members
        }
        wanted = sum(starts[place].expected for place in members)
        # Otherwise a paid task could be assigned to the wrong start.
        if len(identities) > 1 or group & in_flight or len(ids) != wanted:
            continue
        ordered = iter(_in_order(ids, free))
        shares = {
            start_index: [next(ordered) for _ in range(starts[start_index].expected)]
            for start_index in members
        }
        if all(
            _is_in_time(starts[start_index], free[id], offset)
            for start_index, share in shares.items()
            for id in share
        ):
            certain |= {place: share for place, share in shares.items() if place < len(lost)}
    return certain


def _groups(could: Mapping[str, set[int]]) -> Iterator[tuple[set[int], list[str]]]:
    """Group records that may belong to the same starts; yield the starts and the records."""
    groups: list[tuple[set[int], list[str]]] = []
    for id, starts in could.items():
        joined, ids = set(starts), [id]
        separate: list[tuple[set[int], list[str]]] = []
        for group in groups:
            if group[0] & joined:
                joined |= group[0]
                ids = group[1] + ids
            else:
                separate.append(group)
        groups = [*separate, (joined, ids)]
    yield from groups


def _could_be(
    kind: TaskKind[..., Any], start: Recovery, raw: Raw, offset: float, longest: int
) -> _Name | None:
    """Return how a record's name matches a start that may have created it, else None.

    A name counts as truncated only if the lists show no longer one: otherwise the service does
    not truncate at this length.
    """
    name = _compare(kind, start, raw)
    truncated = name is _Name.CUT and len(_shown(kind, raw)) + 1 >= longest
    if not (name in (_Name.SAME, _Name.ALTERED) or truncated) or _inputs(kind, start, raw)[1]:
        return None
    return name if _is_in_time(start, raw, offset, late=UNDER_WAY) else None


def _candidates(
    kind: TaskKind[..., Any], start: Recovery, rows: Sequence[Raw], offset: float
) -> tuple[Raw, ...]:
    """Return the records that may belong to a start, the most likely first."""
    ranked: list[tuple[tuple[Any, ...], Raw]] = []
    for raw in rows:
        name = _compare(kind, start, raw)
        if name is _Name.FOREIGN:
            continue
        same, different = _inputs(kind, start, raw)
        in_time = _is_in_time(start, raw, offset)
        near = in_time or _is_in_time(start, raw, offset, CLOCK_ERROR, UNDER_WAY + CLOCK_ERROR)
        if name is _Name.SAME:
            plausible = near or start.mark is not None
        elif name is _Name.ALTERED:
            plausible = near
        elif name is _Name.CUT:
            plausible = near and (same > 0 or not different)
        elif name is _Name.NONE:
            plausible = in_time or (near and same > 0 and not different)
        else:
            plausible = in_time and same > 0 and not different
        if plausible:
            ranked.append(((name, different, not in_time, _order(raw)), raw))
    # By name, then by the number of different inputs, then by time, the oldest first.
    ranked.sort(key=lambda item: item[0])
    return tuple(raw for _, raw in ranked)


def _in_order(ids: Collection[str], free: Mapping[str, Raw]) -> list[str]:
    return sorted(ids, key=lambda id: _order(free[id]))


def _order(raw: Raw) -> tuple[float, str]:
    return made_at(raw) or 0.0, read_id(raw) or ""


def _is_in_time(
    start: Recovery, raw: Raw, offset: float, early: float = 0.0, late: float = 0.0
) -> bool:
    """Whether a record was created while its start was in flight, within these extra seconds."""
    # A record without a time is not ruled out. With extra time, the time in the id counts, too:
    # it may be right where `createdAt` is in a wrong time zone.
    times = {made_at(raw), id_time(read_id(raw) or "")} if early else {made_at(raw)}
    begin, end = begins_at([start], offset) - early, ends_at(start, offset) + late
    return any(when is None or begin <= when <= end for when in times)


def _compare(kind: TaskKind[..., Any], start: Recovery, raw: Raw) -> _Name:
    shown = _shown(kind, raw)
    if start.mark is not None and start.mark in shown.casefold():
        return _Name.SAME
    if _MARK.search(shown.casefold()):
        return _Name.FOREIGN
    if not shown.strip() or kind.name_wire is None:
        return _Name.NONE
    if not start.name:
        return _Name.OTHER
    if shown == start.name:
        return _Name.SAME if start.mark is None else _Name.ALTERED
    sent, plain = _plain(start.name), _plain(shown)
    if sent == plain:
        return _Name.ALTERED
    return _Name.CUT if plain and sent.startswith(plain) else _Name.OTHER


def _shown(kind: TaskKind[..., Any], raw: Raw) -> str:
    name = raw.get(kind.name_wire) if kind.name_wire else None
    return name if isinstance(name, str) else ""


@lru_cache(4096)
def _plain(name: str) -> str:
    """Return the part of a name that survives all changes by a service except truncation."""
    # A service may escape a name for HTML or URLs, normalise it, or remove emoji and punctuation.
    text = unicodedata.normalize("NFKD", html.unescape(unquote(name))).casefold()
    return "".join(char for char in text if char.isalnum())


def _inputs(kind: TaskKind[..., Any], start: Recovery, raw: Raw) -> tuple[int, int]:
    """Return how many of a record's inputs equal those of the start, and how many differ."""
    same = different = 0
    for name, digest in start.echo.items():
        value = raw.get(name)
        if name == kind.name_wire or value in (None, "", []):
            continue  # an empty field is no difference: records show only part of the inputs
        if any(_digest(form) == digest for form in _forms(value)):
            same += 1
        else:
            different += 1
    return same, different


def _forms(value: Any) -> Iterator[Any]:
    """Yield the values that may have been sent: a service may return a number as text, say."""
    yield value
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            yield json.loads(value.strip().lower())
        yield value.strip()
    elif isinstance(value, bool):
        yield str(value).lower()
        yield int(value)
    elif isinstance(value, int | float):
        yield str(value)
        if value in (0, 1):
            yield bool(value)
        if isinstance(value, float) and value.is_integer():
            yield int(value)
            yield str(int(value))


def _digest(value: Any) -> str:
    if is_sequence(value):
        value = [stable_url(item) if isinstance(item, str) else item for item in value]
    elif isinstance(value, str):
        value = stable_url(value)
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
