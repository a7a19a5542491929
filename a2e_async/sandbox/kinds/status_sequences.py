"""Walks: the status words a task goes through, each with its share of the whole time."""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen(slots=True)
class StatusSequence:
    """The words of one way to the end."""

    steps: tuple[tuple[str, float], ...]
    """The running words, each with the share of the whole time at which it ends."""

    done: str = "completed"
    failed: str = "failed"

    @property
    def first(self) -> str:
        """The word right after the start."""
        return self.steps[0][0]

    def status_at(self, share: float) -> str:
        """Returns the word at a share of the whole time; the last one from 1 on."""
        for word, end in self.steps:
            if share < end:
                return word
        return self.steps[-1][0]

    def last_change(self, share: float) -> float:
        """Returns the share at which the word shown at this share came up."""
        return max((end for _, end in self.steps if end <= share), default=0.0)


USUAL_SEQUENCE: Final = StatusSequence(
    (("initialized", 0.04), ("sent", 0.08), ("pending", 0.2), ("processing", 1.0))
)
"""How nearly all kinds go."""

AVATAR_SEQUENCE: Final = StatusSequence(
    (("init", 0.03), ("start", 0.08), ("pending", 0.2), ("process", 0.9), ("copy", 1.0)),
    done="success",
    failed="fail",
)
VEO_SEQUENCE: Final = StatusSequence(
    (("waiting", 0.2), ("running", 1.0)), done="success", failed="fail"
)
VOICE_SEQUENCE: Final = StatusSequence((("sent", 0.1), ("pendding", 0.3), ("processing", 1.0)))
TWIN_SEQUENCE: Final = StatusSequence(
    (("initialized", 0.04), ("pending", 0.1), ("processing", 0.5), ("training", 1.0))
)
TWIN_RETRAINING_SEQUENCE: Final = StatusSequence((("training", 1.0),))
"""A finished twin whose training goes on."""

EYE_CONTACT_SEQUENCE: Final = StatusSequence((("processing", 1.0),))
"""A finished twin whose eyes are corrected."""
