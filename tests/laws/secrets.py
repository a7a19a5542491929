"""Secrets that nothing raised, logged or stored by the package may contain."""

import logging
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.laws.conftest import API_KEY

SECRETS = (API_KEY, "X-Amz-Signature", "signature-")


def texts_of(value: Any) -> Iterable[str]:
    """Yield all texts of a value: repr, str, and an exception's attributes and traceback."""
    yield repr(value)
    yield str(value)
    if isinstance(value, BaseException):
        yield repr(vars(value))
        shown = traceback.TracebackException.from_exception(value, capture_locals=True)
        yield "".join(shown.format())


def leaks(values: Iterable[Any], records: Iterable[logging.LogRecord], directory: Path) -> set[str]:
    """Return a description of each secret found and where it was found."""
    found = set()
    for value in values:
        for text in texts_of(value):
            found |= {f"{type(value).__name__}: {secret}" for secret in SECRETS if secret in text}
    for record in records:
        if record.name.startswith("a2e_async"):
            text = record.getMessage() + (record.exc_text or "")
            found |= {f"log: {secret}" for secret in SECRETS if secret in text}
    for path in directory.rglob("*"):
        if path.is_file() and path.suffix != ".bin":
            content = path.read_bytes()
            found |= {f"{path.name}: {s}" for s in SECRETS if s.encode() in content}
    return found
