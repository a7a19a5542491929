"""The kinds that a client knows: those of the package, and its user's own."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from a2e_async._core.tasks.kind_registry import KindRegistry
from a2e_async._core.tasks.kind_rules import check_kind
from a2e_async._core.typeguards import is_mapping
from a2e_async.errors import ConfigurationError

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

_PAID_CALLS: Final = frozenset({"speech", "streaming_avatar", "upload", "watermark"})
"""Names of paid calls without a task. Entries of the journal have a kind of either sort."""


def _load(name: str) -> "TaskKind[..., Any]":
    # Each module declares its kind as a constant: DUBBING in dubbing.py. The package that holds
    # this module imports them on first use.
    package = sys.modules[__name__.rpartition(".")[0]]
    kind: TaskKind[..., Any] = getattr(package, name.upper())
    return kind


PACKAGED: Final = KindRegistry(_KINDS, _load)
"""The kinds of the package alone."""


def registry_of(own: Any) -> KindRegistry:
    """Return the registry of a client with these kinds of its user's own.

    Raises `ConfigurationError` for a declaration that cannot be used.
    """
    if own is None:
        return PACKAGED
    if isinstance(own, KindRegistry):
        return own
    declared: dict[str, TaskKind[..., Any]] = {}
    for kind in _declarations(own):
        check_kind(kind)
        check_name(kind.name, declared, f"kind {kind.name}")
        declared[kind.name] = kind
    return evolve(PACKAGED, declared=declared)


def _declarations(own: Any) -> "Iterable[TaskKind[..., Any]]":
    if isinstance(own, str) or hasattr(own, "__fspath__"):
        from a2e_async.kinds.kind_file import load_kinds

        return load_kinds(own)
    if is_mapping(own) or not hasattr(own, "__iter__"):
        raise ConfigurationError(
            "kinds must be a list of TaskKind, or the path of a TOML file, not "
            f"{type(own).__name__}."
        )
    found: Iterable[TaskKind[..., Any]] = own
    return found


def check_name(name: str, taken: Iterable[str], place: str) -> None:
    """Raise `ConfigurationError` for the name of another kind, or of a paid call."""
    if name in _KINDS:
        raise ConfigurationError(
            f"{place}: the package has a kind of this name; use it, or choose another name."
        )
    if name in _PAID_CALLS or name == "legacy":
        raise ConfigurationError(
            f"{place}: the package uses this name for a paid call; choose another one."
        )
    if name in taken:
        raise ConfigurationError(f"{place}: the name is declared twice.")


def kind_names() -> tuple[str, ...]:
    """Return the names of all kinds of the package."""
    return _KINDS


def kind_named(name: str) -> "TaskKind[..., Any]":
    """Return a kind of the package by its name.

    Raises `InvalidInput` that suggests a similar name.
    """
    return PACKAGED.named(name)
