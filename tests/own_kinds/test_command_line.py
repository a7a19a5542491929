"""The commands know the kinds of the file in A2E_KINDS."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from a2e_async import A2E
from a2e_async.cli import exit_codes, main
from a2e_async.sandbox import Sandbox, media
from tests.cli.conftest import Invoke, Result, ended, environment, popen

FILM = """
[short_film]
summary = "A short film"
start = "POST /api/v1/shortFilm/start"
detail = "GET /api/v1/shortFilm/{id}"
list = "GET /api/v1/shortFilm/allRecords"
delete = "DELETE /api/v1/shortFilm/{id}"
rename = "PUT /api/v1/shortFilm/{id}"
outputs = { result_url = "video" }
media = { image_urls = "image" }
"""


@pytest.fixture
def kind_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a kind, in A2E_KINDS, and an empty directory."""
    for name in [name for name in os.environ if name.startswith("A2E_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "kinds.toml"
    path.write_text(FILM, encoding="utf-8")
    monkeypatch.setenv("A2E_KINDS", str(path))
    return path


@pytest.fixture
def sandbox(kind_file: Path) -> Iterator[Sandbox]:
    """A sandbox that simulates the kinds of the file."""
    with Sandbox(speed=2000, seed=7, make_results="stdlib", kinds=kind_file) as running:
        yield running


@pytest.fixture
def invoke(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Invoke:
    """Run a command in this process against the sandbox."""
    monkeypatch.setitem(A2E.__init__.__kwdefaults__, "poll_interval", 0.05)
    monkeypatch.setenv("A2E_API_KEY", sandbox.api_key)
    monkeypatch.setenv("A2E_BASE_URL", sandbox.base_url)

    def call(*words: str) -> Result:
        capfd.readouterr()
        code = main(words)
        return Result(code, *capfd.readouterr())

    return call


def test_run_start_and_the_task_commands(invoke: Invoke, sandbox: Sandbox, tmp_path: Path) -> None:
    """Every command takes the kind; inputs are --input NAME=VALUE, media paths are uploaded."""
    (tmp_path / "a b.png").write_bytes(media.portrait().read_bytes())
    ran = invoke(
        *("run", "short_film", "--input", "prompt=a = b", "--input", 'image_urls=["a b.png"]'),
        *("--input", "level=2", "--input", 'seed="7"', "--name", "first", "-o", "out"),
    )
    assert ran.code == exit_codes.OK, ran.err
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".mp4"]
    (charge,) = sandbox.ledger.starts("short_film")
    sent = {name: charge.body[name] for name in ("prompt", "level", "seed", "name")}
    assert sent == {"prompt": "a = b", "level": 2, "seed": "7", "name": "first"}
    assert charge.body["image_urls"][0].startswith(sandbox.storage_url)

    started = invoke("start", "short_film", "--input", "prompt=x", "--json").document
    ref = started["ref"]
    assert invoke("task", "wait", ref).code == exit_codes.OK
    assert invoke("task", "rename", ref, "second").code == exit_codes.OK
    assert "second" in invoke("list", "short_film").out
    assert invoke("task", "show", ref, "--json").document["status"] == "succeeded"
    assert invoke("quote", "short_film", "--input", "prompt=x").out.startswith("10 ")
    assert invoke("task", "delete", ref, "--yes").code == exit_codes.OK


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--input", "prompt"), "takes NAME=VALUE"),
        (("--input", "=x"), "takes NAME=VALUE"),
        (("--input", "a=1", "--input", "a=2"), "--input a is given twice"),
        (("--input", "key=k"), "this is --key"),
        (("--input", "force_generate=true"), "safety check"),
        (("--input", "image_urls=missing.png"), "missing.png"),
        (("--input", "image_urls=[portrait.png]"), "--input image_urls: it begins as JSON, and is"),
        (("--input", 'a={"b": 1, "b": 2}'), "an object has 'b' twice"),
        (("--input", "a=@missing.json"), "--input a: 'missing.json' cannot be read: No such file"),
        (("--input", f"a={'[' * 300}{']' * 300}"), "a is nested too deeply: at most 32"),
        (
            ("--prompt", "x"),
            "option: --prompt. Inputs of this kind are --input NAME=VALUE.",
        ),
        (("--kay", "x"), "Unknown option: --kay. Did you mean --key? Inputs of this kind are"),
    ],
)
def test_inputs_that_are_refused(
    invoke: Invoke, sandbox: Sandbox, words: tuple[str, ...], text: str
) -> None:
    """Nothing is sent for inputs that cannot be right."""
    result = invoke("start", "short_film", *words)
    assert result.code == exit_codes.USAGE
    assert text in result.err
    assert sandbox.ledger.charges == ()


def test_the_example_of_the_help_gives_an_input(invoke: Invoke) -> None:
    """A start of such a kind costs coins without inputs, too: the help must not suggest it."""
    assert (
        "Example: a2e run short_film --input prompt=dawn" in invoke("run", "short_film", "-h").out
    )


def test_kinds_lists_and_describes_it(invoke: Invoke) -> None:
    """The list has it, and its description names its media and how to give inputs."""
    assert "short_film  " in invoke("kinds").out
    sheet = invoke("kinds", "short_film")
    assert "--input  optional, NAME=VALUE, repeated" in sheet.out
    assert "image_urls (image)" in sheet.out
    document = invoke("kinds", "short_film", "--json").document
    assert document["can"] == ["start", "run", "show", "wait", "list", "rename", "delete"]
    assert "short_film" in invoke("start", "--help").out
    assert "--input" in invoke("run", "short_film", "--help").out
    assert "Did you mean short_film?" in invoke("kinds", "short_filn").err
    assert invoke("_complete", "start", "short_f").out == "short_film\n"


def test_batch_files(invoke: Invoke, sandbox: Sandbox, tmp_path: Path) -> None:
    """JSONL and CSV lines take the kind; paths are relative to the file."""
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "a.png").write_bytes(media.portrait().read_bytes())
    lines = [
        {"kind": "short_film", "key": "a", "input": {"prompt": "x", "image_urls": ["a.png"]}},
        {"kind": "text_to_image", "key": "b", "input": {"prompt": "dog"}},
    ]
    jsonl = folder / "jobs.jsonl"
    jsonl.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    table = folder / "jobs.csv"
    table.write_text("kind,key,prompt,level,image_urls\nshort_film,c,7,2,a.png\n")
    for file in (jsonl, table):
        words = ("batch", str(file), "-o", "out", "--journal", "jobs.db", "--budget", "200")
        assert invoke(*words).code == exit_codes.OK
    first, second = sandbox.ledger.starts("short_film")
    assert first.body["image_urls"][0] == second.body["image_urls"]
    assert (second.body["prompt"], second.body["level"]) == (7, 2)
    lines[0]["input"]["nude_safe_mode"] = True  # type: ignore[index]  # a mapping
    jsonl.write_text(json.dumps(lines[0]))
    refused = invoke("batch", str(jsonl), "-o", "out", "--journal", "jobs.db")
    assert refused.code == exit_codes.USAGE
    assert "safety check" in refused.err


def test_the_journal_without_the_file(
    invoke: Invoke, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """resume says what it cannot continue, keeps it, and is not complete."""
    start = ("start", "short_film", "--input", "prompt=x", "--journal", "jobs.db", "--key", "k")
    assert invoke(*start).code == exit_codes.OK
    path = os.environ["A2E_KINDS"]
    monkeypatch.delenv("A2E_KINDS")
    resumed = invoke("journal", "resume", "jobs.db", "-o", "out")
    assert resumed.code == exit_codes.PARTIAL
    assert "k: this command does not know the kind short_film" in resumed.err
    assert "short_film" in invoke("journal", "list", "jobs.db").out
    monkeypatch.setenv("A2E_KINDS", path)
    assert invoke("journal", "resume", "jobs.db", "-o", "out").code == exit_codes.OK
    assert len(sandbox.ledger.starts()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[short_film]\nstart = 'POST /a'\nlists = 'GET /b'", "short_film.lists"),
        ("[short_film", "not TOML"),
        (None, "cannot be read"),
    ],
)
@pytest.mark.parametrize("words", [("kinds",), ("run", "dubbing"), ("list", "dubbing")])
def test_a_file_that_cannot_be_used(
    kind_file: Path,
    capfd: pytest.CaptureFixture[str],
    text: str | None,
    message: str,
    words: tuple[str, ...],
) -> None:
    """One line with the file and the key, and the exit code of a usage error."""
    if text is None:
        kind_file.unlink()
    else:
        kind_file.write_text(text)
    code = main(words)
    err = capfd.readouterr().err
    assert code == exit_codes.USAGE
    assert message in err
    assert "kinds.toml" in err
    assert "Traceback" not in err


def test_values_from_a_file_and_in_quotes(invoke: Invoke, sandbox: Sandbox, tmp_path: Path) -> None:
    """@file.json is read as JSON; a text that begins as a list is given in JSON quotes."""
    (tmp_path / "shots.json").write_text('[{"angle": 1}]', encoding="utf-8-sig")
    words = ("--input", "shots=@shots.json", "--input", 'prompt="[intro] dawn"')
    started = invoke("start", "short_film", *words, "--input", "mention=@image1 waves")
    assert started.code == exit_codes.OK, started.err
    (charge,) = sandbox.ledger.starts("short_film")
    assert charge.body["shots"] == [{"angle": 1}]
    assert charge.body["prompt"] == "[intro] dawn"
    assert charge.body["mention"] == "@image1 waves"
    (tmp_path / "shots.json").write_text("[1")
    failed = invoke("start", "short_film", "--input", "shots=@shots.json")
    assert failed.code == exit_codes.USAGE
    assert "--input shots (in shots.json)" in failed.err


def test_inputs_with_the_names_of_parameters(
    invoke: Invoke, sandbox: Sandbox, tmp_path: Path
) -> None:
    """An input of the API may have any name that a method of the package uses for itself."""
    words = [word for name in ("self", "work", "kind") for word in ("--input", f"{name}=1")]
    started = invoke("start", "short_film", *words)
    assert started.code == exit_codes.OK, started.err
    (tmp_path / "jobs.csv").write_text("kind,key,self\nshort_film,k,[dawn\n")
    checked = invoke("batch", "jobs.csv", "--dry-run")
    assert checked.code == exit_codes.USAGE
    assert "jobs.csv:2: self: it begins as JSON" in checked.err


@pytest.mark.parametrize(
    "words",
    [
        *("kinds", "kinds dubbing", "run short_film", "quote dubbing", "list dubbing", "credits"),
        *("task show dubbing:66ea4dd8aa", "batch j.csv --dry-run"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_error_of_any_command(tmp_path: Path, words: str) -> None:
    """In a process of its own: the declarations of flags name the kinds, too."""
    (tmp_path / "j.csv").write_text("kind,key\nshort_film,k\n")
    env = environment(A2E_KINDS="none.toml", A2E_API_KEY="key-0123456789abcdef")
    process = popen(*words.split(), env=env, cwd=tmp_path)
    failed = ended(process)
    assert failed.code == exit_codes.USAGE
    assert failed.err.startswith("error: A2E_KINDS: 'none.toml' cannot be read")
    assert failed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("~/none.toml", "A2E_KINDS: '~/none.toml' cannot be read: No such file or directory."),
        ("none.toml", "A2E_KINDS: 'none.toml' cannot be read: No such file or directory."),
        (".", "A2E_KINDS: '.' cannot be read: Is a directory."),
    ],
)
def test_errors_name_the_variable(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, path: str, text: str
) -> None:
    """Who reads the error has set A2E_KINDS, and no option of a client."""
    monkeypatch.setenv("A2E_KINDS", path)
    failed = invoke("kinds")
    assert failed.code == exit_codes.USAGE
    assert failed.err.startswith(f"error: {text}")
