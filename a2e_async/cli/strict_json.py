"""JSON as people write it in files and flags: what could be read in two ways is refused (pure)."""

import json
from typing import Any

from a2e_async.free_json import shown


def parse(text: str) -> Any:
    """Return a JSON value. Raises ValueError, also for an object that has a member twice."""
    try:
        return json.loads(text, object_pairs_hook=_members)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has {shown(twice)} twice")
    return found
