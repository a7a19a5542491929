"""The journal, what comes back after a restart, and batches."""
