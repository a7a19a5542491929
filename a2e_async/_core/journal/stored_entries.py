"""Make entries of the values that a store returns (pure)."""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from a2e_async._core.converter import structure
from a2e_async._core.journal.protocol import Entry
from a2e_async._core.typeguards import parse_price

logger: Final = logging.getLogger("a2e_async.journal")


def structure_entry(values: Mapping[str, Any]) -> Entry:
    """Return the entry with these values by field name. Raises one of `converter.UNREADABLE`.

    A value that is absent or None is the field's default, as in a store of an earlier version;
    fields of a later version are ignored. An invalid price counts as unknown: it must not hide what
    was paid.
    """
    known = {name: value for name, value in values.items() if value is not None}
    for name in ("coins", "reserved"):
        known[name] = parse_price(known.get(name))
    return structure(known, Entry)


def readable_entries(
    rows: Iterable[tuple[Any, ...]], to_entry: Callable[[tuple[Any, ...]], Entry]
) -> list[Entry]:
    """Return the entries of rows that begin with the key; log and omit unreadable ones."""
    entries: list[Entry] = []
    for row in rows:
        try:
            entries.append(to_entry(row))
        except Exception as error:  # one bad row must not hide the others
            reason = type(error).__name__
            logger.error("unreadable journal entry: key %r (%s)", row[0], reason)  # noqa: TRY400  # a traceback would show the row
    return entries
