"""``a2e verify``: compares the real service with what this package expects of it, free of charge."""
