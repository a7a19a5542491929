"""``a2e verify``: compares the service with what this package expects of it."""
