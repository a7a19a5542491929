"""Status sequences: the status words of a task, each with its share of the total time."""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen(slots=True)
class StatusSequence:
    """The status words that a task shows from start to end."""

    steps: tuple[tuple[str, float], ...]
    """The words while running, each with the share of the total time at which it ends."""

    done: str = "completed"
    failed: str = "failed"

    @property
    def initial(self) -> str:
        """The status word right after the start."""
        return self.steps[0][0]

    def status_at(self, share: float) -> str:
        """Return the word at this share of the total time; the last one from 1 on."""
        for word, end in self.steps:
            if share < end:
                return word
        return self.steps[-1][0]

    def share_of_last_change(self, share: float) -> float:
        """Return the share at which the status last changed before this share."""
        return max((end for _, end in self.steps if end <= share), default=0.0)


USUAL_SEQUENCE: Final = StatusSequence(
    (("initialized", 0.04), ("sent", 0.08), ("pending", 0.2), ("processing", 1.0))
)
"""The sequence of nearly all kinds."""

IMAGE_TO_VIDEO_SEQUENCE: Final = StatusSequence(
    (("initialized", 0.05), ("sent", 0.2), ("pending", 0.45), ("processing", 1.0))
)
"""The documented records of image_to_video are `sent` or `pending`, so these last longer."""

DUBBING_SEQUENCE: Final = StatusSequence((("sent", 0.1), ("pending", 0.25), ("processing", 1.0)))
"""A dubbing is never `initialized`: the documented response to its start is `sent`."""

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
"""The sequence of a finished twin that is trained further."""

EYE_CONTACT_SEQUENCE: Final = StatusSequence((("processing", 1.0),))
"""The sequence of a finished twin whose eye contact is corrected."""
