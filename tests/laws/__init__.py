"""The laws of the design, held against a server that knows nothing of the package."""
