"""File names of results from a template such as ``{key}-{index}{ext}`` (pure)."""

import hashlib
from collections.abc import Mapping
from string import Formatter
from typing import Any, Final, Self

from attrs import frozen

from a2e_async._core.base_errors import InvalidInput
from a2e_async._core.files.media_types import safe_filename

FIELDS: Final = ("key", "kind", "id", "index", "ext")

_MAX_VALUE_CHARS: Final = 80
"""Longest key in a name; the rest of a longer one is replaced by its digest."""


@frozen
class NameTemplate:
    """A checked template. ``{ext}`` is its end: the format is known only when a result arrives."""

    stem: str
    """The template without ``{ext}``."""

    @classmethod
    def parse(cls, text: Any, *, many_tasks: bool) -> Self:
        """Check a template. Raises `InvalidInput`.

        ``many_tasks``: it names the results of several tasks, so that it must tell them apart.
        """
        if not isinstance(text, str):
            raise _error(f"must be text such as {{key}}-{{index}}{{ext}}, not {text!r:.60}")
        try:
            parts = [*Formatter().parse(text)]
        except ValueError as error:
            raise _error(f"{text!r:.80} is not a template: {error}") from None
        names = [name for _, name, _, _ in parts if name is not None]
        for _, name, spec, conversion in parts:
            if name is not None and (name not in FIELDS or conversion):
                raise _error(
                    f"{text!r:.80} has {{{name}{'!' if conversion else ''}}}; a template has "
                    f"{', '.join(f'{{{field}}}' for field in FIELDS)}"
                )
            if spec and (name != "index" or not spec.isdecimal()):
                raise _error(f"{text!r:.80}: only {{index}} takes a width, as in {{index:03}}")
        if names.count("ext") != 1 or not text.endswith("{ext}"):
            raise _error(
                f"{text!r:.80} must end with {{ext}}, the suffix of the result's actual format"
            )
        if many_tasks and not {"key", "id"} & {*names}:
            raise _error(f"{text!r:.80} must have {{key}} or {{id}}, or all results had one name")
        made = cls(text.removesuffix("{ext}"))
        sample = made.stem.format(key="k", kind="kind", id="id", index=0)
        if safe_filename(sample, "") != sample:
            raise _error(
                f"{text!r:.80} names a file, not a path: without separators, spaces, or other "
                "characters that some systems do not allow, and not too long"
            )
        return made

    @property
    def needs_key(self) -> bool:
        """Whether it has ``{key}``."""
        return any(name == "key" for _, name, _, _ in Formatter().parse(self.stem))

    def file_stem(self, *, key: str | None, kind: str, id: str, index: int) -> str:
        """Return the name of one result, without its suffix.

        Raises `InvalidInput` if it has ``{key}`` and ``key`` is None. A template without
        ``{index}`` gets it at its end, for all results of a task but the first.
        """
        self.check_key(key)
        values: Mapping[str, Any] = {
            "key": _safe(key or ""),
            "kind": _safe(kind),
            "id": _safe(id),
            "index": index,
        }
        numbered = any(name == "index" for _, name, _, _ in Formatter().parse(self.stem))
        return self.stem.format_map(values) + (f"-{index}" if index and not numbered else "")

    def check_key(self, key: str | None) -> None:
        """Raise `InvalidInput` if it has ``{key}`` and there is none."""
        if key is None and self.needs_key:
            raise _error("has {key}, but this task was started without a key")


def _safe(value: str) -> str:
    name = safe_filename(value[:_MAX_VALUE_CHARS], "")
    if name == value:
        return name
    # Removing characters could make the names of two keys equal.
    digest = hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{name}-{digest}" if name else digest


def _error(text: str) -> InvalidInput:
    return InvalidInput(f"name {text}.", field="name")
