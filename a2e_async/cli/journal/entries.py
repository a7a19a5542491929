"""Opens a journal; formats its entries as text and as JSON."""

import shlex
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from a2e_async._core.converter import unstructure
from a2e_async._core.journal.protocol import ClosedBy, Entry, State, entry_pages
from a2e_async._core.redact import bare_url, redact
from a2e_async.cli.formatting import format_time
from a2e_async.errors import InvalidInput

if TYPE_CHECKING:
    from a2e_async._core.journal.protocol import Journal
    from a2e_async._core.journal.sqlite import SqliteJournal

COLUMNS: Final = ("KEY", "KIND", "STATE", "COINS", "STARTED", "REF")

PAGE: Final = 1000
"""Entries that are read, and aligned in columns, at a time."""

_STATE_LABELS: Final = {
    State.RESERVED: "not sent",
    State.INTENT: "unknown",
    State.ACCEPTED: "running",
    State.FINISHED: "not saved",
    State.SAVED: "done",
}


def open_existing(path: Path, account: str | None = None) -> "SqliteJournal":
    """Return the journal of an existing file, for one account or for all.

    Raises `InvalidInput`, and `ConfigurationError` for the address of a database.
    """
    from a2e_async._core.journal.sqlite import SqliteJournal

    journal = SqliteJournal(path)
    if not path.is_file():
        raise InvalidInput(f"The journal {str(path)!r:.200} does not exist.", field="journal")
    if account is not None:
        journal.bind(account)
    return journal


async def iter_entries(
    journal: "Journal", *, open_only: bool, kind: str | None = None
) -> AsyncGenerator[Entry]:
    """Yield the entries in the order they began, page by page."""
    async with aclosing(entry_pages(journal, open_only=open_only, limit=PAGE)) as pages:
        async for found in pages:
            for entry in found:
                if kind in (None, entry.kind):
                    yield entry


def state_label(entry: Entry) -> str:
    """Return the state of an entry as a label. Unknown: it may have been charged."""
    if entry.missing:
        return "missing"
    if entry.succeeded is False:
        lost = entry.closed_by == ClosedBy.SETTLED or not entry.ids
        return "paid, lost" if lost else "failed"
    return _STATE_LABELS[entry.state]


def settle_advice(journal: Path, entry: Entry) -> str:
    """Return how to close an entry whose task cannot be found."""
    words = shlex.join(["a2e", "journal", "settle", str(journal), entry.key])
    meaning = (
        "A missing task was paid, and the service no longer knows it"
        if entry.missing
        else "A start of unknown outcome may have been charged"
    )
    return f"{meaning}. If that does not change, close the entry with: {words} --as paid|unpaid"


def entry_row(entry: Entry) -> tuple[str, ...]:
    """Return an entry as a row of `COLUMNS`, followed by its account."""
    coins = "" if entry.coins is None else str(entry.coins)
    started = format_time(_datetime(entry.created_at))
    state = state_label(entry)
    return entry.key, entry.kind, state, coins, started, entry.ref or "", entry.account


def entry_lines(entry: Entry) -> list[tuple[str, str]]:
    """Return an entry as pairs of a label and a text; unknown values are left out."""
    shown: list[tuple[str, str | None]] = [
        ("key", entry.key),
        ("kind", entry.kind),
        ("state", state_label(entry)),
        ("closed by", entry.closed_by),
        ("account", entry.account),
        ("ref", entry.ref),
        ("name", entry.name),
        ("coins", None if entry.coins is None else str(entry.coins)),
        ("failure", redact(entry.failure) if entry.failure else None),
        ("started", format_time(_datetime(entry.created_at))),
        ("sent", None if entry.sent_at is None else format_time(_datetime(entry.sent_at))),
        (
            "missing since",
            None if entry.missing_since is None else format_time(_datetime(entry.missing_since)),
        ),
        ("changed", format_time(_datetime(entry.updated_at))),
        *(("file", path) for path in entry.paths.values()),
    ]
    return [(name, value) for name, value in shown if value]


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON values, without digests of inputs and signatures of URLs."""
    sent = None if entry.sent_at is None else _datetime(entry.sent_at).isoformat()
    missing = None if entry.missing_since is None else _datetime(entry.missing_since).isoformat()
    return {
        "key": entry.key,
        "key_given": not entry.own_key,
        "kind": entry.kind,
        "state": entry.state.name.lower(),
        "open": entry.open,
        "missing_since": missing,
        "closed_by": entry.closed_by,
        "account": entry.account,
        "ref": entry.ref,
        "ids": list(entry.ids),
        "name": entry.name,
        "succeeded": entry.succeeded,
        "failure": redact(entry.failure) if entry.failure else None,
        "coins": entry.coins,
        "reserved": entry.reserved,
        "uploads": entry.uploads,
        "paths": list(entry.paths.values()),
        "urls": [bare_url(url) for url in entry.urls],
        "operation": entry.path,
        "created_at": _datetime(entry.created_at).isoformat(),
        "sent_at": sent,
        "updated_at": _datetime(entry.updated_at).isoformat(),
        "meta": unstructure(entry.meta),
    }


def _datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
