"""The operations of task kinds: start, list, read, delete, and what one kind alone has."""
