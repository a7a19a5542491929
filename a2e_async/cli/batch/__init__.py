"""``a2e batch``: many jobs out of a file."""
