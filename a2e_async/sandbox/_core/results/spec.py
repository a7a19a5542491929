"""The specification of a result file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

PLACEHOLDER_SECONDS: Final = 3.0
"""The length of a result whose source is unavailable or unreadable, in seconds."""


@attrs.frozen(slots=True)
class ResultSpec:
    """What a result is made of: the recipe, the relevant inputs, and the sources on disk."""

    recipe: str
    inputs: Mapping[str, Any]
    sources: Mapping[str, tuple[Path, str]]
    """Path and digest of each source that the sandbox holds, by input name."""

    variant: int = 0
    """Makes the outputs of one start differ."""

    seconds: float = PLACEHOLDER_SECONDS
    """The length of the result in seconds."""

    sound: tuple[str, ...] = ()
    """The inputs that provide the sound."""

    is_large: bool = False
    """Whether to make a larger file."""

    def digest(self) -> str:
        """Return a hash that identifies the result; equal specs share one file."""
        facts = [
            self.recipe,
            self.variant,
            self.seconds,
            self.is_large,
            dict(self.inputs),
            {name: digest for name, (_, digest) in self.sources.items()},
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
