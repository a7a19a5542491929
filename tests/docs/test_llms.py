"""The files for coding assistants match the code: every name, every signature."""

import ast
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from attrs import fields

from a2e_async import A2E, errors, events
from a2e_async._core.schema.inputs import input_fields
from a2e_async._core.tasks.task import Task
from a2e_async._namespaces import Namespaces
from a2e_async.kinds.registry import kind_named, kind_names
from a2e_async.models import Record

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    """The module of the documentation's build that writes both files; it needs no Sphinx."""
    spec = importlib.util.spec_from_file_location("llms", DOCS / "_ext" / "llms.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page(writer: ModuleType) -> str:
    """The part after the guide, whose code tests/docs/test_blocks.py runs."""
    text: str = writer.full()
    return text.partition("## The client")[2]


def parsed(line: str) -> ast.arguments:
    """Return the parameters of a shown signature; it must be Python."""
    _, paren, rest = line.removeprefix("await ").partition("  # ")[0].partition("(")
    (made,) = ast.parse(f"def f{paren}{rest}: ...").body
    assert isinstance(made, ast.FunctionDef)
    return made.args


def call(page: str, name: str) -> ast.arguments:
    """Return the parameters of the one call of this name."""
    found = re.findall(rf"^(?:await )?{re.escape(name)}\(.*$", page, re.MULTILINE)
    assert len(found) == 1, (name, found)
    return parsed(found[0])


def needed(arguments: ast.arguments) -> dict[str, bool]:
    """Return the names of keyword parameters, each with whether it must be given."""
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {argument.arg: default is None for argument, default in pairs}


@pytest.mark.parametrize("name", kind_names())
def test_a_kind_is_shown_as_it_is(name: str, page: str) -> None:
    """Its inputs and which of them are needed, what they mean, and what its record holds."""
    kind: Any = kind_named(name)
    own = {f.name: f.required for f in input_fields(kind.input) if not f.common}
    assert needed(call(page, f"a2e.{name}.start")) == own
    section = re.search(rf"^### {name}: .*?(?=^##)", page, re.MULTILINE | re.DOTALL)
    assert section is not None
    for given in own:
        assert f"\n  {given}: " in section[0]
    for attribute in {a.name for a in fields(kind.record)} - {a.name for a in fields(Record)}:
        assert attribute.startswith("_") or f"{attribute}: " in section[0]


def test_every_signature_is_python(page: str) -> None:
    """And none of them still shows where a type comes from."""
    shown = re.findall(r"^(?:await )?(?:a2e|task|output)\.[\w.]+\(.*$", page, re.MULTILINE)
    assert len(shown) > 100
    for line in shown:
        parsed(line)
        assert not re.search(r"a2e_async\.|typing\.|collections\.|NoneType|P\.args", line), line


@pytest.mark.parametrize(("prefix", "cls"), [("a2e", A2E), ("task", Task)])
def test_public_methods_are_all_there(prefix: str, cls: type[Any], page: str) -> None:
    """Each with the parameters that it has."""
    hidden = {"loose", "observe", "open_ids", *vars(Namespaces)}
    for name, value in vars(cls).items():
        if name.startswith("_") or name in hidden or not inspect.getdoc(value):
            continue
        if isinstance(value, property):
            assert re.search(rf"^{prefix}\.{name}  # ", page, re.MULTILINE), name
        elif callable(value):
            real = [p for p in inspect.signature(value).parameters if p != "self"]
            shown = call(page, f"{prefix}.{name}")
            assert [a.arg for a in (*shown.args, *shown.kwonlyargs)] == real


def test_options_namespaces_errors_and_events(page: str) -> None:
    options = inspect.signature(A2E).parameters
    assert set(needed(call(page, "A2E"))) == set(options) - {"api_key"}
    for name in vars(Namespaces):
        assert name.startswith("_") or re.search(rf"^### {name}\b", page, re.MULTILINE), name
    for name in errors.__all__:
        assert f"\n- {name}" in page
    for cls in events.Event.__args__:
        assert set(needed(call(page, f"- {cls.__name__}"))) == {a.name for a in fields(cls)}
    assert "upload(" in page
    assert "upload_prepared" not in page


def test_it_can_be_read_whole(writer: ModuleType) -> None:
    """Small enough for any assistant, the guide first, and no note to ourselves in it."""
    text = writer.full()
    assert len(text) < 80_000
    assert text.index("## Mistakes to avoid") < text.index("## Five patterns") < 6000
    assert "<!--" not in text


def test_the_index_leads_to_pages(writer: ModuleType) -> None:
    links = re.findall(r"\]\((.+?)\)", writer.index())
    assert links[0] == "llms-full.txt"
    for link in links[1:]:
        assert (DOCS / link).with_suffix(".md").is_file(), link
    assert "how-to/agents.html" in links


def test_it_is_written_alone(tmp_path: Path) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, str(DOCS / "_ext" / "llms.py"), str(tmp_path)], check=False
    )
    assert done.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"llms.txt", "llms-full.txt"}
