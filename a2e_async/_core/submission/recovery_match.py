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

from a2e_async._core.converter import parse_time
from a2e_async._core.journal.rules import MAX_TIME_IN_FLIGHT
from a2e_async._core.redact import stable_url
from a2e_async._core.tasks.kind import MARK_LENGTH, TaskKind, creation_time_of_id
from a2e_async._core.tasks.parsing import read_id
from a2e_async._core.typeguards import is_sequence
from a2e_async.models import Recovery

SCAN_DELAYS: Final = (0.5, 1.0, 2.0, 4.0, 7.0, 7.0, 8.0)
"""Seconds before each scan; 29.5 s in all. New tasks can appear in a list with a delay."""

SHORT_SCAN_DELAYS: Final = (0.0, 0.5)
"""Seconds before the scans that a start awaits when its response has too few tasks."""

TIME_TOLERANCE: Final = 30.0
"""How far (s) a record's time may lie outside the period in which its start was in flight."""


MAX_RECORD_TIME_ERROR: Final = 26 * 3600.0
"""How far (s) a candidate's time may be wrong, for example by a time zone."""

MIN_AGE_FOR_RESEND: Final = 180.0
"""Seconds after a start during which its absence from the lists proves nothing."""

MAX_CLOCK_SKEW: Final = 600.0
"""How far (s) the clock of another machine that sent a start may be off."""

_MARK: Final = re.compile(r"a2e-[0-9a-v]{20}")

RawRecord = Mapping[str, Any]


@frozen
class SearchResult:
    """The result of a search for a start.

    ``records`` are its tasks if ``is_certain``, else candidates, the most likely first.
    ``is_absent``: the lists show names, were read back to before the start, and hold no record
    that could be this start's.
    """

    records: tuple[RawRecord, ...] = ()
    is_certain: bool = False
    is_absent: bool = False

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its records."""
        return tuple(id for raw in self.records if (id := read_id(raw)))


@frozen
class CompetingStart:
    """Another start without a task, to which a record may belong.

    ``in_flight``: its response may still arrive and name any of the records.
    """

    recovery: Recovery
    in_flight: bool


class _NameMatch(IntEnum):
    """How the name in a record compares with the name that was sent; the best match first."""

    SAME = 0
    ALTERED = 1
    """Equal except for case, spaces, punctuation, escapes, emoji or Unicode form."""
    TRUNCATED = 2
    NOT_SHOWN = 3
    """The record shows no name."""
    DIFFERENT = 4
    OTHER_MARK = 5
    """It has the mark of another start."""


def seconds_until_absence_counts(age: float, min_age: float = MIN_AGE_FOR_RESEND) -> float:
    """Return the seconds to wait until a start's absence counts as proof.

    ``age`` (s) is the time since it was sent, by clocks that may differ. So it only counts if it
    exceeds the required age by the largest difference.
    """
    return 0.0 if age >= min_age + MAX_CLOCK_SKEW else min_age


def body_digests(body: Mapping[str, Any]) -> dict[str, str]:
    """Return digests of the body's fields by wire name, to compare with those of a record."""
    return {name: _value_digest(value) for name, value in body.items()}


def earliest_creation(recoveries: Sequence[Recovery], clock_offset: float) -> float:
    """Return the earliest possible creation time, in seconds since 1970 of the service's clock."""
    return min(item.sent_at.timestamp() for item in recoveries) + clock_offset - TIME_TOLERANCE


def latest_creation(recovery: Recovery, clock_offset: float) -> float:
    """Return the latest possible creation time of one start's tasks, by the same clock."""
    if recovery.lost_at is not None:
        return recovery.lost_at.timestamp() + clock_offset + TIME_TOLERANCE
    return recovery.sent_at.timestamp() + clock_offset + MAX_TIME_IN_FLIGHT


def record_created_at(raw: RawRecord) -> float | None:
    """Return when a record was created, in seconds since 1970 of the service's clock."""
    try:
        return parse_time(raw["createdAt"]).timestamp()
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        # Records of some kinds have no `createdAt`, but an ObjectId begins with its creation time.
        id = read_id(raw)
        return creation_time_of_id(id) if id else None


def shows_marks(kind: TaskKind[..., Any], rows: Sequence[RawRecord]) -> bool:
    """Whether the list shows names unchanged: some record's name ends with a mark."""
    names = (_shown_name(kind, raw) for raw in rows)
    return any(_MARK.fullmatch(name[-MARK_LENGTH:]) for name in names)


def has_mark(kind: TaskKind[..., Any], raw: RawRecord, mark: str) -> bool:
    """Whether a record shows this mark and therefore belongs to the start with the mark."""
    return mark in _shown_name(kind, raw).casefold()


def without_other_starts(
    kind: TaskKind[..., Any], recovery: Recovery, rows: Sequence[RawRecord]
) -> tuple[RawRecord, ...]:
    """Return the records of a start's response without those of other starts.

    Those show the mark of another start, and not its own. A service that cuts names may show only
    an earlier mark which the user has put in the name, so such marks prove nothing.
    """
    if recovery.mark is None or kind.name_field is None:
        return tuple(rows)
    expected = set(_MARK.findall((recovery.name or recovery.mark).casefold()))
    shown = [set(_MARK.findall(_shown_name(kind, raw).casefold())) for raw in rows]
    return tuple(
        raw for raw, marks in zip(rows, shown, strict=True) if not marks or marks & expected
    )


def match_starts(
    kind: TaskKind[..., Any],
    recoveries: Sequence[Recovery],
    rows: Sequence[RawRecord],
    *,
    claimed: Collection[str],
    clock_offset: float,
    reached_back: bool,
    competing: Sequence[CompetingStart] = (),
) -> list[SearchResult]:
    """Return the search result of each of these starts of one kind, in their order.

    ``claimed`` are ids that belong to other starts. ``competing`` are other starts of the kind
    without a task. ``clock_offset`` is the service's clock minus the local one (s).
    ``reached_back``: the lists show names and were read back to before the starts.
    """
    unclaimed = {id: raw for raw in rows if (id := read_id(raw)) and id not in claimed}
    certain = _match_by_mark(kind, recoveries, unclaimed) | _match_by_name(
        kind, recoveries, competing, unclaimed, clock_offset
    )
    # Records that certainly belong to one start are not candidates of the others.
    matched = {id for ids in certain.values() for id in ids}
    unmatched = [raw for id, raw in unclaimed.items() if id not in matched]
    results: list[SearchResult] = []
    for index, start in enumerate(recoveries):
        if index in certain:
            results.append(
                SearchResult(tuple(unclaimed[id] for id in certain[index]), is_certain=True)
            )
        else:
            records = _candidates(kind, start, unmatched, clock_offset)
            results.append(SearchResult(records, is_absent=reached_back and not records))
    return results


def _match_by_mark(
    kind: TaskKind[..., Any], recoveries: Sequence[Recovery], unclaimed: Mapping[str, RawRecord]
) -> dict[int, list[str]]:
    """Return the tasks of starts with a mark, if there are as many as expected."""
    certain: dict[int, list[str]] = {}
    mark_by_start = {index: start.mark for index, start in enumerate(recoveries) if start.mark}
    if not mark_by_start or kind.name_field is None:
        return certain
    ids_by_mark: dict[str, list[str]] = {}
    for id, raw in unclaimed.items():
        # Case is ignored here, because a service may change it; marks are lower-case.
        for mark in _MARK.findall(_shown_name(kind, raw).casefold()):
            ids_by_mark.setdefault(mark, []).append(id)
    for index, mark in mark_by_start.items():
        ids = ids_by_mark.get(mark, [])
        # Fewer records than expected may only mean that the list lags behind.
        if len(ids) == recoveries[index].expected and list(mark_by_start.values()).count(mark) == 1:
            certain[index] = _oldest_first(ids, unclaimed)
    return certain


def _match_by_name(
    kind: TaskKind[..., Any],
    recoveries: Sequence[Recovery],
    competing: Sequence[CompetingStart],
    unclaimed: Mapping[str, RawRecord],
    clock_offset: float,
) -> dict[int, list[str]]:
    """Return the tasks of starts with a user's own name, unless they are ambiguous.

    Starts that could have created the same record form a group. They get their tasks, the earlier
    start the earlier record, only if the starts of the group are indistinguishable, none of them
    may still get a response, and there are exactly as many records as they can have created.
    """
    certain: dict[int, list[str]] = {}
    if kind.name_field is None or all(start.mark or not start.name for start in recoveries):
        return certain
    starts = [*recoveries, *(rival.recovery for rival in competing)]
    in_flight = {len(recoveries) + n for n, rival in enumerate(competing) if rival.in_flight}
    longest_name = max((len(_shown_name(kind, raw)) for raw in unclaimed.values()), default=0)
    possible_starts: dict[str, set[int]] = {}
    for id, raw in unclaimed.items():
        matches = {
            start_index: name
            for start_index, start in enumerate(starts)
            if (name := _possible_name_match(kind, start, raw, clock_offset, longest_name))
            is not None
        }
        if any(
            name is _NameMatch.SAME and not starts[start_index].mark
            for start_index, name in matches.items()
        ):
            possible_starts[id] = set(matches)
    for group, ids in _group_ambiguous_records(possible_starts):
        members = sorted(group, key=lambda start_index: starts[start_index].sent_at)
        identities = {
            (starts[start_index].mark, starts[start_index].name, starts[start_index].digest)
            for start_index in members
        }
        wanted = sum(starts[start_index].expected for start_index in members)
        # Otherwise a paid task could be assigned to the wrong start.
        if len(identities) > 1 or group & in_flight or len(ids) != wanted:
            continue
        ordered = iter(_oldest_first(ids, unclaimed))
        shares = {
            start_index: [next(ordered) for _ in range(starts[start_index].expected)]
            for start_index in members
        }
        if all(
            _is_in_time_window(starts[start_index], unclaimed[id], clock_offset)
            for start_index, share in shares.items()
            for id in share
        ):
            certain |= {
                start_index: share
                for start_index, share in shares.items()
                if start_index < len(recoveries)
            }
    return certain


def _group_ambiguous_records(
    possible_starts: Mapping[str, set[int]],
) -> Iterator[tuple[set[int], list[str]]]:
    """Group records that may belong to the same starts; yield the starts and the records."""
    groups: list[tuple[set[int], list[str]]] = []
    for id, starts in possible_starts.items():
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


def _possible_name_match(
    kind: TaskKind[..., Any],
    start: Recovery,
    raw: RawRecord,
    clock_offset: float,
    longest_name: int,
) -> _NameMatch | None:
    """Return how a record's name matches a start that may have created it, else None.

    A name counts as truncated only if the lists show no longer one: otherwise the service does
    not truncate at this length.
    """
    name = _compare_name(kind, start, raw)
    truncated = name is _NameMatch.TRUNCATED and len(_shown_name(kind, raw)) + 1 >= longest_name
    if (
        not (name in (_NameMatch.SAME, _NameMatch.ALTERED) or truncated)
        or _count_matching_inputs(kind, start, raw)[1]
    ):
        return None
    return (
        name
        if _is_in_time_window(start, raw, clock_offset, extra_after=MAX_TIME_IN_FLIGHT)
        else None
    )


def _candidates(
    kind: TaskKind[..., Any], start: Recovery, rows: Sequence[RawRecord], clock_offset: float
) -> tuple[RawRecord, ...]:
    """Return the records that may belong to a start, the most likely first."""
    ranked: list[tuple[tuple[Any, ...], RawRecord]] = []
    for raw in rows:
        name = _compare_name(kind, start, raw)
        if name is _NameMatch.OTHER_MARK:
            continue
        same, different = _count_matching_inputs(kind, start, raw)
        in_time = _is_in_time_window(start, raw, clock_offset)
        near = in_time or _is_in_time_window(
            start,
            raw,
            clock_offset,
            MAX_RECORD_TIME_ERROR,
            MAX_TIME_IN_FLIGHT + MAX_RECORD_TIME_ERROR,
        )
        if name is _NameMatch.SAME:
            plausible = near or start.mark is not None
        elif name is _NameMatch.ALTERED:
            plausible = near
        elif name is _NameMatch.TRUNCATED:
            plausible = near and (same > 0 or not different)
        elif name is _NameMatch.NOT_SHOWN:
            plausible = in_time or (near and same > 0 and not different)
        else:
            plausible = in_time and same > 0 and not different
        if plausible:
            ranked.append(((name, different, not in_time, _creation_sort_key(raw)), raw))
    # By name, then by the number of different inputs, then by time, the oldest first.
    ranked.sort(key=lambda item: item[0])
    return tuple(raw for _, raw in ranked)


def _oldest_first(ids: Collection[str], unclaimed: Mapping[str, RawRecord]) -> list[str]:
    return sorted(ids, key=lambda id: _creation_sort_key(unclaimed[id]))


def _creation_sort_key(raw: RawRecord) -> tuple[float, str]:
    return record_created_at(raw) or 0.0, read_id(raw) or ""


def _is_in_time_window(
    start: Recovery,
    raw: RawRecord,
    clock_offset: float,
    extra_before: float = 0.0,
    extra_after: float = 0.0,
) -> bool:
    """Whether a record was created while its start was in flight, within these extra seconds."""
    # A record without a time is not ruled out. With extra time, the time in the id counts, too:
    # it may be right where `createdAt` is in a wrong time zone.
    times = (
        {record_created_at(raw), creation_time_of_id(read_id(raw) or "")}
        if extra_before
        else {record_created_at(raw)}
    )
    begin, end = (
        earliest_creation([start], clock_offset) - extra_before,
        latest_creation(start, clock_offset) + extra_after,
    )
    return any(when is None or begin <= when <= end for when in times)


def _compare_name(kind: TaskKind[..., Any], start: Recovery, raw: RawRecord) -> _NameMatch:
    listed_name = _shown_name(kind, raw)
    if start.mark is not None and start.mark in listed_name.casefold():
        return _NameMatch.SAME
    if _MARK.search(listed_name.casefold()):
        return _NameMatch.OTHER_MARK
    if not listed_name.strip() or kind.name_field is None:
        return _NameMatch.NOT_SHOWN
    if not start.name:
        return _NameMatch.DIFFERENT
    if listed_name == start.name:
        return _NameMatch.SAME if start.mark is None else _NameMatch.ALTERED
    sent, plain = _normalized_name(start.name), _normalized_name(listed_name)
    if sent == plain:
        return _NameMatch.ALTERED
    return _NameMatch.TRUNCATED if plain and sent.startswith(plain) else _NameMatch.DIFFERENT


def _shown_name(kind: TaskKind[..., Any], raw: RawRecord) -> str:
    name = raw.get(kind.name_field) if kind.name_field else None
    return name if isinstance(name, str) else ""


@lru_cache(4096)
def _normalized_name(name: str) -> str:
    """Return the part of a name that survives all changes by a service except truncation."""
    # A service may escape a name for HTML or URLs, normalise it, or remove emoji and punctuation.
    text = unicodedata.normalize("NFKD", html.unescape(unquote(name))).casefold()
    return "".join(char for char in text if char.isalnum())


def _count_matching_inputs(
    kind: TaskKind[..., Any], start: Recovery, raw: RawRecord
) -> tuple[int, int]:
    """Return how many of a record's inputs equal those of the start, and how many differ."""
    same = different = 0
    for name, digest in start.echo.items():
        value = raw.get(name)
        if name == kind.name_field or value in (None, "", []):
            continue  # an empty field is no difference: records show only part of the inputs
        if any(_value_digest(form) == digest for form in _possible_sent_values(value)):
            same += 1
        else:
            different += 1
    return same, different


def _possible_sent_values(value: Any) -> Iterator[Any]:
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


# `json.dumps` with options builds an encoder on every call.
_encode: Final = json.JSONEncoder(sort_keys=True, default=str).encode


def _value_digest(value: Any) -> str:
    if is_sequence(value):
        value = [stable_url(item) if isinstance(item, str) else item for item in value]
    elif isinstance(value, str):
        value = stable_url(value)
    text = _encode(value)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
