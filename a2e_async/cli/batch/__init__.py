"""``a2e batch``: many jobs from a file."""
