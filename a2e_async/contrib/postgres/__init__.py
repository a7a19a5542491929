"""A journal in PostgreSQL, for many workers on many hosts under one account."""

from a2e_async.contrib.postgres.journal import PostgresJournal

__all__ = ["PostgresJournal"]
