"""The check of a batch file before anything is spent: errors name the line."""

import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from a2e_async.cli import exit_codes
from a2e_async.cli.batch.csv_cells import value_of
from a2e_async.cli.batch.job_file import JobFile
from a2e_async.cli.batch.validation import check_all
from a2e_async.cli.input_flags import flags_of
from a2e_async.errors import InvalidInput
from a2e_async.kinds.registry import kind_named
from a2e_async.sandbox import Sandbox, media

from .conftest import Invoke, ended, environment, popen
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
        (dub(target_lang="French"), "target_lang: takes the code of a language, not its name"),
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


def test_a_file_of_another_encoding_is_one_error(a2e: Invoke, sandbox: Sandbox) -> None:
    """As older versions of Excel save it: each accent is a wrong byte."""
    rows = [f"text_to_image,un café n° {n}" for n in range(60)]
    text = "\n".join(["kind,prompt", *rows, "nothing,x"])
    Path("jobs.csv").write_bytes(text.encode("cp1252"))
    result = a2e("batch", "jobs.csv", *RUN)
    assert result.code == exit_codes.USAGE
    first, other, further, total = result.err.splitlines()
    assert first.startswith("jobs.csv:2: the line is not UTF-8 text, found the byte 0xE9 after ")
    assert "'text_to_image un caf'" in first
    assert "--encoding cp1252" in first
    assert other.startswith("jobs.csv:62: kind: There is no kind")
    assert further == "jobs.csv: 59 further lines are not UTF-8 text"
    assert total == "error: jobs.csv has 2 errors. Nothing was started."
    Path("jobs.csv").write_bytes("kind,prompt,größe\ntext_to_image,a,b".encode("cp1252"))
    assert "jobs.csv:1: the line is not UTF-8" in a2e("batch", "jobs.csv", *RUN).err
    assert sandbox.calls_total == 0


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("jobs.jsonl", ["--limit", "0"], "limit must be"),
        ("jobs.jsonl", ["--retry-failed", "-1"], "--retry-failed must be"),
        ("jobs.txt", ["--sep", "ab"], "--sep must be one character"),
        ("jobs.txt", ["--encoding", "hex"], "--encoding 'hex' is not an encoding of text"),
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
        found = await check_all(JobFile(path, path.name, path.parent), lambda _: None)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert (found.job_count, found.error_count) == (count, 0)
        return most

    await peak(200)  # loads what is loaded once
    assert await peak(6_000) - await peak(1_000) < 100_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\nc,d\n", ":1: the first line must name the columns: kind, key and inputs; found 'a'"),
        ("key;prompt\na;b\n", ":1: there is no column kind, which says what each row makes"),
        ("kind\0,prompt\n", ":1: the file is no text"),
        ("", ":1: the file has no jobs"),
        ("kind,prompt\n# none yet\n", ":1: the file has no jobs"),
        ("kind,colour\ndubbing,b\n", ":1: colour: is not an input of any kind"),
        ("kind,prompt,prompt\n", ":1: prompt: names two columns"),
        ("kind,prompt\ntext_to_image,b,c\n", ":2: the row has more cells than there are columns, "),
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


PLAIN = "kind,key,prompt,max_images\ntext_to_image,a,dog,\ntext_to_image,b,,1\n"
JSON = [picture("a"), {**picture("b"), "input": {"max_images": 1}}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("jobs.csv", PLAIN.encode(), []),
        ("jobs.csv", PLAIN.replace(",", ";").encode("utf-8-sig"), []),
        ("jobs.txt", PLAIN.replace(",", "\t").encode("utf-16"), []),
        ("jobs.tsv", PLAIN.replace(",", "\t").encode(), ["--sep", "tab"]),
        ("jobs.csv", PLAIN.replace(",", "!").encode(), ["--sep", "!"]),
        ("jobs.csv", b"sep=|\n" + PLAIN.replace(",", "|").encode(), []),
        ("jobs.csv", PLAIN.replace("kind,key", " Kind , KEY ").encode(), []),
        ("jobs.csv", PLAIN.replace("max_images", "Max Images").encode(), []),
        ("jobs.csv", b'# one\n#two, "three\n' + PLAIN.encode(), []),
        ("jobs.csv", PLAIN.replace("\ntext", "\n#text_to_image,c,dog,\ntext").encode(), []),
        ("jobs.json", json.dumps(JSON).encode(), []),
        ("jobs.jsonl", json.dumps(JSON, indent=2).encode("utf-16"), []),
        ("jobs", "\n".join(json.dumps(job, indent=1) for job in JSON).encode(), []),
        ("jobs.jsonl", "\n# c\n// d\n".join(map(json.dumps, JSON)).encode("utf-8-sig"), []),
    ],
)
def test_files_as_people_have_them(
    a2e: Invoke, sandbox: Sandbox, name: str, content: bytes, words: list[str]
) -> None:
    """Each holds one good job, and one that lacks its prompt: it is read to its end."""
    Path(name).write_bytes(content)
    result = a2e("batch", name, *RUN, *words, "--json")
    assert result.code == exit_codes.USAGE
    (error,) = result.document["error"]["errors"]
    assert (error["field"], error["message"]) == ("prompt", "must be given.")
    lines = content.decode("utf-16" if content[:1] in b"\xff\xfe" else "utf-8").split("\n")
    begun = [number for number, line in enumerate(lines, 1) if '"b"' in line or "age,b" in line]
    assert not begun or 0 <= begun[0] - error["line"] <= 5  # an object's line is its first
    assert sandbox.calls_total == 0


EUROPEAN = (
    "Kind;Key;Anchor ID;Anchor Type;Audio Src;Erode Factor\r\n"
    "avatar_video;Müller;68aadac3bd5e3afb95d58ea0;1;https://media.example/a.wav;{}\r\n;;;;;\r\n"
)


def test_a_file_as_excel_in_europe_saves_it(a2e: Invoke, sandbox: Sandbox) -> None:
    Path("jobs.csv").write_bytes(EUROPEAN.format("0,125").encode("cp1252"))
    result = a2e("batch", "jobs.csv", *RUN, "--encoding", "cp1252")
    assert result.code == exit_codes.OK, result.err
    (start,) = sandbox.ledger.starts()
    assert start.body["erode_factor"] == 0.125
    assert "Müller" in a2e("journal", "list", "jobs.db", "--all").out
    # 1,500 is one and a half there, and fifteen hundred elsewhere.
    Path("jobs.csv").write_bytes(EUROPEAN.format("1,500").encode("cp1252"))
    refused = a2e("batch", "jobs.csv", *RUN, "--encoding", "cp1252")
    assert "jobs.csv:2: erode_factor: must be a number, got '1,500'" in refused.err
    # 0x81 is no character of that encoding.
    Path("jobs.csv").write_bytes(EUROPEAN.encode("cp1252") + b"\x81")
    assert "not cp1252 text" in a2e("batch", "jobs.csv", *RUN, "--encoding", "cp1252").err


def test_a_quoted_number_sign_is_no_comment(a2e: Invoke) -> None:
    Path("jobs.csv").write_text('key,kind,prompt\n"#1",text_to_image,dog\n#2,text_to_image,dog\n')
    result = a2e("batch", "jobs.csv", "--dry-run")
    assert "jobs.csv: 1 job: 1 text_to_image · 1 comment" in result.err


def test_every_mistake_of_a_row(a2e: Invoke) -> None:
    Path("jobs.csv").write_text(
        "kind,key,source_url,target_lang,num_speakers,drop_background_audio,prompt\n"
        "dubbing,auto:1,gone.wav,,two,maybe,x\n"
    )
    Path("jobs.jsonl").write_text(
        json.dumps({"kind": "dubbing", "key": 5, "input": {"source_url": 5, "colour": 1}, "x": 1})
    )
    csv_file = a2e("batch", "jobs.csv", *RUN, "--json").document["error"]["errors"]
    assert {error["field"] for error in csv_file} == {
        *("key", "source_url", "target_lang", "num_speakers", "drop_background_audio", "prompt")
    }
    assert {error["line"] for error in csv_file} == {2}
    json_file = a2e("batch", "jobs.jsonl", *RUN, "--json").document["error"]["errors"]
    assert {error["field"] for error in json_file} == {
        *("key", "source_url", "target_lang", "colour", "x")
    }


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ('[{"kind": "text_to_image"', [(1, "in column 26, found the end")]),
        ("[" + json.dumps(picture("a")) + ",\n", [(2, "the list is not closed")]),
        (json.dumps(picture("a")) + "]", [(1, "the list is closed twice")]),
        (
            '[\n  {"kind": "text_to_image", "key" "a"},\n  {"kind": 5},\n  7\n]',
            [(2, "Expecting ':'"), (3, "kind: is required"), (4, "found a int")],
        ),
    ],
)
def test_json_that_is_wrong(a2e: Invoke, text: str, errors: list[tuple[int, str]]) -> None:
    Path("jobs.jsonl").write_text(text)
    found = a2e("batch", "jobs.jsonl", *RUN).err.splitlines()[:-1]
    assert len(found) == len(errors)
    for line, (number, said) in zip(found, errors, strict=True):
        assert line.startswith(f"jobs.jsonl:{number}: ")
        assert said in line


def test_a_workbook(a2e: Invoke, tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    workbook = openpyxl.Workbook()
    rows = [["# mine"], ["Kind", "Key", "Prompt", "Max Images"], ["text_to_image", 7, "dog", 2.0]]
    for row in [*rows, [], ["text_to_image", "b", "=A1", None], ["text_to_image", "c", "#REF!"]]:
        workbook.active.append(row)
    workbook.save(tmp_path / "jobs.xlsx")
    result = a2e("batch", "jobs.xlsx", *RUN)
    assert result.err.splitlines()[:-1] == [
        "jobs.xlsx:5: the cell in column C has a formula without a value, '=A1': open the "
        "workbook in Excel and save it.",
        "jobs.xlsx:6: the cell in column C has the error #REF!.",
    ]
    workbook.active.delete_rows(5, 2)
    workbook.save(tmp_path / "jobs.xlsx")
    assert "jobs.xlsx: 1 job: 1 text_to_image" in a2e("batch", "jobs.xlsx", "--dry-run").err


def test_a_workbook_without_openpyxl(a2e: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    Path("jobs.xlsx").write_bytes(b"PK\x03\x04")
    result = a2e("batch", "jobs.xlsx", *RUN)
    assert "pip install 'a2e-async[xlsx]', or save the sheet as CSV" in result.err


def test_jobs_from_a_pipe(sandbox: Sandbox, tmp_path: Path) -> None:
    """Their local paths are relative to the current directory."""
    (tmp_path / "talk.wav").write_bytes(Path(media.speech()).read_bytes())
    (tmp_path / "in").write_text(json.dumps(dub("a", source_url="talk.wav")))
    with (tmp_path / "in").open() as given:
        words = ("batch", "-", *RUN, "--limit", "3")
        result = ended(popen(*words, env=environment(sandbox), cwd=tmp_path, stdin=given))
    assert result.code == 0, result.err
    assert "stdin: 1 job: 1 dubbing" in result.err


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
