"""Check local paths given by users before they are used (pure)."""

import os
from pathlib import Path
from typing import Any, Final

from a2e_async._core.base_errors import InvalidInput

MAX_PATH_CHARS: Final = 4096
"""Longest local path in characters; Linux and macOS accept no longer ones."""


def local_path(given: Any, field: str) -> Path:
    """Return a str or PathLike as a `Path`, with a leading "~" or "~user" expanded as in a shell.

    Raises `InvalidInput`, naming ``field``, also if the home directory is unknown.
    """
    path = Path(expand_home(path_text(given, field)))
    if path.parts[:1] == ("~",):
        raise InvalidInput(
            f"{field}: the home directory is unknown, so '~' cannot be expanded.", field=field
        )
    return path


def expand_home(text: str) -> str:
    """Return a path with a leading "~" or "~user" expanded, unless there is no such user."""
    return os.path.expanduser(text) if text.startswith("~") else text  # noqa: PTH111  # Path raises


def path_text(given: Any, field: str) -> str:
    """Return a str or PathLike as text; a bytes path is decoded. Raises `InvalidInput`."""
    if isinstance(given, str | os.PathLike):
        try:
            text = os.fsdecode(os.fspath(given))
        except (TypeError, ValueError):
            text = ""
        if "\0" in text:
            raise InvalidInput(f"{field}: the path contains a NUL character.", field=field)
        if len(text) > MAX_PATH_CHARS:
            raise InvalidInput(
                f"{field}: a path of {len(text)} characters is too long. To pass the content of a "
                "file, pass bytes, not text that encodes them, such as base64.",
                field=field,
            )
        if text:
            return text
    raise InvalidInput(f"{field} must be a path, not {_shown(given)}.", field=field)


def _shown(given: Any) -> str:
    return "an empty text" if given == "" else type(given).__name__
