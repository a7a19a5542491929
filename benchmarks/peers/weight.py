"""Measure a client's size, dependencies and import time."""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import time
from typing import Any

from benchmarks.common import median
from benchmarks.peers.clients import CLIENTS


def weigh(package: str) -> dict[str, Any]:
    """Return version, size in bytes, and number and size of the dependencies."""
    needed: set[str] = set()
    todo = [package]
    while todo:
        name = _canonical(todo.pop())
        if name in needed:
            continue
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # needed only on another system or Python version
        needed.add(name)
        always = [line for line in found.requires or [] if "extra ==" not in line]
        todo += [re.split(r"[\s\[<>=!~;(]", line, maxsplit=1)[0] for line in always]
    return {
        "version": importlib.metadata.version(package),
        "own_bytes": _size(package),
        "packages": len(needed),
        "bytes": sum(map(_size, needed)),
    }


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _size(package: str) -> int:
    if package == "a2e-async":
        # Probably an editable install, which has no files.
        spec = importlib.util.find_spec("a2e_async")
        assert spec is not None
        root = next(iter(spec.submodule_search_locations or []))
        return sum(
            os.path.getsize(os.path.join(at, file))  # noqa: PTH118, PTH202  # os.walk gives text
            for at, _, files in os.walk(root)
            for file in files
            if not file.endswith(".pyc")
        )
    files = importlib.metadata.files(package) or []
    return sum(f.size or 0 for f in files if f.suffix != ".pyc")


def import_times(names: list[str], rounds: int) -> dict[str, float]:
    """Return the time of each import in ms, minus that of a bare interpreter."""
    codes = {name: CLIENTS[name].code for name in names if CLIENTS[name].code}
    codes["bare"] = "pass"
    times: dict[str, list[float]] = {name: [] for name in codes}
    for round_ in range(rounds + 1):
        for name, code in codes.items():
            before = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            if round_:  # the first run fills the caches
                times[name].append((time.perf_counter() - before) * 1000)
    bare = median(times.pop("bare"))
    return {name: median(values) - bare for name, values in times.items()}
