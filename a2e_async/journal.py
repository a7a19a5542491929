"""The journal: entries, their states, and the protocol that every backend implements."""

from a2e_async._core.journal.protocol import (
    AccountEntries,
    BeginResult,
    ClosedBy,
    Entry,
    EntryChanges,
    Journal,
    JournalCapabilities,
    LeaseLost,
    SpendSummary,
    State,
    UploadedInput,
)
from a2e_async._core.journal.sqlite import SqliteJournal

__all__ = [
    "AccountEntries",
    "BeginResult",
    "ClosedBy",
    "Entry",
    "EntryChanges",
    "Journal",
    "JournalCapabilities",
    "LeaseLost",
    "SpendSummary",
    "SqliteJournal",
    "State",
    "UploadedInput",
]
