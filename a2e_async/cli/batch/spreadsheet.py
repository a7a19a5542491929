"""Reads the rows of an xlsx workbook as the cells of a CSV file."""

from collections.abc import Generator
from contextlib import closing
from datetime import date, datetime, time
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from a2e_async.errors import InvalidInput

_ERRORS: Final = ("#REF!", "#N/A", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!")
"""What a cell shows whose formula failed."""


def read_workbook(path: Path) -> Generator[list[str | InvalidInput]]:
    """Yield the rows of the first sheet: each cell's text, or its error. Raises `InvalidInput`."""
    try:
        from openpyxl import load_workbook
        from openpyxl.utils import get_column_letter
    except ImportError:
        raise InvalidInput(
            "is an Excel workbook, which needs openpyxl: pip install 'a2e-async[xlsx]', or save "
            "the sheet as CSV."
        ) from None
    try:
        # Values as Excel computed and saved them, and the formulas they came from.
        workbook, source = (
            load_workbook(path, read_only=True, data_only=only) for only in (True, False)
        )
    except Exception as error:  # many types: it is a zip file of something else, say
        raise InvalidInput(f"is not an Excel workbook that can be read: {error}.") from None
    with closing(workbook), closing(source):
        values, formulas = (
            one.worksheets[0].iter_rows(values_only=True) for one in (workbook, source)
        )
        for row in zip_longest(values, formulas, fillvalue=()):
            yield [
                _text(f"the cell in column {get_column_letter(column)}", *cell)
                for column, cell in enumerate(zip_longest(*row), 1)
            ]


def _text(where: str, value: Any, formula: Any) -> str | InvalidInput:
    if value is None:
        if formula is None:
            return ""
        return InvalidInput(
            f"{where} has a formula without a value, {str(formula)!r:.60}: open the workbook in "
            "Excel and save it."
        )
    if value in _ERRORS:
        return InvalidInput(f"{where} has the error {value}.")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return str(value)
