"""What all tests share."""

import inspect
import os
import signal
from typing import Any

import hypothesis
import pytest

# How long an example takes depends on the machine.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

# A test run in the background of a shell ignores these, and the programs it starts would, too:
# then no test of Ctrl-C or of a closed terminal could pass.
for name in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
    if signal.getsignal(name) is signal.SIG_IGN:
        handler = signal.default_int_handler if name is signal.SIGINT else signal.SIG_DFL
        signal.signal(name, handler)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> None:
    """Run every coroutine test under anyio's plugin, whose automatic mode is too new to need."""
    inner = obj.hypothesis.inner_test if hasattr(obj, "hypothesis") else obj
    if inspect.iscoroutinefunction(inner) and collector.istestfunction(obj, name):
        pytest.mark.anyio(obj)
        pytest.mark.usefixtures("anyio_backend")(obj)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice the cores for ``-n auto``: the tests wait half of their time."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run on asyncio: the package has no other."""
    return "asyncio"
