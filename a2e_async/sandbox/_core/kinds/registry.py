"""Every kind of task that the sandbox simulates.

To add a kind, add one declaration to the module of its family. Whatever kinds.json and
openapi.json state is read from there and not repeated.

Two words in a prompt have a meaning: ``refuse-me`` makes nano_banana, gpt_image and flux2 answer
200 with a ``failed_message`` instead of a task; ``minor-me`` makes seedance2 answer 403 with code
1003. Neither is charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .image_kinds import IMAGE_KINDS
from .kind import SimulatedKind
from .person_kinds import PERSON_KINDS
from .video_kinds import VIDEO_KINDS

KINDS: Final[Mapping[str, SimulatedKind]] = {
    kind.name: kind for kind in (*IMAGE_KINDS, *VIDEO_KINDS, *PERSON_KINDS)
}
"""Every kind by its name."""
