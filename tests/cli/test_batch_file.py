"""The check of a batch file before anything is spent: errors name the line."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from a2e_async.cli import exit_codes
from a2e_async.cli.batch.csv_cells import value_of
from a2e_async.cli.batch.validation import check_all
from a2e_async.cli.input_flags import flags_of
from a2e_async.errors import InvalidInput
from a2e_async.kinds.registry import kind_named
from a2e_async.sandbox import Sandbox

from .conftest import Invoke
from .test_batch import RUN, SOUND, dub, picture, write


def test_without_a_journal_it_refuses_and_says_why(a2e: Invoke, sandbox: Sandbox) -> None:
    write(Path("jobs.jsonl"), dub())
    result = a2e("batch", "jobs.jsonl", "--out", "out")
    assert result.code == exit_codes.USAGE
    assert "needs --journal" in result.err
    assert "pay for it again" in result.err
    assert sandbox.calls_total == 0


def test_every_error_of_a_file_is_reported_before_anything_is_spent(
    a2e: Invoke, sandbox: Sandbox, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no media")
    lines = [
        (dub("a"), None),
        ("{", "the line is not JSON"),
        ("[1]", "the line must be a JSON object"),
        ({"kind": "dubing", "input": {}}, "kind: there is no kind"),
        ({"input": {}}, "kind: is required"),
        ({"kind": "wan30", "input": {}}, "kind: the service has no status operation"),
        (dub(target_lang=5), "target_lang: must be 'en'"),
        (dub(colour="red"), "colour: there is no input 'colour'"),
        ({"kind": "dubbing", "input": {"source_url": SOUND}}, "target_lang: must be given"),
        (dub(source_url="gone.wav"), f"source_url: {tmp_path}/gone.wav cannot be read"),
        (dub(source_url="notes.txt"), "audio or video is required here"),
        (dub("a"), "key: 'a' is already the key of line 1"),
        (dub("auto:1"), "key: must not begin with auto: or batch:"),
        (dub(7), "key: must be text"),
        ({**dub(), "inputs": {}}, "inputs: is not one of kind, key, input, meta"),
        ({"kind": "dubbing", "input": {**dub()["input"], "key": "x"}}, "key: belongs beside input"),
        ({**dub(), "meta": 5}, "meta: must be"),
        ('{"kind": "text_to_image", "input": {"prompt": "\\ud800"}}', "the line is not UTF-8"),
        ("", None),
        (picture(max_images=None), None),
    ]
    write(tmp_path / "jobs.jsonl", *(line for line, _ in lines))
    result = a2e("batch", "jobs.jsonl", *RUN)
    assert result.code == exit_codes.USAGE
    wrong = [(number, said) for number, (_, said) in enumerate(lines, 1) if said]
    shown = result.err.splitlines()
    assert len(shown) == len(wrong) + 1
    for line, (number, said) in zip(shown, wrong, strict=False):
        assert line.startswith(f"jobs.jsonl:{number}: ")
        assert said.lower() in line.lower()
    assert f"{len(wrong)} errors. Nothing was started." in shown[-1]
    assert sandbox.calls_total == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.jsonl", "notes.txt"]
    document = a2e("batch", "jobs.jsonl", *RUN, "--json").document["error"]
    assert document["exit_code"] == exit_codes.USAGE
    assert [error["line"] for error in document["errors"]] == [number for number, _ in wrong]


def test_of_many_errors_the_first_are_shown_and_all_are_counted(a2e: Invoke) -> None:
    write(Path("jobs.jsonl"), *["{"] * 70)
    result = a2e("batch", "jobs.jsonl", *RUN)
    assert result.err.count("jobs.jsonl:") == 50
    assert "... and 20 more" in result.err
    assert "70 errors" in result.err


def test_what_is_no_text_is_reported_with_its_line(a2e: Invoke) -> None:
    Path("jobs.jsonl").write_bytes(json.dumps(dub()).encode() + b"\n\xff\xfe\n")
    assert "jobs.jsonl:2: the line is not UTF-8 text" in a2e("batch", "jobs.jsonl", *RUN).err
    Path("jobs.csv").write_bytes(b"kind,prompt\ntext_to_image,\xff\n")
    assert "jobs.csv:2: the line is not UTF-8" in a2e("batch", "jobs.csv", *RUN).err


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("jobs.jsonl", ["--limit", "0"], "limit must be"),
        ("jobs.jsonl", ["--retry-failed", "-1"], "--retry-failed must be"),
        ("jobs.txt", [], "must end with .jsonl or .csv"),
        ("gone.jsonl", [], "does not exist"),
        ("jobs.jsonl", ["--report", "jobs.jsonl"], "--report would overwrite 'jobs.jsonl'"),
        ("jobs.jsonl", ["--report", "jobs.db"], "--report would overwrite 'jobs.db'"),
        ("jobs.jsonl", ["--report", "no/such/report"], "cannot be written"),
        ("jobs.jsonl", ["--out", "jobs.txt"], "it is a file, not a directory"),
    ],
)
def test_wrong_usage_spends_nothing(
    a2e: Invoke, sandbox: Sandbox, name: str, words: list[str], said: str
) -> None:
    write(Path("jobs.txt"), dub())
    write(Path("jobs.jsonl"), dub())
    out = [] if "--out" in words else ["--out", "out"]
    result = a2e("batch", name, *out, "--journal", "jobs.db", *words)
    assert result.code == exit_codes.USAGE
    assert said in result.err
    assert sandbox.calls_total == 0
    assert json.loads(Path("jobs.jsonl").read_text()) == dub()


def test_a_journal_that_is_none(a2e: Invoke, sandbox: Sandbox) -> None:
    write(Path("jobs.jsonl"), dub())
    Path("jobs.db").write_bytes(b"this is no database" * 100)
    result = a2e("batch", "jobs.jsonl", *RUN)
    assert result.code == exit_codes.SERVICE
    assert "it is not a journal" in result.err
    assert sandbox.calls_total == 0


async def test_a_long_file_is_checked_in_flat_memory(tmp_path: Path) -> None:
    """What 6,000 lines take is what 1,000 take, to a few kB a hundred: nothing is kept of them."""

    async def peak(count: int) -> int:
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as file:
            for n in range(count):
                file.write(json.dumps(picture(f"some-rather-long-key-of-a-job-{n:012}")) + "\n")
        tracemalloc.start()
        found = await check_all(path, lambda _: None)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (found.job_count, found.error_count) == (count, 0)
        return most

    await peak(200)  # loads what is loaded once
    assert await peak(6_000) - await peak(1_000) < 100_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("key,prompt\na,b\n", ":1: the first line must name the columns"),
        ("kind;prompt\ntext_to_image;b\n", ":1: the first line must name the columns"),
        ("kind,colour\ndubbing,b\n", ":1: colour: is not an input of any kind"),
        ("kind,prompt,prompt\n", ":1: prompt: names two columns"),
        ("kind,prompt\ntext_to_image,b,c\n", ":2: the row has more cells"),
        ("kind,num_speakers\ndubbing,two\n", ":2: num_speakers: must be a whole number"),
        ("kind,drop_background_audio\ndubbing,maybe\n", ":2: drop_background_audio: must be true"),
        ("kind,voice_urls\nvoice_clone,a.wav\n", ":2: voice_urls: must be a JSON list"),
        ("kind,meta\nvoice_clone,[1]\n", ":2: meta: must be a JSON object"),
        ("kind,target_lang\ntext_to_image,es\n", ":2: target_lang: There is no input"),
        ('kind,prompt\ntext_to_image,"a\n', ":2: not valid CSV"),
    ],
)
def test_a_csv_file_that_is_wrong(a2e: Invoke, sandbox: Sandbox, text: str, said: str) -> None:
    Path("jobs.csv").write_text(text)
    result = a2e("batch", "jobs.csv", *RUN)
    assert result.code == exit_codes.USAGE
    assert f"jobs.csv{said}" in result.err
    assert sandbox.calls_total == 0


@pytest.mark.parametrize(
    ("kind", "name", "cell", "value"),
    [
        ("image_to_video", "video_time", " 10 ", 10),
        ("dubbing", "num_speakers", "2", 2),
        ("dubbing", "target_lang", "tlh", "tlh"),
        ("dubbing", "drop_background_audio", "No", False),
        ("dubbing", "drop_background_audio", "1", True),
        ("text_to_image", "prompt", " a dog ", " a dog "),
        ("text_to_image", "prompt", "10", "10"),
        ("text_to_image", "meta", '{"a": [1]}', {"a": [1]}),
        ("virtual_try_on", "image_urls", '["a.png", "b.png"]', ["a.png", "b.png"]),
    ],
)
def test_cells_become_what_the_input_takes(kind: str, name: str, cell: str, value: Any) -> None:
    flags = {flag.name: flag for flag in flags_of(kind_named(kind))}
    found = value_of(flags[name], cell)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("cell", ["ten", "1e3", "0x10", "nan", "1_0.5"])
def test_a_cell_that_is_no_whole_number(cell: str) -> None:
    flags = {flag.name: flag for flag in flags_of(kind_named("dubbing"))}
    with pytest.raises(InvalidInput, match="must be a whole number"):
        value_of(flags["num_speakers"], cell)
