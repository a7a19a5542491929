"""Programs that can be written from ``llms-full.txt`` alone work, and pay for each job once.

They are in `programs`, as a user would write them. Each is run against a sandbox.
"""

import ast
import builtins
import importlib
import inspect
import json
import re
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partialmethod
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from attrs import fields, has

import a2e_async
from a2e_async import A2E, BlockingA2E, BlockingTask, Task, account, errors, journal, kinds
from a2e_async import sandbox as sandbox_package
from a2e_async._core.schema.inputs import input_fields
from a2e_async._namespaces import Namespaces
from a2e_async.kinds.registry import kind_named, kind_names
from a2e_async.sandbox import Sandbox, media

PROGRAMS = Path(__file__).with_name("programs")
SOURCES = sorted(PROGRAMS.glob("*.py"))


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A fast sandbox that the environment names, and the files of the programs."""
    shutil.copy(media.speech(), tmp_path / "talk.wav")
    for name in ("a.png", "b.png", "c.png"):
        shutil.copy(media.portrait(), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    # The programs poll as often as usual; waiting for that proves nothing.
    monkeypatch.setattr(A2E, "__init__", partialmethod(A2E.__init__, poll_interval=0.02))
    with Sandbox(speed=6000, make_results="stdlib") as made:
        monkeypatch.setenv("A2E_API_KEY", made.api_key)
        monkeypatch.setenv("A2E_BASE_URL", made.base_url)
        yield made


def run(name: str, *arguments: str) -> None:
    """Run a program in this process, as its command line does."""
    before = sys.argv
    sys.argv = [name, *arguments]
    try:
        runpy.run_path(str(PROGRAMS / name), run_name="__main__")
    finally:
        sys.argv = before


def paid(sandbox: Sandbox) -> Counter[str]:
    """Return the number of charges of each kind."""
    return Counter(charge.kind for charge in sandbox.ledger.charges)


@pytest.mark.parametrize(
    ("name", "arguments", "charges"),
    [
        ("dub_talk.py", ["talk.wav", "out"], {"presign": 1, "dubbing": 3}),
        ("animate_images.py", ["a.png", "b.png", "c.png"], {"presign": 1, "image_to_video": 3}),
        ("script.py", ["talk.wav"], {"presign": 1, "dubbing": 2, "text_to_image": 1}),
        ("bot.py", [], {"text_to_image": 3}),
    ],
)
def test_a_program_that_runs_twice_pays_once(
    name: str, arguments: list[str], charges: dict[str, int], sandbox: Sandbox
) -> None:
    run(name, *arguments)
    assert paid(sandbox) == charges
    if name != "bot.py":  # the bot would start the job that its cap has refused
        run(name, *arguments)
        assert paid(sandbox) == charges


def test_speech_and_avatar_are_paid_once_each(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    run("speak_avatar.py", "Welcome.", "welcome.mp4")
    assert paid(sandbox) == {"speech": 1, "avatar_video": 1}
    assert capsys.readouterr().out == f"{sandbox.ledger.spent} coins\n"
    assert Path("welcome.mp3").stat().st_size > 1000


def test_the_rows_of_a_file_stay_within_their_budget(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run is free; a run pays what fits; the next one, with more, pays for the rest."""
    rows = [f"{number},a lake at {hour}" for number, hour in enumerate(("dawn", "noon", "dusk"))]
    Path("rows.csv").write_text("\n".join(["id,prompt", *rows]))
    run("csv_rows.py", "rows.csv", "--budget", "100", "--dry-run")
    assert capsys.readouterr().out.endswith("\n15 coins\n")
    assert not paid(sandbox)

    run("csv_rows.py", "rows.csv", "--budget", "11")
    printed = capsys.readouterr().out
    assert "Stopped: " in printed
    assert printed.endswith("\n2 of 3\n")
    assert paid(sandbox) == {"text_to_image": 2}

    run("csv_rows.py", "rows.csv", "--budget", "15")
    assert capsys.readouterr().out.endswith("\n3 of 3\n")
    assert paid(sandbox) == {"text_to_image": 3}
    assert len(list(Path("images").iterdir())) == 3


def test_the_web_app_survives_a_restart(sandbox: Sandbox) -> None:
    """Its second process delivers what its first one started, and a repeated click is free."""
    from starlette.testclient import TestClient

    sandbox.faults.slow(0.2, role="batch_detail", times=2)
    first = TestClient(load("web_app.py").app)
    click = {"user": "ann", "prompt": "a lake"}
    with first:
        assert first.post("/jobs/k1", params=click).json() == {"events": "/jobs/k1/events"}
        assert first.post("/jobs/k1", params={**click, "prompt": "a sea"}).status_code == 409
        assert first.post("/jobs/k2", params={**click, "prompt": ""}).status_code == 422
    second = TestClient(load("web_app.py").app)
    with second:
        assert second.post("/jobs/k1", params=click).status_code == 202
        page = second.get("/jobs/k1/events").text
        shown = [json.loads(line[6:]) for line in page.splitlines() if line.startswith("data: ")]
        assert shown[-1]["status"] == "succeeded"
        while (result := second.get("/jobs/k1/result")).status_code == 404:
            assert result.json() == {"detail": "Not ready yet."}
        assert result.headers["content-type"] == "image/png"
        assert second.get("/jobs/other/events").status_code == 404
    assert paid(sandbox) == {"text_to_image": 1}


def test_the_tests_of_a_user_pass(tmp_path: Path) -> None:
    """They need neither our configuration nor an account."""
    shutil.copy(PROGRAMS / "tests_of_my_code.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    command += ["-p", "no:asyncio"]  # pytest-asyncio warns where its own options are not set
    done = subprocess.run(
        [*command, "tests_of_my_code.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 passed" in done.stdout, done.stdout


# -- what the programs may use -------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_a_program_imports_public_names_only(path: Path) -> None:
    for module, name in imports(path):
        assert not re.search(r"\._", f"{module}.{name}"), (module, name)
        found = importlib.import_module(module)
        offered = getattr(found, "__all__", None) or dir(found)
        assert name in offered or inspect.ismodule(getattr(found, name)), (module, name)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_name_of_the_package_is_on_the_page(path: Path, page: str) -> None:
    """A program that is written from the page alone can only use what the page names."""
    words = set(re.findall(r"\w+", page))
    used = used_names(path) & public_names()
    assert len(used) > 5
    assert used <= words, used - words


def load(name: str) -> ModuleType:
    """Import a program again, as a new process does."""
    spec = importlib.util.spec_from_file_location(Path(name).stem, PROGRAMS / name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page() -> str:
    """The text of ``llms-full.txt`` without its patterns: what it says of each name."""
    extensions = PROGRAMS.parents[2] / "docs" / "_ext"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(extensions))
        text: str = importlib.import_module("llms").full()
    return text.partition("## The client")[2]


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the module and the name of everything that a program imports from the package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("a2e_async"):
            yield from ((str(node.module), alias.name) for alias in node.names)


def used_names(path: Path) -> set[str]:
    """Return the attributes, keyword arguments and imported names in a program."""
    names = {name for _, name in imports(path)}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.keyword) and node.arg:
            names.add(node.arg)
    return names


def public_names() -> set[str]:
    """Return the names of modules, classes, members and inputs that users may write."""
    names = set(Namespaces.__dict__) | {
        "base_url",
        "poll_interval",
        *inspect.signature(A2E).parameters,
    }
    for module in (a2e_async, account, errors, journal, kinds, sandbox_package):
        for name in module.__all__:
            names |= {name} | members(getattr(module, name))
    for cls in (A2E, BlockingA2E, Task, BlockingTask):
        names |= members(cls)
    for name in kind_names():
        kind: Any = kind_named(name)
        names |= {f.name for f in input_fields(kind.input)}
    known = set(dir(builtins)) | set(dir(str)) | set(dir(list)) | set(dir(Path))
    return {name for name in names - known if not name.startswith("_")}


def members(value: Any) -> set[str]:
    if not isinstance(value, type):
        return set()
    return set(vars(value)) | ({a.name for a in fields(value)} if has(value) else set())
