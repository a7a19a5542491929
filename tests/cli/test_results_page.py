"""``a2e batch --html``: a page of the results, which needs nothing but the files beside it."""

import errno
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from a2e_async.cli import exit_codes
from a2e_async.cli.batch.results_page import open_results_page
from a2e_async.sandbox import Sandbox

from .conftest import Invoke
from .test_batch import dub, picture, write

RUN = ["--out", "out", "--journal", "jobs.db", "--html"]
PAGE = Path("out/results.html")


class Page(HTMLParser):
    """The links and elements of a page; unclosed elements are an error."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.directory, self.links, self.elements = path.parent, list[str](), list[str]()
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag not in ("meta", "img"):
            self._open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def files(self) -> set[Path]:
        """Return the files that it links: all relative, and all there."""
        found = {self.directory / unquote(link) for link in self.links}
        assert all(link.startswith("./") for link in self.links)
        assert all(path.is_file() for path in found)
        return {path.resolve() for path in found}


@pytest.fixture
def page(quiet_env: Path) -> Iterator[None]:
    """No page leaves another file behind."""
    yield
    assert not [path for path in (quiet_env / "out").iterdir() if path.name[0] == "."]


@pytest.mark.usefixtures("page")
def test_the_page_shows_each_job(a2e: Invoke, sandbox: Sandbox) -> None:
    sandbox.faults.fail("talking_video", message="<b>no face</b> & no luck")
    video = {
        "kind": "talking_video",
        "key": "<i>clip</i>",
        "input": {
            "name": "x",
            "video_url": "https://example.com/a.mp4",
            "audio_url": "https://example.com/a.wav",
            "prompt": "a man",
            "negative_prompt": "blurry",
            "duration": 3,
        },
    }
    again = {**video, "key": "clip 2"}
    write(Path("jobs.jsonl"), video, picture("dog:1"), dub("talk"), picture())
    result = a2e("batch", "jobs.jsonl", *RUN, "--limit", "1")
    assert result.code == exit_codes.PARTIAL, result.err
    assert f"all results: {PAGE.absolute()}" in result.err
    page = Page(PAGE)
    files = {Path(line).resolve() for line in result.out.splitlines()}
    assert page.files() == files
    assert len(files) == 3
    assert [page.elements.count(one) for one in ("img", "audio", "article")] == [2, 1, 4]
    assert "script" not in page.elements
    assert "<i>clip</i>talking_video · failed" in page.text.replace("\n", "")
    assert "<b>no face</b> & no luck" in page.text
    assert "dog:1" in page.text
    assert "batch:" not in page.text
    coins = sandbox.ledger.starts("text_to_image")[0].coins
    assert f"text_to_image · done · {coins} coins" in page.text
    # Another file of jobs, and a run that is stopped: what the journal has stays on the page.
    write(Path("jobs.jsonl"), again)
    result = a2e("batch", "jobs.jsonl", *RUN, "--budget", "1")
    assert result.code == exit_codes.COINS
    page = Page(PAGE)
    assert page.files() == files
    assert "done before" in page.text
    assert "1 not started (budget)" in page.text
    assert "Continue with: a2e batch jobs.jsonl" in page.text


def test_a_page_of_the_user_is_kept(a2e: Invoke, sandbox: Sandbox) -> None:
    PAGE.parent.mkdir()
    PAGE.write_text("<h1>mine</h1>")
    write(Path("jobs.jsonl"), dub())
    result = a2e("batch", "jobs.jsonl", *RUN)
    assert result.code == exit_codes.USAGE
    assert "would overwrite 'out/results.html'" in result.err
    assert PAGE.read_text() == "<h1>mine</h1>"
    assert sandbox.calls_total == 0


def test_the_journal_is_not_overwritten(a2e: Invoke, sandbox: Sandbox) -> None:
    write(Path("jobs.jsonl"), dub())
    result = a2e("batch", "jobs.jsonl", "--out", "out", "--journal", str(PAGE), "--html")
    assert result.code == exit_codes.USAGE
    assert "would overwrite 'out/results.html'" in result.err
    assert not PAGE.exists()
    assert sandbox.calls_total == 0


def test_a_page_that_appears_during_the_run_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with open_results_page(tmp_path / "out") as page:
        assert page is not None
        (tmp_path / PAGE).write_text("<h1>mine</h1>")
        with pytest.raises(FileExistsError):
            page.write("x", [])
    assert (tmp_path / PAGE).read_text() == "<h1>mine</h1>"
    assert [*(tmp_path / "out").iterdir()] == [tmp_path / PAGE]


def test_a_full_disk_costs_the_page_alone(a2e: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("a2e_async.cli.batch.results_page.shutil.copyfileobj", full)
    write(Path("jobs.jsonl"), picture("a"))
    result = a2e("batch", "jobs.jsonl", *RUN)
    assert result.code == exit_codes.SERVICE
    assert f"error: {PAGE} cannot be written: No space left on device" in result.err
    assert "1 of 1 · 1 done" in result.err
    assert [path.name for path in PAGE.parent.iterdir()] == [Path(result.out.strip()).name]


def test_odd_names_are_links(tmp_path: Path) -> None:
    """Also of files that an earlier run has saved elsewhere."""
    names = ["out/a b#1.mp4", "out/x?y%.webp", "else/ü'\".m4a", "out/model.glb"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    line = {"key": None, "kind": "dubbing", "ref": "dubbing:1", "status": "ok", "error": None}
    with open_results_page(tmp_path / "out") as page:
        assert page is not None
        page.add({**line, "coins": None, "paths": [str(tmp_path / name) for name in names]})
        shown = Page(page.write("x", []))
    assert shown.elements.count("video") == shown.elements.count("img") == 1
    assert shown.elements.count("audio") == 1
    found = {unquote(link.removeprefix("./")) for link in shown.links}
    assert found == {name.removeprefix("out/").replace("else/", "../else/") for name in names}


def test_json_has_one_document(a2e: Invoke) -> None:
    write(Path("jobs.jsonl"), picture("a"))
    result = a2e("batch", "jobs.jsonl", *RUN, "--json")
    assert json.loads(result.out)["ok"] == 1
    assert PAGE.is_file()


def test_the_page_of_a_journal(a2e: Invoke) -> None:
    """For results that no batch has made, in one directory."""
    words = ("run", "dubbing", "--source-url", "https://m.example/a.wav", "--journal", "jobs.db")
    for key, directory in (("es", "out"), ("fr", "out"), ("de", "other")):
        file = f"{directory}/{key}.wav"
        assert a2e(*words, "--target-lang", key, "--key", key, "-o", file).code == exit_codes.OK
    a2e("start", *words[1:], "--target-lang", "it", "--key", "it")
    result = a2e("journal", "page", "jobs.db", "-o", "out")
    assert result.out.split() == [str(PAGE.absolute())]
    page = Page(PAGE)
    assert {path.name for path in page.files()} == {"es.wav", "fr.wav"}
    assert "2 results" in page.text
    assert a2e("journal", "page", "jobs.db", "-o", "out", "--json").document["results"] == 2
    refused = a2e("journal", "page", "jobs.db", "-o", "empty")
    assert refused.code == exit_codes.USAGE
    assert "no results that are saved in 'empty'" in refused.err
    assert not Path("empty").exists()
