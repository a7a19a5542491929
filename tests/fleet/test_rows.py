"""Rows of the PostgreSQL journal: what is written is read, also by other versions."""

import pytest
from hypothesis import given

from a2e_async._core.journal.protocol import Entry
from a2e_async.contrib.postgres import schema
from tests.pure.test_converter import ENTRIES


@given(ENTRIES)
def test_entries_survive_rows(entry: Entry) -> None:
    """With further columns of a later version, too."""
    assert schema.to_entry((*schema.to_row(entry), 17)) == entry
    assert schema.to_row(schema.to_entry(schema.to_row(entry))) == schema.to_row(entry)


def test_entries_of_other_versions_are_read() -> None:
    """Absent fields have their defaults; unknown ones are ignored."""
    row = list(schema.to_row(Entry(key="k", kind="dubbing", digest="d")))
    row[len(schema.COLUMNS)] = '{"path":"/p","of_a_later_version":[1],"key":"other"}'
    assert schema.to_entry(tuple(row)) == Entry(key="k", kind="dubbing", digest="d", path="/p")


@pytest.mark.parametrize(
    ("document", "readable"),
    [
        ('{"path":5}', False),
        ('{"urls":"x"}', False),
        ('{"echo":[1]}', False),
        ('{"sent_at":"yesterday"}', False),
        ('{"own_key":1}', False),
        ('{"sent_at":5}', True),
        ('{"expected":2.0}', True),
    ],
)
def test_a_damaged_entry_is_reported_alone(
    document: str, readable: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are returned."""
    good = schema.to_row(Entry(key="good", kind="dubbing", digest="d"))
    bad = (*schema.to_row(Entry(key="bad", kind="dubbing", digest="d"))[:-1], document)
    found = [entry.key for entry in schema.to_entries((bad, good))]
    assert found == (["bad", "good"] if readable else ["good"])
    assert readable or "unreadable journal entry: key 'bad'" in caplog.text


def test_an_invalid_price_does_not_hide_an_entry() -> None:
    """It may be the only record of what was paid."""
    row = list(schema.to_row(Entry(key="k", kind="dubbing", digest="d", ids=("a",))))
    row[schema.COLUMNS.index("coins")] = 12.5
    row[schema.COLUMNS.index("reserved")] = -1
    entry = schema.to_entry(tuple(row))
    assert (entry.coins, entry.reserved, entry.ids) == (13, None, ("a",))
