"""What a result file is to be made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import attrs

PLACEHOLDER_SECONDS: Final = 3.0
"""Length of a result whose source is not here or cannot be read."""


@attrs.frozen(slots=True)
class ResultSpec:
    """What a result is made of: the recipe, the inputs that count, and the sources on disk."""

    recipe: str
    inputs: Mapping[str, Any]
    sources: Mapping[str, tuple[Path, str]]
    """Path and digest of each source that the sandbox holds, by input name."""

    variant: int = 0
    """Tells the outputs of one start apart."""

    seconds: float = PLACEHOLDER_SECONDS
    """How long the result should last."""

    sound: tuple[str, ...] = ()
    """The inputs that give the sound."""

    is_large: bool = False
    """Whether a file of more bytes is wanted."""

    def digest(self) -> str:
        """Returns what identifies the result: equal orders share one file."""
        facts = [
            self.recipe,
            self.variant,
            self.seconds,
            self.is_large,
            dict(self.inputs),
            {name: digest for name, (_, digest) in self.sources.items()},
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
