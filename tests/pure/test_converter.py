"""Whatever is written by the converter, or to a journal's row, is read back unchanged."""

import json
import pickle
import random
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import asdict
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._core.converter import UNREADABLE, structure, unstructure
from a2e_async._core.journal import rows
from a2e_async._core.journal.protocol import Entry, State
from a2e_async._core.tasks.parsing import read_record_on_demand
from a2e_async.models import Record, Recovery

from .test_any_answer import KINDS, NAMES, ODD

TEXT = st.text(string.printable.replace("\0", ""), max_size=8)
ID = st.text("0123456789abcdef", min_size=1, max_size=8)
TIME = st.floats(0, 4e9)
COUNT = st.integers(0, 2**40)
MAP = st.dictionaries(TEXT, TEXT, max_size=2)


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


ENTRIES = st.builds(
    Entry,
    key=TEXT,
    kind=TEXT,
    digest=TEXT,
    state=st.sampled_from(State),
    path=TEXT,
    name=optional(TEXT),
    mark=optional(TEXT),
    echo=MAP,
    expected=COUNT,
    sent_at=optional(TIME),
    lost_at=optional(TIME),
    ids=st.lists(ID, max_size=3).map(tuple),
    coins=optional(COUNT),
    reserved=optional(COUNT),
    uploads=COUNT,
    succeeded=optional(st.booleans()),
    failure=optional(TEXT),
    missing_since=optional(TIME),
    closed_by=optional(TEXT),
    urls=st.lists(TEXT, max_size=2).map(tuple),
    outputs=optional(COUNT),
    paths=MAP,
    meta=optional(st.dictionaries(TEXT, st.integers() | TEXT | st.lists(st.booleans()))),
    own_key=st.booleans(),
    hook=optional(TEXT),
    event_at=optional(TIME),
    account=TEXT,
    owner=optional(TEXT),
    created_at=TIME,
    updated_at=TIME,
)


@given(ENTRIES)
def test_entries_survive_rows_and_json(entry: Entry) -> None:
    """In SQLite, with further columns of a later version, and as JSON."""
    assert rows.to_entry((*rows.to_row(entry), 17)) == entry
    assert rows.to_row(rows.to_entry(rows.to_row(entry))) == rows.to_row(entry)
    copied = structure(json.loads(json.dumps(unstructure(entry))), Entry)
    assert asdict(copied) == asdict(entry)
    assert type(copied.state) is State


@given(
    st.builds(
        Recovery,
        kind=TEXT,
        path=TEXT,
        name=optional(TEXT),
        mark=optional(TEXT),
        digest=TEXT,
        sent_at=st.datetimes(timezones=st.just(UTC)),
        lost_at=optional(st.datetimes(timezones=st.just(UTC))),
        expected=COUNT,
        echo=MAP,
    )
)
def test_recovery_data_survives_json(recovery: Recovery) -> None:
    """With all its values."""
    assert Recovery.from_dict(json.loads(json.dumps(recovery.to_dict()))) == recovery


@pytest.mark.parametrize(
    "wrong", [{"sent_at": "yesterday"}, {"expected": "2"}, {"echo": 5}, {"kind": None}]
)
def test_damaged_recovery_data_is_refused(wrong: dict[str, Any]) -> None:
    """It could find the task of another start."""
    sent_at = datetime(2026, 1, 1, tzinfo=UTC)
    good = Recovery(kind="dubbing", path="/p", name="n", mark="m", digest="d", sent_at=sent_at)
    with pytest.raises(UNREADABLE):
        Recovery.from_dict(good.to_dict() | wrong)


def test_records_of_any_response_survive_pickle_and_are_json() -> None:
    """Seeded: with any value under any name, whether or not a field was read before."""
    rng = random.Random(20260103)
    for n in range(2_000):
        kind = KINDS[n % len(KINDS)]
        raw = {name: rng.choice(ODD) for name in rng.sample(NAMES[kind.name], 7)} | {
            "_id": "a" * 24
        }
        record: Record = read_record_on_demand(kind, raw)
        if n % 2:
            assert record.extra is not None
        copied = pickle.loads(pickle.dumps(record))
        written = json.dumps(unstructure(record))
        assert repr(asdict(copied)) == repr(asdict(record))  # NaN differs from itself
        assert json.dumps(unstructure(copied)) == written
        assert "X-Amz" not in written
