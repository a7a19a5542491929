"""What all tests share."""

import atexit
import inspect
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# How long an example takes depends on the machine.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

# Kept bytecode saves the time of the many processes, workers and programs, that a test run starts.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Most tests have a journal, which waits for the disk at each commit: more than half of the time of
# a test run. Files in memory need no such wait, and the tests kill processes, not machines.
# To look at the files of a test, set PYTEST_DEBUG_TEMPROOT to a directory.
if (
    "PYTEST_DEBUG_TEMPROOT" not in os.environ  # in a worker, it is
    and os.access("/dev/shm", os.W_OK)
    and shutil.disk_usage("/dev/shm").free > 4 * 2**30
):
    _memory = os.environ["PYTEST_DEBUG_TEMPROOT"] = tempfile.mkdtemp("", "a2e-tests-", "/dev/shm")

    @atexit.register
    def _free_memory(owner: int = os.getpid()) -> None:
        if os.getpid() == owner:  # not in a forked process
            shutil.rmtree(_memory, ignore_errors=True)


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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let idle workers take over tests of others, as a few tests take as long as a thousand."""
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """When all tests run, begin each worker's collection at another directory.

    Where no bytecode is there yet, each then makes that of other files, which the next ones use.
    """
    config = session.config
    worker = getattr(config, "workerinput", None)
    if worker is None or config.args != config.getini("testpaths"):
        return
    parts = sorted({str(file.parent) for file in Path(__file__).parent.glob("*/test_*.py")})
    first = len(parts) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    config.args = parts[first:] + parts[:first]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give all workers the same order of files, whatever each collected first."""
    items.sort(key=lambda item: item.path)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run on asyncio: the package has no other."""
    return "asyncio"
