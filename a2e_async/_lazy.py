"""Modules and names that are loaded when they are first used."""

import importlib
from typing import Any


class LazyModule:
    """Stands for a module until an attribute of it is asked for."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)


def lazy_module(name: str) -> Any:
    """Return a stand-in for a module."""
    return LazyModule(name)
