"""Local paths as users give them, checked before anything is done with them (pure)."""

import os
from pathlib import Path
from typing import Any, Final

from a2e_async.errors import InvalidInput

MAX_PATH: Final = 4096
"""Characters of a local path; Linux and macOS take no longer ones."""


def local_path(given: Any, field: str) -> Path:
    """Return a str or PathLike as a path. Raises `InvalidInput` that names ``field``.

    "~" is a shell's spelling: as a path it would be a directory of that name.
    """
    text = path_text(given, field)
    path = Path(text)
    if path.parts[:1] == ("~",):
        raise InvalidInput(
            f"{field}: '~' is not expanded here. Give Path(…).expanduser().", field=field
        )
    return path


def path_text(given: Any, field: str) -> str:
    """Return a str or PathLike as text, bytes decoded. Raises `InvalidInput`."""
    if isinstance(given, str | os.PathLike):
        try:
            text = os.fsdecode(os.fspath(given))
        except (TypeError, ValueError):
            text = ""
        if "\0" in text:
            raise InvalidInput(f"{field}: the path holds a NUL character.", field=field)
        if len(text) > MAX_PATH:
            raise InvalidInput(
                f"{field}: {len(text)} characters are too many for a path. Give the bytes "
                "themselves instead of a text that encodes them, such as base64.",
                field=field,
            )
        if text:
            return text
    raise InvalidInput(f"{field} must be a path, not {_shown(given)}.", field=field)


def _shown(given: Any) -> str:
    return "an empty text" if given == "" else type(given).__name__
