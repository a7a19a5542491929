"""The kinds that a client knows: those of the package, and its user's own."""

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from a2e_async._core.tasks.kind_registry import KindRegistry
from a2e_async._core.tasks.kind_rules import check_kind
from a2e_async._core.typeguards import is_mapping
from a2e_async.errors import ConfigurationError
from a2e_async.kinds.table import KIND_NAMES, class_name

if TYPE_CHECKING:
    from a2e_async._core.tasks.kind import P, R, TaskKind
    from a2e_async.kinds.namespace import TaskNamespace

_PAID_CALLS: Final = frozenset({"speech", "streaming_avatar", "upload", "watermark"})
"""Names of paid calls without a task. Entries of the journal have a kind of either sort."""


def kind_module(name: str) -> ModuleType:
    """Return the module of one of the package's kinds; it is imported on first use."""
    return import_module(f"{__name__.rpartition('.')[0]}.{name}")


def _load(name: str) -> "TaskKind[..., Any]":
    kind: TaskKind[..., Any] = getattr(kind_module(name), name.upper())
    return kind


def namespace_class(kind: "TaskKind[P, R]") -> "type[TaskNamespace[P, R]]":
    """Return the class of the namespace of one of the package's kinds.

    A kind with operations of its own has a class in its module: ``FaceSwap`` for ``face_swap``.
    """
    from a2e_async.kinds.namespace import RenamableNamespace, TaskNamespace

    usual: Any = TaskNamespace if kind.rename is None else RenamableNamespace
    found: type[TaskNamespace[P, R]]
    found = getattr(kind_module(kind.name), class_name(kind.name), usual)
    return found


PACKAGED: Final = KindRegistry(KIND_NAMES, _load)
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
    if name in KIND_NAMES:
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
    return KIND_NAMES


def kind_named(name: str) -> "TaskKind[..., Any]":
    """Return a kind of the package by its name.

    Raises `InvalidInput` that suggests a similar name.
    """
    return PACKAGED.named(name)
