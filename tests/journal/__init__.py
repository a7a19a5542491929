"""The journal: its rules, its SQLite file, and processes that die on it."""
