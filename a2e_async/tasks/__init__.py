"""Tasks: starting, polling, waiting, and the task handle."""
