"""The invariants of the design, tested against a server that is independent of the package."""
