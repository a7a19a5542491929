"""Which kinds there are, and where each is declared; modules are loaded when they are needed."""

import importlib
from difflib import get_close_matches
from typing import Any, Final

from a2e_async.errors import InvalidInput
from a2e_async.tasks.kind import TaskKind

_KINDS: Final = ("dubbing", "image_to_video", "talking_video")


def kind_names() -> tuple[str, ...]:
    """Return the names of all kinds."""
    return _KINDS


def kind_named(name: str) -> TaskKind[..., Any]:
    """Return a kind by its name. Raises `InvalidInput` with the names that there are."""
    if name not in _KINDS:
        close = get_close_matches(str(name), _KINDS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise InvalidInput(
            f"There is no kind {str(name)[:60]!r}.{hint} There are: {', '.join(_KINDS)}.",
            field="kind",
        )
    module = importlib.import_module(f"a2e_async.resources.{name}")
    kind: TaskKind[..., Any] = getattr(module, name.upper())
    return kind
