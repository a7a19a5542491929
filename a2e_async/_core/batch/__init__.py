"""Many jobs at a time: the runner, the dry run, duplicates."""
