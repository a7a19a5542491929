"""Modules that are imported when they are first used."""

import importlib
from typing import Any


class LazyModule:
    """A proxy that imports its module on the first attribute access."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


def lazy_module(name: str) -> Any:
    """Return a proxy for the module ``name`` that imports it on first use."""
    return LazyModule(name)
