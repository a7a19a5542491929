"""What a batch leaves in its directory: names, the manifest, and what a second run repairs."""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from a2e_async import A2E
from a2e_async.errors import InvalidInput
from a2e_async.sandbox import Sandbox, check_media

from .conftest import DUB, MakeClient

pytestmark = pytest.mark.anyio

KEYS = ("talk-17", "a/b: c", "a-b- c")


async def run(a2e: A2E, keys: tuple[str, ...] = KEYS, **options: Any) -> list[Any]:
    jobs = [a2e.dubbing.job(**DUB, key=key) for key in keys]
    outcomes = [outcome async for outcome in a2e.batch(jobs, limit=1, **options)]
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return outcomes


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (directory / "results.jsonl").read_text().splitlines()]


async def test_names_from_the_key(make_client: MakeClient, tmp_path: Path) -> None:
    """Two keys that differ only in what file names cannot have get two names."""
    out = tmp_path / "out"
    outcomes = await run(make_client(), download_to=out, name="{key}-{index:02}{ext}")
    names = [path.name for outcome in outcomes for path in outcome.paths]
    assert names[0] == "talk-17-00.wav"
    assert len({*names}) == len(KEYS)
    assert {path.name for path in out.iterdir()} == {*names}
    assert all(check_media(path).ok for path in out.iterdir())


async def test_another_file_of_that_name_is_kept(make_client: MakeClient, tmp_path: Path) -> None:
    """Unless it is an earlier version of the same result."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "talk-17.wav").write_text("mine")
    options = {"download_to": out, "name": "{key}{ext}"}
    ((path,),) = [o.paths for o in await run(make_client(), KEYS[:1], **options)]
    assert (out / "talk-17.wav").read_text() == "mine"
    assert path.name.startswith("talk-17-")
    path.write_bytes(b"")
    ((again,),) = [o.paths for o in await run(make_client(), KEYS[:1], **options)]
    assert check_media(again).ok
    assert (out / "talk-17.wav").read_text() == "mine"


WRONG_TEMPLATES = """
{key} {ext} {index}{ext} {key}{ext}x {ky}{ext} {key{ext} {key!r}{ext} a/{key}{ext}
{key:>9}{ext} {key.__class__}{ext} {}{ext} .{key}{ext}
"""


@pytest.mark.parametrize("name", WRONG_TEMPLATES.split())
async def test_a_wrong_template_costs_nothing(
    a2e: A2E, sandbox: Sandbox, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InvalidInput, match=r"^name "):
        await run(a2e, download_to=tmp_path, name=name)
    assert sandbox.ledger.charges == ()


async def test_options_without_a_directory(a2e: A2E, tmp_path: Path) -> None:
    for options in ({"name": "{key}{ext}"}, {"manifest": True}):
        with pytest.raises(InvalidInput, match="needs download_to"):
            await run(a2e, **options)


async def test_a_key_is_needed_before_the_start(sandbox: Sandbox, tmp_path: Path) -> None:
    async with A2E("Qz7-topsecret-0123456789", base_url=sandbox.base_url) as a2e:
        batch = a2e.batch([a2e.dubbing.job(**DUB)], download_to=tmp_path, name="{key}{ext}")
        (outcome,) = [outcome async for outcome in batch]
        assert isinstance(outcome.error, InvalidInput)
        assert sandbox.ledger.charges == ()
        task = await a2e.dubbing.start(**DUB)
        with pytest.raises(InvalidInput, match="key"):
            await task.download(tmp_path, name="{key}{ext}")
        (path,) = await task.download(tmp_path, name="{kind}_{id}{ext}")
        assert path.name == f"dubbing_{task.ids[0]}.wav"


async def test_several_outputs_without_an_index(a2e: A2E, tmp_path: Path) -> None:
    """All but the first are numbered."""
    task = await a2e.text_to_image.start(prompt="a fox", max_images=2, key="fox")
    paths = await task.download(tmp_path, name="{key}{ext}")
    assert [path.stem for path in paths] == ["fox", "fox-1"]


async def test_outputs_are_in_order_whichever_was_saved_first(
    make_client: MakeClient, tmp_path: Path
) -> None:
    """So that a second run finds the line of the first, and adds none."""
    inputs = {"prompt": "a fox", "max_images": 2}
    async with make_client() as a2e:
        task = await a2e.text_to_image.start(**inputs, key="fox")
        second, first = reversed((await task).outputs)
        saved = [await output.save(tmp_path / "out" / "") for output in (second, first)]
        job = a2e.text_to_image.job(**inputs, key="fox")
        batch = a2e.batch([job], download_to=tmp_path / "out", manifest=True)
        (outcome,) = [outcome async for outcome in batch]
    assert outcome.earlier
    assert outcome.paths == (*reversed(saved),)
    (line,) = lines(tmp_path / "out")
    assert [file["path"] for file in line["files"]] == [path.name for path in outcome.paths]


async def test_the_manifest(make_client: MakeClient, sandbox: Sandbox, tmp_path: Path) -> None:
    """One line for each task, with checksums, and nothing that must stay secret."""
    out = tmp_path / "out"
    options = {"download_to": out, "name": "{key}{ext}", "manifest": True}
    outcomes = await run(make_client(), **options)
    found = lines(out)
    assert [line["key"] for line in found] == [*KEYS]
    for line, outcome in zip(found, outcomes, strict=True):
        assert {*line} == {"key", "kind", "ref", "files", "coins", "seconds"}
        assert (line["kind"], line["ref"]) == ("dubbing", outcome.task.ref)
        (file,) = line["files"]
        content = outcome.paths[0].read_bytes()
        assert outcome.paths[0] == out / file["path"]
        assert (file["bytes"], file["sha256"]) == (
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
        assert line["seconds"] >= 0
    text = (out / "results.jsonl").read_text()
    assert "http" not in text
    assert "topsecret" not in text
    before = text
    again = await run(make_client(), **options)
    assert all(outcome.earlier for outcome in again)
    assert (out / "results.jsonl").read_text() == before
    assert len(sandbox.ledger.starts("dubbing")) == len(KEYS)


async def test_a_file_system_without_locks(
    make_client: MakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    outcomes = await run(make_client(), download_to=tmp_path / "out", manifest=True)
    assert all(outcome.ok for outcome in outcomes)
    assert len(lines(tmp_path / "out")) == len(KEYS)


async def test_a_crash_before_or_in_a_line(make_client: MakeClient, tmp_path: Path) -> None:
    """The next run writes what is missing; a partial line is left alone."""
    out = tmp_path / "out"
    options = {"download_to": out, "manifest": True}
    await run(make_client(), **options)
    manifest = out / "results.jsonl"
    whole = manifest.read_bytes()
    first, second, _ = whole.splitlines(keepends=True)
    for rest in (b"", first, first + second[:30]):
        manifest.write_bytes(rest)
        assert all(outcome.earlier for outcome in await run(make_client(), **options))
        written = manifest.read_bytes()
        assert written.startswith(rest)
        refs = [json.loads(text)["ref"] for text in written.splitlines() if text.endswith(b"}")]
        assert len(refs) == len({*refs}) == len(KEYS)


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "longer"])
async def test_a_damaged_file_is_fetched_again(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path, damage: str
) -> None:
    options = {"download_to": tmp_path / "out", "manifest": True}
    paths = [outcome.paths[0] for outcome in await run(make_client(), **options)]
    whole = paths[1].read_bytes()
    if damage == "gone":
        paths[1].unlink()
    elif damage == "longer":
        paths[1].write_bytes(whole + b"x")
    else:
        os.truncate(paths[1], 0 if damage == "empty" else len(whole) - 1)
    again = await run(make_client(), **options)
    assert paths[1].read_bytes() == whole
    assert [outcome.earlier for outcome in again] == [True, False, True]
    assert len(lines(tmp_path / "out")) == len(KEYS)
    assert len(sandbox.ledger.starts("dubbing")) == len(KEYS)


async def test_another_directory_gets_the_files(
    make_client: MakeClient, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are fetched again; from a service that no longer has them, those of the first count."""
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    saved = [o.paths[0] for o in await run(make_client(), download_to=first, manifest=True)]
    moved = [o.paths[0] for o in await run(make_client(), download_to=second, manifest=True)]
    assert {path.parent for path in moved} == {second}
    assert [path.read_bytes() for path in moved] == [path.read_bytes() for path in saved]
    assert len(lines(second)) == len(KEYS)
    monkeypatch.setattr("a2e_async._core.polling.schedule.NOT_FOUND_SECONDS", 0.2)
    a2e = make_client()
    for line in lines(second):
        await a2e.attach(line["ref"]).delete()
    kept = await run(a2e, download_to=third)
    assert [outcome.paths[0] for outcome in kept] == moved
    assert all(outcome.earlier for outcome in kept)
    assert len(sandbox.ledger.starts("dubbing")) == len(KEYS)
