"""``kinds``; a command loads only the kind that it uses."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from a2e_async.cli import exit_codes
from a2e_async.cli.formatting import format_typical_duration
from a2e_async.cli.input_flags import flags_of
from a2e_async.cli.kinds import COLUMNS, TESTED_LIVE_NOTE
from a2e_async.kinds.registry import kind_named, kind_names

from .conftest import Invoke, environment

LOADED = """
import contextlib, io, json, sys
from a2e_async.cli import main
from a2e_async.kinds.registry import kind_names

loaded = []
for line in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(line.split())
    loaded.append([n for n in kind_names() if f"a2e_async.kinds.{n}" in sys.modules])
print(json.dumps(loaded))
"""


def loaded_by(*lines: str) -> list[list[str]]:
    """Return the kinds that are loaded after each of these command lines, in one process."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, json.dumps(lines)],
        env=environment(),
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    found: list[list[str]] = json.loads(done.stdout)
    return found


def test_a_command_loads_its_own_kind_alone() -> None:
    lines = {
        "--help": [],
        "strt dubbing": [],
        "list --help": [],
        "task show dubbing": [],
        "start dubbing --help": ["dubbing"],
        "--json run wan --prompt x --bad": ["wan"],
        "kinds upscale": ["upscale"],
        "start --help": kind_names(),
    }
    seen = {name: place for place, name in enumerate(kind_names())}
    loaded: set[str] = set()
    expected: list[list[str]] = []
    for kinds in lines.values():
        loaded.update(kinds)
        expected.append(sorted(loaded, key=seen.__getitem__))
    assert loaded_by(*lines) == expected


def test_the_table_has_a_line_for_every_kind(invoke: Invoke) -> None:
    result = invoke("kinds")
    assert result.code == 0
    head, *rows = result.out.splitlines()
    assert head.split("  ")[0].strip() == COLUMNS[0]
    for name, row in zip(kind_names(), rows, strict=False):
        kind = kind_named(name)
        assert row.startswith(f"{name} ")
        assert kind.summary
        assert kind.summary in row
        assert row.endswith("  yes" if kind.tested_live else "  no")
        assert f"  {format_typical_duration(kind.typical_duration)}  " in row
    assert f"\n{TESTED_LIVE_NOTE}\n" in result.out
    assert max(map(len, rows)) <= 120


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("dubbing", "audio"),
        ("text_to_image", "image"),
        ("veo", "video"),
        ("voice_clone", "voice_id"),
        ("video_twin", "anchor_id"),
        ("wan30", "on the site"),
    ],
)
def test_the_table_says_what_comes_out(invoke: Invoke, name: str, outputs: str) -> None:
    (row,) = [r for r in invoke("kinds").out.splitlines() if r.startswith(f"{name} ")]
    assert f"  {outputs}  " in row


@pytest.mark.parametrize("name", kind_names())
def test_a_kind_shows_its_inputs(invoke: Invoke, name: str) -> None:
    result = invoke("kinds", name)
    assert result.code == 0
    lines = result.out.splitlines()
    for flag in flags_of(kind_named(name)):
        needed = "required" if flag.required else "optional"
        at = lines.index(f"{flag.flag}  {needed}, {flag.value}")
        doc = " ".join(itertools.takewhile(lambda line: line[:4] == "    ", lines[at + 1 :]))
        assert flag.help
        assert " ".join(doc.split()).startswith(flag.help)
        for choice in flag.choices:
            assert str(choice) in doc
    assert max(map(len, lines)) <= 120


def test_all_kinds_as_json(invoke: Invoke) -> None:
    document = invoke("kinds", "--json").document
    assert [kind["kind"] for kind in document] == list(kind_names())
    for shown in document:
        kind = kind_named(shown["kind"])
        assert shown["help"] == kind.summary
        assert shown["live"] is kind.tested_live
        assert shown["inputs"] == [flag.to_json() for flag in flags_of(kind)]
        assert ("wait" in shown["can"]) == kind.pollable
        assert ("delete" in shown["can"]) == (kind.delete is not None)
        assert shown["operation"].startswith("POST /api/v1/")


def test_one_kind_as_json(invoke: Invoke) -> None:
    every = {kind["kind"]: kind for kind in invoke("kinds", "--json").document}
    assert invoke("kinds", "kling_video", "--json").document == every["kling_video"]
    assert "rename" in every["kling_video"]["can"]
    assert every["wan30"]["can"] == ["start"]
    assert every["voice_clone"]["result"] == "voice_id"
    assert every["text_to_image"]["usual_seconds"] == [0, 60]


def test_a_kind_that_there_is_not(invoke: Invoke) -> None:
    result = invoke("kinds", "dubing")
    assert result.code == exit_codes.USAGE
    assert "Did you mean dubbing?" in result.err
    assert not result.out
    result = invoke("kinds", "dubing", "--json")
    assert result.document["error"]["exit_code"] == exit_codes.USAGE


@pytest.mark.parametrize(
    ("usual", "said"),
    [
        (None, "unknown"),
        ((0, 60), "up to 60 s"),
        ((40, 90), "40-90 s"),
        ((60, 600), "1-10 min"),
        ((600, 7200), "10-120 min"),
        ((3600, 18000), "1-5 h"),
        ((0, 900), "up to 15 min"),
    ],
)
def test_usual_times_are_said_as_people_do(usual: tuple[float, float] | None, said: str) -> None:
    assert format_typical_duration(usual) == said


def test_help_of_a_verb_says_what_each_kind_does(invoke: Invoke, tmp_path: Path) -> None:
    said = " ".join(invoke("start", "--help").out.replace("│", " ").split())
    for name in kind_names():
        assert f"{name} {kind_named(name).summary}" in said
