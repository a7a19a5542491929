"""The reference has a page for each namespace, which shows everything that a kind declares."""

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from attrs import fields

from a2e_async import A2E
from a2e_async._core.schema.inputs import input_fields
from a2e_async._core.tasks.kind import Endpoint
from a2e_async._namespaces import Namespaces
from a2e_async.kinds.registry import kind_named, kind_names
from a2e_async.kinds.table import KIND_TABLE
from a2e_async.models import Record

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = DOCS / "reference"
FOUNDATIONS = {
    *("index", "client", "blocking", "namespace", "tasks", "batch", "recovery"),
    *("webhooks", "web", "errors", "events", "sandbox", "sandbox-faults", "kinds"),
}


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    """The part of the documentation's build that reads declarations; it needs no Sphinx."""
    return _extension("kind_page")


def test_each_namespace_has_a_page() -> None:
    """Nothing that a client offers by name is missing, and no page is left over."""
    account = {name for name in vars(Namespaces) if not name.startswith("_")} | {"files"}
    assert {page.stem for page in PAGES.glob("*.md")} - FOUNDATIONS == {*kind_names(), *account}


def test_the_index_has_each_topic() -> None:
    """Its tables, one for each topic, list all kinds."""
    text = (PAGES / "index.md").read_text()
    assert re.findall(r"^## (.+)\n\n```\{kinds\} \1\n```$", text, re.MULTILINE) == [*KIND_TABLE]


@pytest.mark.parametrize("name", kind_names())
def test_page_shows_its_own_kind(name: str) -> None:
    """A page's example uses the kind that the page is about, and its generated part is that."""
    text = (PAGES / f"{name}.md").read_text()
    example = re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert example is not None
    assert f"a2e.{name}." in example[1]
    assert f"```{{kind}} {name}\n" in text


@pytest.mark.parametrize("name", kind_names())
def test_everything_declared_is_on_the_page(name: str, writer: ModuleType) -> None:
    """Each input, wire name, operation, record field and output of a kind is on its page."""
    kind: Any = kind_named(name)
    text = writer.kind_page(kind)
    code_words = {code for _, code in re.findall(r"(`+)(.+?)\1", text)}
    own = [f for f in input_fields(kind.input) if not f.common]
    assert {f.name for f in own} | {f.wire_name for f in own} <= code_words
    assert {a.name for a in fields(kind.record)} - {a.name for a in fields(Record)} <= code_words
    assert {result.field for result in kind.outputs} <= code_words
    values = (getattr(kind, a.name) for a in fields(type(kind)))
    endpoints = [value for value in values if isinstance(value, Endpoint)]
    assert endpoints
    for one in endpoints:
        assert any(f"{one.method} {one.path}" in code for code in code_words)


def test_recovery_table_has_each_kind(writer: ModuleType) -> None:
    """Identified by its name, candidates only, or raised at once; and which lists are searched."""
    text = writer.recovery_table([kind_named(name) for name in kind_names()])
    rows = dict(re.findall(r"^\| \[(\w+)\]\(\w+\.md\) \| (.*) \|$", text, re.MULTILINE))
    assert set(rows) == set(kind_names())
    assert rows["dubbing"] == (
        "`GET /api/v1/userDubbing/allProcessing`, `GET /api/v1/userDubbing/allRecords` | "
        "the task, identified by its unique `name`"
    )
    assert "/trainingRecord`" in rows["voice_clone"]
    assert {name for name in rows if "candidates only" in rows[name]} == {"head_swap"}
    at_once = {name for name in rows if rows[name] == "no list | `StartOutcomeUnknown` at once"}
    assert at_once == {"wan30", "avatar_video", "face_swap_preview"}


def test_numbers_are_written_out(writer: ModuleType) -> None:
    """No number of the reference has an exponent, and no time begins with 0."""
    for name in kind_names():
        text = writer.kind_page(kind_named(name))
        assert not re.search(r"\de\+\d", text)
        assert not re.search(r"\b0 to \d+ (s|min|h)\b", text.partition("## Inputs")[0])


def test_the_common_name_has_no_length(writer: ModuleType) -> None:
    """It is each kind's own: 40 characters for an avatar video."""
    assert "200" not in next(r for r in writer.common_inputs().splitlines() if "`name`" in r)
    assert "at most 40 characters" in writer.kind_page(kind_named("avatar_video"))


@pytest.mark.parametrize("name", kind_names())
def test_every_record_field_has_a_meaning(name: str, writer: ModuleType) -> None:
    """The table of a record's fields has no empty cell for a meaning."""
    kind: Any = kind_named(name)
    own = {a.name for a in fields(kind.record)} - {a.name for a in fields(Record)}
    assert [field for field in sorted(own) if not writer.meaning(kind, field)] == []


def test_every_option_of_the_client_is_listed() -> None:
    """With its type and default, and a unit where it is a number of something."""
    options = _extension("client_options").client_options()
    for name, parameter in inspect.signature(A2E).parameters.items():
        entry = re.search(rf"^`{name}` \((.+)\)\n: \S", options, re.MULTILINE)
        assert entry is not None, name
        assert f"default `{parameter.default!r}`" in entry[1]
    assert "`request_timeout` (`float`, default `60`, s)" in options


def _extension(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
