"""Any JSON becomes a record, a DecodeError, or an unknown status."""

import math
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.parsing import (
    StartRefusal,
    read_id,
    read_raw_records,
    read_record,
    read_start_response,
    read_total_count,
)
from a2e_async.errors import DecodeError
from a2e_async.kinds.registry import kind_named, kind_names
from a2e_async.models import Status
from tests.samples import RANDOM_CASES

from .test_parsing import DUBBING, ID, MEASURED, OUT

KINDS = tuple(kind_named(name) for name in kind_names())

ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    13,
    13.0,
    13.5,
    10**400,
    -(10**400),
    math.nan,
    math.inf,
    -math.inf,
    1e308,
    "",
    " ",
    "completed",
    " COMPLETED ",
    "failed",
    "cancelled",
    "\ud800",
    "x" * 5000,
    OUT,
    " " + OUT,
    "HTTPS://RESULTS.EXAMPLE/A.MP3",
    "https://[::1?x",
    "https://h/?X-Amz-Date=20250101T000000Z&X-Amz-Expires=99999999999999999999",
    "https://h/?Expires=1e400",
    "https://h/?Expires=999999999999999999999999",
    "https://h/?se=garbage",
    "2024-09-18T03:49:44.704Z",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "1726631384704",
    [],
    [OUT, None, 5, [OUT], {"url": OUT}],
    {},
    {"_id": ID},
    {"a": {"b": [1, {"c": None}]}},
    [[[]]],
)


def names_of(kind: TaskKind[..., Any]) -> list[str]:
    """Return every wire name that the kind reads, and a few it does not."""
    own = [a for a in dir(kind.record) if not a.startswith("_")]
    return sorted({*kind.mapped_fields, *own, "updatedAt", "newer", "rows", "list", "data"})


def check(kind: TaskKind[..., Any], raw: Any) -> None:
    """A record with an id that can be shown and compared, or a DecodeError."""
    try:
        record = read_record(kind, raw)
    except DecodeError as error:
        assert str(error).endswith(".")  # noqa: PT017  # any value may be a record or not
        assert not isinstance(raw, dict) or read_id(raw) is None
        return
    assert record == read_record(kind, raw)
    assert isinstance(repr(record), str)
    assert record.id == read_id(raw)
    assert isinstance(record.status, Status)
    assert record.progress is None or 0.0 <= record.progress <= 1.0
    assert record.coins is None or type(record.coins) is int
    assert record.created_at is None or record.created_at.tzinfo is not None
    assert (record.failure is not None) is (record.status is Status.FAILED)
    values = [raw.get(r.field) for r in kind.outputs]
    urls = [u for v in values for u in (v if isinstance(v, list) else [v]) if isinstance(u, str)]
    shown = [u.strip() for u in urls if u.strip().lower().startswith("http")]
    # Kinds with several result fields may give one file under each.
    assert len(record.outputs) == len(set(shown) if len(kind.outputs) > 1 else shown)


def test_many_odd_records() -> None:
    """Seeded: any value under any name gives a record or a DecodeError, and nothing else."""
    rng = random.Random(20260101)
    for n in range(RANDOM_CASES):
        kind = (*KINDS, MEASURED)[n % 4]
        names = NAMES[kind.name]
        raw = {name: rng.choice(ODD) for name in rng.sample(names, rng.randint(0, 7))}
        if n % 5:
            raw["_id"] = ID
        if n % 16 < 4:
            check(kind, raw)
            continue
        try:
            record = read_record(kind, raw)
        except DecodeError:
            assert read_id(raw) is None
        else:
            assert record.id


NAMES = {kind.name: names_of(kind) for kind in (*KINDS, MEASURED)}
ANY = st.recursive(
    st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from((*KINDS, MEASURED)),
    raw=st.dictionaries(st.sampled_from(names_of(MEASURED)) | st.text(max_size=9), ANY) | ANY,
)
def test_any_json_is_a_record_or_a_decode_error(kind: TaskKind[..., Any], raw: Any) -> None:
    """Hypothesis: whatever JSON stands where a record is due, nothing else is raised."""
    check(kind, raw)


@settings(max_examples=200, deadline=None)
@given(ANY)
def test_any_json_is_rows_a_total_and_a_start(data: Any) -> None:
    """List, totals and start answers are read from any JSON without an error."""
    assert all(isinstance(row, dict) for row in read_raw_records(data))
    total = read_total_count(data)
    assert total is None or total >= 0
    start = read_start_response(DUBBING, data)
    assert start is None or isinstance(start, tuple | StartRefusal)
    if isinstance(start, StartRefusal):
        assert start.reason
