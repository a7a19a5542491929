"""A journal's entries as text and as JSON."""

import shlex
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from a2e_async.cli.show import moment, plain
from a2e_async.errors import InvalidInput
from a2e_async.redact import bare_url, redact
from a2e_async.tasks.journal import ClosedBy, Entry, State

if TYPE_CHECKING:
    from a2e_async.tasks.journal import Journal
    from a2e_async.tasks.journal_sqlite import SqliteJournal

HEAD: Final = ("KEY", "KIND", "STATE", "COINS", "BEGUN", "REF")

PAGE: Final = 1000
"""Entries that are read, and stand below each other, at once."""

_WORDS: Final = {
    State.RESERVED: "not sent",
    State.INTENT: "unknown",
    State.ACCEPTED: "running",
    State.FINISHED: "not saved",
    State.SAVED: "done",
}


def existing(path: Path, account: str | None = None) -> "SqliteJournal":
    """Return the journal of a file that is there, for one account or for all.

    Raises `InvalidInput`, and `ConfigurationError` for the address of a database.
    """
    from a2e_async.tasks.journal_sqlite import SqliteJournal

    journal = SqliteJournal(path)
    if not path.is_file():
        raise InvalidInput(f"There is no journal {str(path)!r:.200}.", field="journal")
    if account is not None:
        journal.bind(account)
    return journal


async def each(
    journal: "Journal", *, open_only: bool, kind: str | None = None
) -> AsyncGenerator[Entry]:
    """Yield the entries in the order they began, page by page."""
    after = 0
    while True:
        found, after = await journal.entries(open_only=open_only, after=after, limit=PAGE)
        for entry in found:
            if kind in (None, entry.kind):
                yield entry
        if not after:
            return


def state_word(entry: Entry) -> str:
    """Return in a word or two how an entry stands. Unknown: it may have been charged."""
    if entry.missing:
        return "missing"
    if entry.succeeded is False:
        lost = entry.closed_by == ClosedBy.SETTLED or not entry.ids
        return "paid, lost" if lost else "failed"
    return _WORDS[entry.state]


def settle_word(journal: Path, entry: Entry) -> str:
    """Return what can be done about an entry that nobody finds."""
    words = shlex.join(["a2e", "journal", "settle", str(journal), entry.key])
    said = (
        "Missing was paid for, and the service knows it no more"
        if entry.missing
        else "Unknown may have been charged"
    )
    return f"{said}. What stays so can be closed: {words} --as paid|unpaid"


def entry_row(entry: Entry) -> tuple[str, ...]:
    """Return an entry as a row below `HEAD`, and its account."""
    coins = "" if entry.coins is None else str(entry.coins)
    begun = moment(_when(entry.created_at))
    said = state_word(entry)
    return entry.key, entry.kind, said, coins, begun, entry.ref or "", entry.account


def entry_lines(entry: Entry) -> list[tuple[str, str]]:
    """Return an entry as pairs of words, without what is not known."""
    shown: list[tuple[str, str | None]] = [
        ("key", entry.key),
        ("kind", entry.kind),
        ("state", state_word(entry)),
        ("closed by", entry.closed_by),
        ("account", entry.account),
        ("ref", entry.ref),
        ("name", entry.name),
        ("coins", None if entry.coins is None else str(entry.coins)),
        ("failure", redact(entry.failure) if entry.failure else None),
        ("begun", moment(_when(entry.created_at))),
        ("sent", None if entry.sent_at is None else moment(_when(entry.sent_at))),
        (
            "missing since",
            None if entry.missing_since is None else moment(_when(entry.missing_since)),
        ),
        ("changed", moment(_when(entry.updated_at))),
        *(("file", path) for path in entry.paths.values()),
    ]
    return [(name, value) for name, value in shown if value]


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as JSON values: no digests of inputs, no signatures of URLs."""
    sent = None if entry.sent_at is None else _when(entry.sent_at).isoformat()
    missing = None if entry.missing_since is None else _when(entry.missing_since).isoformat()
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
        "created_at": _when(entry.created_at).isoformat(),
        "sent_at": sent,
        "updated_at": _when(entry.updated_at).isoformat(),
        "meta": plain(entry.meta),
    }


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
