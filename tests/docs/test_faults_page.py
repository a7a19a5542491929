"""The page on the sandbox's faults lists each of them, with an example that works."""

import re
from pathlib import Path

import pytest

from a2e_async.sandbox import Faults
from a2e_async.sandbox._core.fault_options import FAULT_NAMES, inject_fault

PAGE = Path(__file__).parents[2] / "docs/reference/sandbox-faults.md"
ROWS = re.findall(r"^\| (?:`(\w+)`)? ?\| `([^`]+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)


def test_every_fault_is_listed() -> None:
    assert {name for name, _ in ROWS if name} == FAULT_NAMES


@pytest.mark.parametrize("example", [example for _, example in ROWS])
def test_the_example_can_be_given_on_the_command_line(example: str) -> None:
    faults = Faults()
    inject_fault(faults, example)
    name = example.partition(",")[0]
    assert faults.pending == (() if name == "rate_limit" else (name,))
