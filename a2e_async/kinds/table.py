"""The table of the package's kinds, and what else `a2e_async.kinds` has by name.

Everything else follows from the table and from the module of each kind: the registry, the
namespaces of both clients, the command line, the reference, the samples of the tests. What type
checkers read is written from it by ``python tests/editors/signatures.py``.
"""

from collections.abc import Mapping
from typing import Final

KIND_TABLE: Final[Mapping[str, tuple[str, ...]]] = {
    "Images": (
        "text_to_image",
        "nano_banana",
        "gpt_image",
        "flux2",
        "qwen_image",
        "kling_image",
        "wan27_image",
        "wan26_image",
        "image_edit",
        "virtual_try_on",
        "product_avatar",
        "photobook",
    ),
    "Videos from text and images": (
        "image_to_video",
        "wan",
        "wan26_r2v",
        "wan30",
        "happyhorse",
        "seedance",
        "seedance2",
        "veo",
        "grok_video",
        "kling_video",
        "kling_omni",
        "sora",
        "hailuo",
        "minimax_h3",
    ),
    "People in images and videos": (
        "avatar_video",
        "video_twin",
        "talking_photo",
        "talking_video",
        "face_swap",
        "face_swap_preview",
        "head_swap",
        "actor_swap",
        "motion_transfer",
    ),
    "Audio and restoration": (
        "dubbing",
        "voice_clone",
        "think_sound",
        "caption_removal",
        "upscale",
    ),
}
"""The kinds by topic, in the order in which they are listed. Each is declared in the module of its
name, as a constant: ``DUBBING`` in ``dubbing.py``."""

KIND_NAMES: Final = tuple(name for names in KIND_TABLE.values() for name in names)

OTHER_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "a2e_async._core.schema.inputs": (
        "AcceptedMedia",
        "FieldDoc",
        "InputField",
        "ItemCount",
        "MaxLength",
        "MediaInput",
        "Range",
        "SerializeAsString",
        "TaskInput",
        "input_fields",
    ),
    "a2e_async._core.tasks.kind": (
        "Endpoint",
        "ListPaging",
        "OutputField",
        "StatusVocabulary",
        "TaskKind",
    ),
    "a2e_async.kinds.jobs": ("Job",),
    "a2e_async.kinds.kind_file": ("load_kinds",),
    "a2e_async.kinds.namespace": ("RenamableNamespace", "TaskNamespace"),
    "a2e_async.kinds.person_inputs": (
        "MovingPersonInput",
        "MovingPersonRecord",
        "SpeakingPersonInput",
        "SpeakingPersonRecord",
    ),
    "a2e_async.kinds.wan_image_inputs": ("WanImageInput", "WanImageRecord"),
    "a2e_async.kinds.registry": ("kind_named", "kind_names"),
    "a2e_async.models": ("MediaType", "NumericString", "Record", "WireName"),
}
"""The public names of `a2e_async.kinds` that belong to no single kind, by their module."""


def class_name(kind: str) -> str:
    """Return how the names of a kind's classes begin: ``TextToImage``."""
    return "".join(word.capitalize() for word in kind.split("_"))
