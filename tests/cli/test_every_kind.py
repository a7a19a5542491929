"""Every kind from the shell, against the sandbox."""

import json

import pytest

from a2e_async.cli import exit_codes
from a2e_async.cli.formatting import text_result_field
from a2e_async.cli.input_flags import flags_of
from a2e_async.kinds.registry import kind_named, kind_names
from a2e_async.sandbox import Sandbox, check_media
from tests.samples import FACE, LEAST, OTHER

from .conftest import Invoke

FILES = [k for k in kind_names() if kind_named(k).pollable and kind_named(k).outputs]


def words(kind: str) -> list[str]:
    """Return a kind and the flags of a start."""
    flags = {flag.name: flag.flag for flag in flags_of(kind_named(kind))}
    found = [kind]
    for name, value in LEAST[kind].items():
        for item in value if isinstance(value, list) else [value]:
            found += [flags[name], json.dumps(item) if isinstance(item, dict) else str(item)]
    return found


@pytest.mark.parametrize("kind", FILES)
def test_run_saves_what_the_kind_makes(a2e: Invoke, sandbox: Sandbox, kind: str) -> None:
    result = a2e("run", *words(kind), "--json")
    assert result.code == 0, result.err
    document = result.document
    assert document["status"] == "succeeded"
    assert document["ref"].startswith(f"{kind}:")
    makes = {made.media for made in kind_named(kind).outputs}
    assert document["files"]
    assert {entry["media"] for entry in document["files"]} <= makes
    assert all(check_media(entry["path"]).ok for entry in document["files"])
    assert len(sandbox.ledger.starts(kind)) == 1


def test_an_unlimited_count_shows_no_number(a2e: Invoke) -> None:
    text = " ".join(a2e("kinds", "voice_clone").out.split())
    assert "Recordings of the voice, at least one. Each a URL or a local path" in text


def test_an_input_of_each_sort_reaches_the_wire(a2e: Invoke, sandbox: Sandbox) -> None:
    assert a2e("start", *words("wan"), "--duration", "10").code == 0
    assert a2e("start", *words("virtual_try_on")).code == 0
    assert a2e("start", *words("product_avatar"), "--processing-limit", "60").code == 0
    wan, worn, product = sandbox.tasks
    assert wan.body["duration"] == "10"
    assert worn.body["image_urls"] == [FACE, OTHER]
    assert product.body["product_rect"]["width"] == 100
    assert product.body["timeout"] == 60


def test_too_few_files_are_refused_before_a_request(a2e: Invoke, sandbox: Sandbox) -> None:
    result = a2e("start", "virtual_try_on", "--image-urls", FACE)
    assert result.code == exit_codes.USAGE
    assert "--image-urls takes 2 to 4 items, got 1." in result.err
    assert not sandbox.ledger.charges


@pytest.mark.parametrize(
    ("kind", "name"), [("voice_clone", "voice_id"), ("video_twin", "anchor_id")]
)
def test_kinds_without_files_print_their_result(a2e: Invoke, kind: str, name: str) -> None:
    assert text_result_field(kind_named(kind).record) == name
    result = a2e("run", *words(kind))
    assert result.code == 0, result.err
    made = result.out.splitlines()[0]
    ref = a2e("list", kind, "--json").document["items"][0]["ref"]
    shown = a2e("task", "show", ref)
    assert name in shown.out
    assert made in shown.out
    assert f"{name} {made}" in a2e("task", "wait", ref).out
    document = a2e("task", "download", ref, "--json").document
    assert document[name] == made


def test_what_cannot_be_waited_for_is_not_run(a2e: Invoke, sandbox: Sandbox) -> None:
    result = a2e("run", *words("wan30"))
    assert result.code == exit_codes.USAGE
    assert "a2e start wan30" in result.err
    assert not result.out
    assert not sandbox.ledger.charges


def test_what_cannot_be_waited_for_says_so_each_time(a2e: Invoke, sandbox: Sandbox) -> None:
    started = a2e("start", *words("wan30"))
    assert started.code == 0, started.err
    assert "shown on the service's site" in started.err
    ref = started.out.strip()
    for command in ("show", "wait", "download"):
        result = a2e("task", command, ref)
        assert result.code == exit_codes.USAGE
        assert "The service has no status operation for wan30 tasks" in result.err
        assert "Wait for it with" not in result.err
    for refused in (["list", "wan30"], ["task", "delete", ref, "--yes"]):
        result = a2e(*refused)
        assert result.code == exit_codes.USAGE
        assert "wan30 has no" in result.err
    assert len(sandbox.ledger.starts("wan30")) == 1


LISTED = [k for k in kind_names() if kind_named(k).list is not None]


@pytest.mark.parametrize("kind", LISTED)
def test_list_shows_what_was_started(a2e: Invoke, kind: str) -> None:
    ref = a2e("start", *words(kind), "--json").document["ref"]
    assert a2e("task", "wait", ref).code == 0
    document = a2e("list", kind, "--json").document
    assert [item["ref"] for item in document["items"]] == ref.replace("+", f"+{kind}:").split("+")
    shown = a2e("task", "show", ref)
    assert shown.code == 0, shown.err
    assert ref in shown.out


def test_a_kind_without_a_list_says_so(a2e: Invoke) -> None:
    result = a2e("list", "face_swap_preview")
    assert result.code == exit_codes.USAGE
    assert "face_swap_preview has no list operation" in result.err


def test_list_by_status(a2e: Invoke) -> None:
    refused = a2e("list", "dubbing", "--status", "completed")
    assert refused.code == exit_codes.USAGE
    assert "The list of dubbing cannot be filtered by status." in refused.err
    kind = next(k for k in LISTED if (p := kind_named(k).paging) and p.status_filters)
    assert a2e("list", kind, "--status", "nonsense").code == exit_codes.USAGE


@pytest.mark.parametrize("kind", [k for k in kind_names() if kind_named(k).rename])
def test_rename(a2e: Invoke, kind: str) -> None:
    ref = a2e("start", *words(kind)).out.strip()
    renamed = a2e("task", "rename", ref, "New name", "--json")
    assert renamed.code == 0, renamed.err
    assert renamed.document == {"ref": ref, "name": "New name"}
    assert "New name" in a2e("task", "show", ref).out


def test_what_cannot_be_renamed_or_deleted_says_so(a2e: Invoke) -> None:
    ref = "dubbing:66ea4dd87db10c73fa29b570"
    result = a2e("task", "rename", ref, "x")
    assert result.code == exit_codes.USAGE
    assert "The service cannot rename dubbing tasks" in result.err
    result = a2e("task", "delete", "seedance:66ea4dd87db10c73fa29b570", "--yes")
    assert result.code == exit_codes.USAGE
    assert "seedance has no delete operation" in result.err


@pytest.mark.parametrize("kind", [k for k in kind_names() if kind_named(k).delete])
def test_delete(a2e: Invoke, kind: str, sandbox: Sandbox) -> None:
    ref = a2e("run", *words(kind), "--json").document["ref"]
    assert a2e("task", "delete", ref, "--yes").code == 0
    assert a2e("list", kind, "--json").document["items"] == []


@pytest.mark.parametrize("kind", kind_names())
def test_no_two_flags_of_a_kind_are_one(kind: str) -> None:
    flags = flags_of(kind_named(kind))
    named = [f.flag for f in flags] + [f"--no-{f.flag[2:]}" for f in flags if f.type is bool]
    assert len(set(named)) == len(named)
