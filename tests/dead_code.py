"""Finds code that nothing uses, with vulture: ``python tests/dead_code.py``.

Public names count as used by the tests or the examples in the docs. A new finding is either dead
code to remove, or a name that something outside the repository uses: then it belongs in `ALLOWED`,
with the reason.
"""

import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from vulture.core import Vulture

ROOT: Final = Path(__file__).parent.parent

SEARCHED: Final = ("a2e_async", "tests", "benchmarks", "examples", "docs")

DECORATORS: Final = (
    "@*.command",  # cyclopts calls them
    "@*.default",  # attrs calls them
    "@atexit.register",
    "@invariant*",  # Hypothesis calls them
    "@pytest.fixture*",
    "@pytest.hookimpl*",
    "@rule*",
    "@scenario",  # collected by the tests of secrets
)
"""Decorators whose functions are called by name or from a registry."""

ALLOWED: Final = {
    "a2e_async/kinds/*.py": {
        "variable *": "fields of inputs and records: cattrs and users read them"
    },
    "a2e_async/cli/*.py": {
        "HELP": "the help of a command, which `cli/app.py` imports by name",
        "completion": "a command, imported by name",
        "doctor": "a command, imported by name",
        "list_tasks": "a command, imported by name",
        "open_result": "a command, imported by name",
        "mcp": "a command, imported by name",
    },
    "a2e_async/*.py": {
        "__getattr__": "Python calls it for a module",
        "__dir__": "Python calls it for a module",
        "__signature__": "inspect reads it",
        "memo": "a parameter of __deepcopy__",
        "proxy_headers": "a parameter of the aiohttp method that is overridden",
        "_password": "kept alive, so that `redact` knows it",
        "prepare_threshold": "an option of a psycopg connection",
        "bit_rate": "an option of a PyAV stream",
        "pts": "a property of a PyAV frame",
        "time_base": "a property of a PyAV frame",
        "charset": "an option of an aiohttp response",
    },
    "tests/typing/*.py": {"*": "user code that is only type-checked"},
    "tests/*.py": {
        "pts": "read by PyAV",
        "pytestmark": "pytest reads it",
        "pytest_plugins": "pytest reads it",
        "anyio_backend": "requested for its effect: the test runs on an event loop",
        "collect_ignore_glob": "pytest reads it",
        "dont_write_bytecode": "Python reads it",
        "Test*": "pytest runs state machines under these names",
        "teardown": "Hypothesis calls it",
        "__call__": "what a protocol asks for",
        "handle_*": "html.parser calls them",
        "log_message": "http.server calls it",
        "gone_soon": "a fixture that tests only request",
        "row_factory": "an option of a SQLite connection",
        "binary_location": "an option of Selenium",
        "slow_callback_duration": "an option of an event loop",
        "_log_destroy_pending": "an option of an asyncio task",
        "_length_check": "an option of an aiohttp response",
        "_revive_crashed": "a hook of simloom's event loop",
        "_[a-z]*[A-Z]*": "methods of Telegram, which its simulator finds by name",
        "BASE": "settings of discord.py",
        "DEFAULT_GATEWAY": "settings of discord.py",
        "loud": "an input of a declared kind",
        "picked": "an input of a declared kind",
        "layout": "an input of a declared kind",
        "scenes": "an input of a declared kind",
    },
    "benchmarks/*.py": {
        "QUEUE_URL_FORMAT": "a setting of fal-client",
        "POLL_*": "settings of runwayml",
        "connection_made": "asyncio calls it",
        "data_received": "asyncio calls it",
        "should_exit": "uvicorn reads it",
    },
    "examples/*.py": {
        "variable [A-Z]*": "settings of Django",
        "urlpatterns": "Django reads it",
    },
    "docs/*.py": {"variable *": "settings and options of directives, which Sphinx reads"},
}
"""By file: names that something outside the repository uses, each with the reason.

A name may follow its type: ``variable``, ``function``, ``method``, ``attribute``.
"""


def findings() -> list[str]:
    """Return what nothing uses, one line each, and entries of `ALLOWED` that match nothing."""
    vulture = Vulture(ignore_decorators=list(DECORATORS))
    vulture.scavenge([str(ROOT / directory) for directory in SEARCHED])
    needless = {(files, name) for files, names in ALLOWED.items() for name in names}
    dead: list[str] = []
    for item in vulture.get_unused_code(min_confidence=60):
        path = Path(item.filename).relative_to(ROOT).as_posix()
        matching = {
            (files, name)
            for files, names in ALLOWED.items()
            for name in names
            if fnmatch(path, files)
            and (fnmatch(item.name, name) or fnmatch(f"{item.typ} {item.name}", name))
        }
        needless -= matching
        if not matching:
            dead.append(f"{path}:{item.first_lineno}: {item.message}")
    return [*dead, *(f"ALLOWED: nothing matches {name} in {files}" for files, name in needless)]


if __name__ == "__main__":
    found = findings()
    print("\n".join(found) or "no dead code")
    sys.exit(bool(found))
