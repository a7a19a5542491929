"""What the tests of the examples share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from a2e_async.sandbox import Sandbox
from tests.ports import free_port

from .programs import EXAMPLES, Program
from .site import PageSite

WEBHOOK_SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox whose time only a test advances (or that runs in real time)."""
    with Sandbox(speed=1, make_results="stdlib", deliver_webhooks=True) as made:
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
def site(program: Callable[..., Program], request: pytest.FixtureRequest) -> Iterator[PageSite]:
    """The FastAPI example; with the parameter "webhooks" it receives webhooks."""
    port = free_port()
    environ = {}
    if getattr(request, "param", None) == "webhooks":
        environ["A2E_WEBHOOK_URL"] = f"http://127.0.0.1:{port}/a2e/"
        environ["A2E_WEBHOOK_SECRET"] = WEBHOOK_SECRET
    folder = EXAMPLES / "fastapi_app"
    app = program(
        *("-m", "uvicorn", "--app-dir", folder, "app:app", "--port", str(port)), **environ
    )
    made = PageSite(app, port)
    with made.http:
        made.start()
        yield made
