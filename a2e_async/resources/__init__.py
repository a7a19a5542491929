"""One module per kind of task, and the account's own operations."""
