"""A new kind is its module, its line in the table, its row in the sandbox and its facts.

Adds one to a copy of the package, as CONTRIBUTING.md describes, and uses it everywhere.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import a2e_async

ROOT: Final = Path(__file__).parents[2]

MODULE: Final = '''"""Short clip: the best seconds of a video.

Cuts the best seconds out of a video.

```python
record = await a2e.short_clip.run(video_url="clip.mp4", seconds=3)
await record.output.save("short.mp4")
```
"""

from typing import Annotated

from attrs import define

from a2e_async._core.schema.inputs import AcceptedMedia, FieldDoc, MediaInput, Range, TaskInput
from a2e_async._core.tasks.kind import Endpoint, OutputField, TaskKind
from a2e_async.models import Record


@define(kw_only=True)
class ShortClipInput(TaskInput):
    """Inputs of `a2e.short_clip.start` (``POST /api/v1/shortClip/start``)."""

    video_url: Annotated[MediaInput, AcceptedMedia("video"), FieldDoc("The video to cut.")]
    seconds: Annotated[int | None, Range(1, 10), FieldDoc("Length of the clip (s).")] = None


@define(kw_only=True)
class ShortClipRecord(Record):
    """A short clip. Its output is a video."""

    video_url: str | None = None
    """URL of the input file."""

    seconds: int | None = None
    """Length of the clip (s)."""


SHORT_CLIP = TaskKind(
    name="short_clip",
    summary="The best seconds of a video",
    start_doc="Cut the best seconds out of a video.",
    input=ShortClipInput,
    record=ShortClipRecord,
    start=Endpoint("POST", "/api/v1/shortClip/start"),
    detail=Endpoint("GET", "/api/v1/shortClip/{id}"),
    list=Endpoint("GET", "/api/v1/shortClip/allRecords"),
    batch_detail=Endpoint("POST", "/api/v1/shortClip/batchDetail"),
    delete=Endpoint("DELETE", "/api/v1/shortClip/{id}"),
    outputs=(OutputField("result_url", "video"),),
)
'''

USE: Final = """
import asyncio, inspect
import a2e_async
from a2e_async import A2E
from a2e_async.kinds import SHORT_CLIP, ShortClipRecord, kind_names
from a2e_async.sandbox import Sandbox, media
from tests.client.test_every_kind import most, wire
from tests.hostile import KINDS
from tests.samples import LEAST

assert "short_clip" in kind_names()
assert LEAST["short_clip"].keys() == {"video_url"}
assert most("short_clip").keys() == {"video_url", "seconds"}
assert KINDS["short_clip"].media == "video"

with Sandbox(speed=3600, make_results="stdlib") as sandbox:
    options = {"base_url": sandbox.base_url, "poll_interval": 0.05}

    async def use():
        async with A2E(sandbox.api_key, **options) as a2e:
            assert list(inspect.signature(a2e.short_clip.start).parameters)[:2] == [
                "video_url", "seconds"
            ]
            record = await a2e.short_clip.run(**most("short_clip"), name="mine")
            assert isinstance(record, ShortClipRecord) and record.seconds == 1
            assert await record.output.save("short.mp4")

    asyncio.run(use())
    with a2e_async.blocking(sandbox.api_key, **options) as a2e:
        assert a2e.short_clip.run(video_url=media.clip(), seconds=3).output
    first, second = sandbox.ledger.starts("short_clip")
    assert first.body == wire("short_clip", most("short_clip")) | {"name": "mine"}
"""


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    data = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(change(data)), "utf-8")


def renamed(value: Any) -> Any:
    """Return the facts of an existing kind as those of the new one."""
    text = json.dumps(value)
    for old, new in (
        ("userUpscale", "shortClip"),
        ('"upscale"', '"short_clip"'),
        ("source_url", "video_url"),
    ):
        text = text.replace(old, new)
    return json.loads(text)


def with_kind(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*rows, *(renamed(row) for row in rows if row["kind"] == "upscale")]


def with_operations(spec: dict[str, Any]) -> dict[str, Any]:
    paths = spec["paths"]
    new = renamed({path: paths[path] for path in paths if "/userUpscale/" in path})
    body = new["/api/v1/shortClip/start"]["post"]["requestBody"]["content"]["application/json"]
    body["schema"]["properties"]["seconds"] = {"type": "integer", "minimum": 1, "maximum": 10}
    return {**spec, "paths": {**paths, **new}}


def run(copy: Path, *arguments: str) -> str:
    """Run Python with the copy of the package; return what it prints."""
    path = os.pathsep.join(map(str, (copy, ROOT)))
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a copy of the package that has one kind more."""
    made = tmp_path_factory.mktemp("copy")
    package = made / "a2e_async"
    shutil.copytree(
        Path(a2e_async.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    (package / "kinds" / "short_clip.py").write_text(MODULE)
    table = package / "kinds" / "table.py"
    table.write_text(table.read_text().replace('"upscale",', '"upscale",\n        "short_clip",'))
    rows = package / "sandbox" / "_core" / "kinds" / "video_kinds.py"
    row = '    _video_kind("short_clip", 60, Tariff(2), "video_url"),\n'
    rows.write_text(f"{rows.read_text().rstrip().removesuffix(')')}{row})\n")
    rewrite(package / "sandbox" / "data" / "kinds.json", with_kind)
    rewrite(package / "sandbox" / "data" / "openapi.json", with_operations)

    for folder in ("docs/reference", "tests/editors", "tests/typing"):
        (made / folder).mkdir(parents=True)
    run(made, shutil.copy(ROOT / "tests" / "editors" / "signatures.py", made / "tests" / "editors"))
    return made


def test_both_clients_have_it(copy: Path) -> None:
    """Started, waited for and downloaded, with the inputs that the tests derive."""
    run(copy, "-c", USE)


def test_the_command_line_has_it(copy: Path) -> None:
    """In the list of kinds, and with its flags."""
    assert "short_clip" in run(copy, "-m", "a2e_async", "kinds")
    assert "--seconds" in run(copy, "-m", "a2e_async", "start", "short_clip", "--help")


def test_type_checkers_and_the_reference_have_it(copy: Path) -> None:
    """What is generated names it: imports, namespaces, calls to check, its page."""
    for path in (
        "a2e_async/kinds/__init__.py",
        "a2e_async/kinds/_signatures.pyi",
        "a2e_async/_blocking/_signatures.pyi",
        "tests/typing/every_kind.py",
    ):
        assert "ShortClipRecord" in (copy / path).read_text(), path
    page = (copy / "docs" / "reference" / "short_clip.md").read_text()
    assert page.startswith("# short_clip\n\nCuts the best seconds out of a video.\n\n```python\n")
    assert page.endswith("```{kind} short_clip\n```\n")
