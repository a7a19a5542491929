"""The kinds that the commands know: those of the package, and those of the file in A2E_KINDS."""

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from a2e_async._core.paths import expand_home
from a2e_async.errors import ConfigurationError, InvalidInput
from a2e_async.kinds.registry import PACKAGED, registry_of

if TYPE_CHECKING:
    from a2e_async._core.tasks.kind import TaskKind
    from a2e_async._core.tasks.kind_registry import KindRegistry

VARIABLE: Final = "A2E_KINDS"
"""The environment variable with the path of a TOML file of the user's own kinds."""


def known_kinds() -> "KindRegistry":
    """Return the kinds that this process knows.

    Raises `ConfigurationError` for a file that cannot be used.
    """
    path = os.environ.get(VARIABLE, "").strip()
    return _read(path, _version(path)) if path else PACKAGED


def kind_named(name: str) -> "TaskKind[..., Any]":
    """Return a kind by its name. Raises `InvalidInput` that suggests a similar name."""
    try:
        return known_kinds().named(declared_name(name))
    except InvalidInput as error:
        # The message names the option of a client.
        own = str(error).replace(
            "declared with A2E(kinds=…)", f"declared in the file of {VARIABLE}"
        )
        raise InvalidInput(own, field=error.field) from None


def declared_name(name: str) -> str:
    """Return a kind's name as it is declared: hyphens may be given for underscores."""
    declared, known = name.replace("-", "_"), readable_kind_names()
    return declared if name not in known and declared in known else name


def kind_names() -> tuple[str, ...]:
    """Return the names of all kinds."""
    return known_kinds().names()


def readable_kind_names() -> tuple[str, ...]:
    """Return the names of all kinds; without those of a file that cannot be used.

    The command that needs the file reports the error.
    """
    try:
        return kind_names()
    except ConfigurationError:
        return PACKAGED.names()


# Commands ask for the kinds many times; all must get the same objects, from one reading.
@lru_cache(maxsize=1)
def _read(path: str, version: object) -> "KindRegistry":
    try:
        return registry_of(path)
    except ConfigurationError as error:
        text = str(error)  # which names the option of a client
        if text.startswith("kinds: "):
            text = f"{VARIABLE}: {text.removeprefix('kinds: ')}"
        raise ConfigurationError(text) from None


def _version(path: str) -> object:
    try:
        found = Path(expand_home(path)).stat()
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
