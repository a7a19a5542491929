"""A PostgreSQL server for the tests of a fleet.

Without its programs they are skipped, with what to install; with A2E_TEST_POSTGRES=require in the
environment they fail instead.
"""

import os
from collections.abc import Iterator

import pytest

from .server import MISSING, Server, programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One server for all tests; each test uses its own schema from ``postgres.url()``."""
    if programs() is None:
        if os.environ.get("A2E_TEST_POSTGRES") == "require":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with Server() as server:
        yield server


@pytest.fixture
def url(postgres: Server) -> str:
    """Return the URL of a schema without tables."""
    return postgres.url()
