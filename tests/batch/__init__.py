"""The journal in use, resuming after a restart, and batches."""
