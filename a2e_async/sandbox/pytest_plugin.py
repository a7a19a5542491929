"""Pytest fixtures that run tests of your own code against the service on this machine.

``a2e_sandbox`` is a running `Sandbox`, new for each test; ``module_a2e_sandbox`` and
``session_a2e_sandbox`` live longer. While one of them is in use, A2E_API_KEY and A2E_BASE_URL lead
to it, so the code under test can create its client as usual, and nothing reaches the real service.
Clients poll every 20 ms, without a rate limit, and give up a search for a lost start after 0.1 s.

The fixtures are synchronous: the sandbox has its own thread. So they work in synchronous tests and
with every asynchronous pytest plugin. Markers pass options and inject faults:

```python
@pytest.mark.a2e_sandbox(balance=10)
@pytest.mark.a2e_fault("fail", kind="dubbing", message="no speech found")
def test_it(a2e_sandbox): ...
```
"""

from __future__ import annotations

import inspect
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest

if TYPE_CHECKING:
    from ._core.server import Sandbox

FIXTURE: Final = "a2e_sandbox"
FAULT_MARKER: Final = "a2e_fault"
FIXTURES: Final = (FIXTURE, f"module_{FIXTURE}", f"session_{FIXTURE}")

SANDBOX_DEFAULTS: Final[Mapping[str, Any]] = {"speed": 6000.0, "make_results": "stdlib"}
"""Options of sandboxes that a test can override: to encode results would take most of its time."""

CLIENT_DEFAULTS: Final[Mapping[str, Any]] = {"poll_interval": 0.02, "rate": None}
"""Defaults of clients while a fixture is in use: a test need not spare the service."""

CLIENT_TIMES: Final[Mapping[str, Any]] = {
    "a2e_async._core.submission.recovery_search.SCAN_DELAYS": (0.01, 0.03, 0.06),
    "a2e_async._core.polling.schedule.NOT_FOUND_SECONDS": 0.2,
    "a2e_async._core.polling.schedule.UNCONFIRMED_NOT_FOUND_SECONDS": 0.2,
    "a2e_async._core.submission.executor.MIN_AGE_FOR_RESEND": 0.2,
    "a2e_async._core.submission.remaining_tasks.MIN_AGE_FOR_RESEND": 0.2,
}
"""How long clients doubt that a task does not exist, in seconds: the sandbox is never late."""


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    config.addinivalue_line(
        "markers", f"{FIXTURE}(**options): options of Sandbox for the fixture {FIXTURE}"
    )
    config.addinivalue_line(
        "markers",
        f"{FAULT_MARKER}(name, **options): a method of sandbox.faults to call before the test",
    )


@pytest.hookimpl
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse markers of a test that would have no effect."""
    used: list[str] = [name for name in getattr(item, "fixturenames", ()) if name in FIXTURES]
    if FIXTURE in used:
        return
    for marker in item.own_markers:
        if marker.name in {FIXTURE, FAULT_MARKER}:
            text = _show(marker)
            _refuse(
                f"{text} has no effect: this test uses {used[0]}, whose options come from the "
                f"fixture {FIXTURE}_options. Use the fixture {FIXTURE}, or call sandbox.faults."
                if used
                else f"{text} has no effect: this test does not use the fixture {FIXTURE}."
            )


@pytest.fixture(scope="session")
def a2e_sandbox_options() -> dict[str, Any]:
    """Options of all sandboxes, for you to override; a marker of a test comes first."""
    return {}


@pytest.fixture
def a2e_sandbox(
    request: pytest.FixtureRequest, a2e_sandbox_options: Mapping[str, Any]
) -> Iterator[Sandbox]:
    """Yield a running ``Sandbox``, new for each test."""
    with _running(_options(request, a2e_sandbox_options)) as sandbox:
        # The marker nearest to the test is the last in this order, as the decorators are read.
        for marker in reversed(list(request.node.iter_markers(FAULT_MARKER))):
            _inject(sandbox, marker)
        yield sandbox


@pytest.fixture(scope="module")
def module_a2e_sandbox(
    request: pytest.FixtureRequest, a2e_sandbox_options: Mapping[str, Any]
) -> Iterator[Sandbox]:
    """Yield a running ``Sandbox`` that the tests of a module share."""
    with _running(_options(request, a2e_sandbox_options)) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def session_a2e_sandbox(a2e_sandbox_options: Mapping[str, Any]) -> Iterator[Sandbox]:
    """Yield a running ``Sandbox`` that all tests share."""
    with _running(_checked(a2e_sandbox_options, f"{FIXTURE}_options")) as sandbox:
        yield sandbox


@contextmanager
def _running(options: Mapping[str, Any]) -> Generator[Sandbox]:
    """Run a sandbox, and lead all clients to it."""
    from a2e_async.client import A2E

    from ._core.server import Sandbox

    try:
        made = Sandbox(**{**SANDBOX_DEFAULTS, **options})
    except (TypeError, ValueError) as error:
        _refuse(f"{FIXTURE}({_arguments(options)}): {error}.")
    with made as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setenv("A2E_API_KEY", sandbox.api_key)
        patch.setenv("A2E_BASE_URL", sandbox.base_url)
        init: Any = A2E.__init__
        for name, value in CLIENT_DEFAULTS.items():
            patch.setitem(init.__kwdefaults__, name, value)
        for name, value in CLIENT_TIMES.items():
            patch.setattr(name, value)
        yield sandbox


def _options(request: pytest.FixtureRequest, common: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of the closest marker, added to those of all sandboxes."""
    options = _checked(common, f"{FIXTURE}_options")
    marker = request.node.get_closest_marker(FIXTURE)
    if marker is None:
        return options
    if marker.args:
        _refuse(f"{_show(marker)}: options are given by name, such as {FIXTURE}(balance=10).")
    return {**options, **_checked(marker.kwargs, _show(marker))}


def _checked(options: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    from ._core.server import Sandbox

    allowed = [name for name in inspect.signature(Sandbox).parameters if name != "self"]
    for name in options:
        if name not in allowed:
            _refuse(f"{where}: Sandbox has no option {name}{_meant(name, allowed)}")
    return options


def _inject(sandbox: Sandbox, marker: pytest.Mark) -> None:
    from ._core.fault_options import FAULT_NAMES, queue_fault

    text = _show(marker)
    if len(marker.args) != 1 or not isinstance(marker.args[0], str):
        _refuse(
            f"{text}: give the name of one fault, and its options by name, such as "
            f'{FAULT_MARKER}("http_error", status=503, role="start").'
        )
    name = marker.args[0]
    if name not in FAULT_NAMES:
        _refuse(f"{text}: there is no fault {name}{_meant(name, sorted(FAULT_NAMES))}")
    try:
        queue_fault(sandbox.faults, name, marker.kwargs)
    except ValueError as error:
        _refuse(f"{text}: {error}.")


def _meant(name: str, allowed: list[str]) -> str:
    close = get_close_matches(name, allowed, n=1)
    return f".{f' Did you mean {close[0]}?' if close else ''} There are: {', '.join(allowed)}."


def _show(marker: pytest.Mark) -> str:
    positional = [repr(value) for value in marker.args]
    return f"{marker.name}({', '.join([*positional, *filter(None, [_arguments(marker.kwargs)])])})"


def _arguments(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in options.items())


def _refuse(reason: str) -> NoReturn:
    """Fail the test with a reason that needs no traceback."""
    raise pytest.fail.Exception(reason, pytrace=False) from None
