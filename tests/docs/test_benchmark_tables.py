"""The figures on the pages are those of the stored results, not copied by hand."""

import json
from pathlib import Path

import pytest

from benchmarks import report

RESULTS = Path(report.__file__).parent / "results" / "results.json"
SHOWN = report.shown_results(json.loads(RESULTS.read_text()))


@pytest.mark.parametrize("page", SHOWN, ids=lambda page: page.name)
def test_the_table_is_that_of_the_stored_results(page: Path) -> None:
    text = page.read_text()
    assert report.with_table(text, SHOWN[page]) == text
    assert text.count("\n| ") > len(SHOWN[page]["rows"])
