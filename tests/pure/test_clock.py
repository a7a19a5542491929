"""The package reads the time of day at one place."""

import ast
from datetime import UTC, datetime
from pathlib import Path

import a2e_async
from a2e_async._core.clock import override_clock, utc_now, wall_time

ROOT = Path(a2e_async.__file__).parent
OWN_CLOCKS = ("sandbox", "cli", "contrib", "clock.py", "sqlite.py")
"""Modules with their own clock: the sandbox, commands, databases, journals."""


def test_it_can_be_set_and_is_set_back() -> None:
    with override_clock(lambda: 1_795_000_000.5):
        assert wall_time() == 1_795_000_000.5
        assert utc_now() == datetime(2026, 11, 18, 11, 6, 40, 500_000, UTC)
    assert abs(wall_time() - datetime.now(UTC).timestamp()) < 60


def test_nothing_else_reads_the_time_of_day() -> None:
    for path in ROOT.rglob("*.py"):
        if any(name in path.relative_to(ROOT).parts for name in OWN_CLOCKS):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                read = f"{node.value.id}.{node.attr}"
                assert read not in ("time.time", "datetime.now", "datetime.utcnow"), path.name
