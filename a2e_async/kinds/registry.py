"""The registry of the kinds by name. Their modules are imported on first use."""

from typing import TYPE_CHECKING, Any, Final

from a2e_async import kinds
from a2e_async._core.tasks.kind import set_kind_lookup
from a2e_async.errors import InvalidInput

if TYPE_CHECKING:
    from a2e_async._core.tasks.kind import TaskKind

_KINDS: Final = (
    "text_to_image",
    "nano_banana",
    "gpt_image",
    "flux2",
    "qwen_image",
    "kling_image",
    "image_edit",
    "virtual_try_on",
    "product_avatar",
    "photobook",
    "image_to_video",
    "wan",
    "wan30",
    "happyhorse",
    "seedance",
    "seedance2",
    "veo",
    "grok_video",
    "kling_video",
    "kling_omni",
    "sora",
    "avatar_video",
    "video_twin",
    "talking_photo",
    "talking_video",
    "face_swap",
    "face_swap_preview",
    "head_swap",
    "actor_swap",
    "motion_transfer",
    "dubbing",
    "voice_clone",
    "think_sound",
    "caption_removal",
    "upscale",
)


def kind_names() -> tuple[str, ...]:
    """Return the names of all kinds."""
    return _KINDS


def kind_named(name: str) -> "TaskKind[..., Any]":
    """Return a kind by its name. Raises `InvalidInput` that suggests a similar name."""
    if name not in _KINDS:
        from difflib import get_close_matches

        close = get_close_matches(str(name), _KINDS, n=1)
        hint = f"Did you mean {close[0]}? " if close else ""
        raise InvalidInput(
            f"There is no kind {str(name)[:60]!r}. {hint}The command `a2e kinds` lists all "
            f"{len(_KINDS)}, from {_KINDS[0]} to {_KINDS[-1]}.",
            field="kind",
        )
    # Each module declares its kind as a constant: DUBBING in dubbing.py.
    kind: TaskKind[..., Any] = getattr(kinds, name.upper())
    return kind


set_kind_lookup(kind_named)
