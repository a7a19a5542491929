"""The files for coding assistants match the code: every name, every signature."""

import ast
import importlib
import inspect
import re
import sys
from contextlib import aclosing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from attrs import fields

import a2e_async
from a2e_async import A2E, Failure, Outcome, Plan, Status, errors, events
from a2e_async._core.batch.batch import FATAL_ERRORS
from a2e_async._core.schema.inputs import input_fields
from a2e_async._core.tasks.task import Task
from a2e_async._namespaces import Namespaces
from a2e_async.account import Avatar, Balance, Voice
from a2e_async.kinds.registry import kind_named, kind_names
from a2e_async.models import Record
from a2e_async.sandbox import Charge, Faults, Sandbox

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    """The module of the documentation's build that writes both files; it needs no Sphinx."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "_ext"))
        return importlib.import_module("llms")


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


def section(page: str, name: str) -> str:
    """Return what the page says of a kind."""
    found = re.search(rf"^### {name}: .*?(?=^###|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("name", kind_names())
def test_a_kind_is_shown_as_it_is(name: str, page: str) -> None:
    """Its inputs and which of them are needed, what they mean, and what its record holds."""
    kind: Any = kind_named(name)
    own = {f.name: f.required for f in input_fields(kind.input) if not f.common}
    text = section(page, name)
    required, _, optional = text.partition("\n# optional:\n")
    usual = page.partition("Where no meaning is given: ")[2].partition("\n")[0]
    shown: dict[str, bool] = {}
    for part, needed in ((required, True), (optional, False)):
        for line in part.splitlines():
            if found := re.fullmatch(r"(\w+): (.+?)(?: # (.+))?", line):
                shown[found[1]] = needed
                meant = found[3] and not found[3].startswith("(")
                assert meant or f"{found[1]}: " in usual, line
                ast.parse(f"{found[1]}: {found[2]}")
    assert shown == own
    assert text.splitlines()[0].endswith(kind.record.__name__)
    lacks = re.findall(r"\w+", "".join(re.findall(r"^record lacks ([^;\n]+)", text, re.MULTILINE)))
    only = re.findall(
        r"\w+", "".join(re.findall(r"^record has only ([^;\n]+)", text, re.MULTILINE))
    )
    inputs = set(only) if only else set(own) - set(lacks)
    common = {a.name for a in fields(Record)}
    for attribute in {a.name for a in fields(kind.record)} - common:
        assert attribute.startswith("_") or attribute in inputs or f" {attribute}: " in text
    assert inputs <= {a.name for a in fields(kind.record)}
    for attribute, value in vars(kind.record).items():
        assert not isinstance(value, property) or f" {attribute}: " in text


def test_the_kinds_are_less_than_half_of_it(page: str) -> None:
    """And their types are those that users write."""
    kinds = page.partition("## Kinds")[2]
    assert len(kinds) < len(page) / 2
    assert not re.search(r"Annotated|WireName|NumericString|Unpack|Literal|Media\[|_core", page)


def test_every_signature_is_python(page: str) -> None:
    """And none of them still shows where a type comes from."""
    shown = re.findall(r"^(?:await )?(?:a2e|task|output|faults)\.[\w.]+\(.*$", page, re.MULTILINE)
    assert len(shown) > 80
    for line in shown:
        parsed(line)
        assert not re.search(
            r"a2e_async\.|typing\.|collections\.|contextlib\.|NoneType|Optional\[|P\.args", line
        ), line


@pytest.mark.parametrize(("prefix", "cls"), [("a2e", A2E), ("task", Task)])
def test_public_methods_are_all_there(prefix: str, cls: type[Any], page: str) -> None:
    """Each with the parameters that it has."""
    for name, value in vars(cls).items():
        if name.startswith("_") or not inspect.getdoc(value):
            continue
        if isinstance(value, property):
            assert re.search(rf"^{prefix}\.{name}: \S", page, re.MULTILINE), name
        elif callable(value):
            real = [p for p in inspect.signature(value).parameters if p != "self"]
            shown = call(page, f"{prefix}.{name}")
            assert [a.arg for a in (*shown.args, *shown.kwonlyargs)] == real


def test_options_namespaces_errors_and_events(page: str) -> None:
    options = inspect.signature(A2E).parameters
    block = re.search(r"^A2E\(\n(?:    .*\n)*\)$", page, re.MULTILINE)
    assert block is not None
    (made,) = ast.parse(f"def f{block[0].removeprefix('A2E')}: ...").body
    assert isinstance(made, ast.FunctionDef)
    assert set(needed(made.args)) == set(options) - {"api_key"}
    for name in (*kind_names(), *vars(Namespaces)):
        assert name.startswith("_") or re.search(rf"^### {name}\b", page, re.MULTILINE), name
    for name in errors.__all__:
        assert f"\n- {name}" in page
    for name in set(a2e_async.__all__) - {"__version__"}:
        assert re.search(rf"\b{name}\b", page), name
    for_tracers = {name for name in dir(events) if name.endswith("Started")} | {"FileRequest"}
    for cls in events.Event.__args__:
        if cls.__name__ in for_tracers:
            continue
        assert set(needed(call(page, f"- {cls.__name__}"))) == {a.name for a in fields(cls)}
    assert "upload(" in page


def test_what_programs_handle_is_described(page: str) -> None:
    """Value types with their fields, the blocking client, the sandbox, what ends a batch."""
    for cls in (Outcome, Plan, Failure, Voice, Avatar, Balance, Charge):
        text = re.search(rf"^class {cls.__name__}\b.*?\n(?:    .*\n)+", page, re.MULTILINE)
        assert text is not None
        for attribute in fields(cls):
            said = re.search(rf"^ .*\b{attribute.name}: ", text[0], re.MULTILINE)
            assert said or attribute.name == "extra", (cls, attribute.name)
    for status in Status:
        assert f"{status.name} = {status.value!r}" in page
    for name in vars(Sandbox):
        if isinstance(vars(Sandbox)[name], property) and name in {"ledger", "faults", "tasks"}:
            assert f"    {name}: " in page
    for name, fault in vars(Faults).items():
        hidden = name in {"take", "rate_limit_delay", "is_idle", "pending"}
        assert hidden or name.startswith("_") or not callable(fault) or name in page, name
    for name in ("blocking", "BlockingA2E", "BlockingTask", "a2e_sandbox", "task.key", "task.meta"):
        assert name in page


def test_the_errors_that_end_a_batch_are_named(writer: ModuleType) -> None:
    pattern = writer.full().partition("## Patterns")[2].partition("\n### Start now")[0]
    named = pattern.partition("These are ")[2].partition(". ")[0]
    assert set(re.findall(r"`(\w+)`", named)) == {error.__name__ for error in FATAL_ERRORS}


async def test_the_web_app_of_the_patterns_works(
    writer: ModuleType,
    a2e_sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is a block that tests/docs/test_blocks.py only defines."""
    from httpx import ASGITransport, AsyncClient

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A2E_API_KEY", a2e_sandbox.api_key)
    monkeypatch.setenv("A2E_BASE_URL", a2e_sandbox.base_url)
    code = re.search(r"^# app\.py\n.*?(?=^```)", writer.full(), re.MULTILINE | re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(compile(code[0], "app.py", "exec"), names)
    app, job = names["app"], {"user": "ann", "prompt": "a lake"}
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        transport = ASGITransport(with_state)
        async with AsyncClient(transport=transport, base_url="http://app") as browser:
            for _ in range(2):
                assert (await browser.put("/jobs/1", params=job)).status_code == 202
            wrong = await browser.put("/jobs/2", params={**job, "prompt": ""})
            assert (wrong.status_code, wrong.json()["field"]) == (422, "prompt")
            async with aclosing(state["progress"].events({}, caller="ann")) as updates:
                async for update in updates:
                    if b'"status": "succeeded"' in update:
                        break
            assert (await browser.get("/jobs/1/result", params=job)).status_code == 200
            other = {**job, "user": "ben"}
            assert (await browser.get("/jobs/1/result", params=other)).status_code == 404
    assert len(a2e_sandbox.ledger.charges) == 1


def test_it_can_be_read_completely(writer: ModuleType) -> None:
    """Small enough for any assistant, the guide first, and no note to ourselves in it."""
    text = writer.full()
    assert len(text) < 80_000
    assert text.index("## Mistakes to avoid") < text.index("## Patterns") < 6000
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
