"""The client's fixtures: a sandbox on the test's own loop, and clients of it."""

from tests.client.conftest import (
    a2e,
    blind,
    make_client,
    media,
    quick_searches,
    sandbox,
    sandbox_options,
)

__all__ = [
    "a2e",
    "blind",
    "make_client",
    "media",
    "quick_searches",
    "sandbox",
    "sandbox_options",
]
