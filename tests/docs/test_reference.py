"""The reference has a page for each namespace, and tells all that a kind declares."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from attrs import fields

from a2e_async.inputs import input_fields
from a2e_async.models import Record
from a2e_async.namespaces import Namespaces
from a2e_async.resources.registry import kind_named, kind_names

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = DOCS / "reference"
FOUNDATIONS = {"index", "client", "namespace", "tasks", "errors", "events"}


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    """The part of the documentation's build that reads declarations; it needs no Sphinx."""
    spec = importlib.util.spec_from_file_location("kind_page", DOCS / "_ext" / "kind_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_namespace_has_a_page() -> None:
    """Nothing that a client offers by name is missing, and no page is left over."""
    names = {name for name in vars(Namespaces) if not name.startswith("_")} | {"files"}
    assert {page.stem for page in PAGES.glob("*.md")} - FOUNDATIONS == names


@pytest.mark.parametrize("name", kind_names())
def test_page_shows_its_own_kind(name: str) -> None:
    """A page's example uses the kind that the page is about, and its generated part is that."""
    text = (PAGES / f"{name}.md").read_text()
    example = re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert example is not None
    assert f"a2e.{name}." in example[1]
    assert f"```{{kind}} {name}\n" in text


@pytest.mark.parametrize("name", kind_names())
def test_all_that_is_declared_is_told(name: str, writer: ModuleType) -> None:
    """Each input, wire name, operation, record field and output of a kind is on its page."""
    kind: Any = kind_named(name)
    text = writer.kind_page(kind)
    told = {code for _, code in re.findall(r"(`+)(.+?)\1", text)}
    own = [f for f in input_fields(kind.input) if not f.common]
    assert {f.name for f in own} | {f.wire for f in own} <= told
    assert {a.name for a in fields(kind.record)} - {a.name for a in fields(Record)} <= told
    assert {result.field for result in kind.results} <= told
    ways = (getattr(kind, a.name) for a in fields(type(kind)) if a.name.endswith("_at"))
    for at in ways:
        assert at is None or any(f"{at.method} {at.path}" in said for said in told)
