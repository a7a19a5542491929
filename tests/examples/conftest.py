"""What the tests of the examples share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from a2e_async.sandbox import Sandbox

from .programs import EXAMPLES, Program, free_port
from .site import Site


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A service whose time passes only when a test says so (or as slowly as in truth)."""
    with Sandbox(speed=1, make_results="stdlib") as made:
        yield made


@pytest.fixture
def program(tmp_path: Path, sandbox: Sandbox) -> Iterator[Callable[..., Program]]:
    """Make a program that runs in the test's directory and uses the sandbox."""
    made: list[Program] = []

    def make(*arguments: str | Path, **environ: str) -> Program:
        account = {"A2E_API_KEY": sandbox.api_key, "A2E_BASE_URL": sandbox.base_url}
        made.append(Program(list(arguments), tmp_path, {**account, **environ}))
        return made[-1]

    yield make
    for one in made:
        one.discard()


@pytest.fixture
def site(program: Callable[..., Program]) -> Iterator[Site]:
    port = free_port()
    app = program(
        "-m", "uvicorn", "--app-dir", EXAMPLES / "fastapi_app", "app:app", "--port", str(port),
    )  # fmt: skip
    made = Site(app, port)
    with made.http:
        made.start()
        yield made
