"""Every field of a record or another result has a meaning that editors and the docs show."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from a2e_async import account, kinds, models
from a2e_async._core.schema.inputs import TaskInput
from a2e_async.kinds.docstrings import field_docs

INTERNAL = {
    *("RequestContext", "Room", "InputRule", "Use", "Wire", "WireName"),
    *("CallOptions", "RequestKwargs"),
}


def classes() -> Iterator[type[Any]]:
    names = [
        f"{package.__name__}.{module.name}"
        for package in (account, kinds)
        for module in pkgutil.iter_modules(package.__path__)
    ]
    for module in (models, *map(importlib.import_module, names)):
        for name, cls in vars(module).items():
            mine = inspect.isclass(cls) and cls.__module__ == module.__name__
            if not mine or name.startswith("_") or name in INTERNAL or issubclass(cls, TaskInput):
                continue
            if attrs.has(cls) or hasattr(cls, "__total__"):
                yield cls


def fields(cls: type[Any]) -> list[str]:
    names = [a.name for a in attrs.fields(cls)] if attrs.has(cls) else [*cls.__annotations__]
    return [name for name in names if not name.startswith("_")]


FOUND = [*classes()]


def test_the_classes_are_found() -> None:
    names = {cls.__name__ for cls in FOUND}
    assert {"DubbingRecord", "Record", "Output", "Voice", "PromptInputs"} <= names


@pytest.mark.parametrize("cls", FOUND, ids=lambda cls: cls.__name__)
def test_every_field_has_a_meaning(cls: type[Any]) -> None:
    meanings = field_docs(cls)
    for name in fields(cls):
        assert len(meanings.get(name, "")) > 5, f"{cls.__name__}.{name} has no docstring"


SECONDS = {"duration", "processing_limit", "video_time", "expires_in", "input_video_seconds"}


@pytest.mark.parametrize("cls", FOUND, ids=lambda cls: cls.__name__)
def test_times_and_sizes_say_their_unit(cls: type[Any]) -> None:
    meanings = field_docs(cls)
    for name in fields(cls):
        if name in SECONDS or name.endswith("_seconds"):
            assert "second" in meanings[name].lower(), f"{cls.__name__}.{name}"
        if name in ("width", "height"):
            assert "pixels" in meanings[name], f"{cls.__name__}.{name}"
