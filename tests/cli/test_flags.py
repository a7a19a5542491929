"""Flags from declarations of every sort."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from attrs import define
from cyclopts import App

from a2e_async._core.schema.inputs import (
    AcceptedMedia,
    FieldDoc,
    ItemCount,
    MaxLength,
    MediaInput,
    Range,
    SerializeAsString,
    TaskInput,
)
from a2e_async._core.tasks.kind import Endpoint, TaskKind
from a2e_async.cli.input_flags import as_command, flags_of
from a2e_async.errors import InvalidInput
from a2e_async.models import Record


@define(kw_only=True)
class EverythingInput(TaskInput):
    pictures: Annotated[
        Sequence[MediaInput], AcceptedMedia("image"), ItemCount(2, 4), FieldDoc("Some pictures.")
    ]
    mode: Annotated[Literal["fast", "fine"], FieldDoc("How.")] = "fast"
    size: Annotated[Literal[1, 2] | None, FieldDoc("How large.")] = None
    language: Annotated[Literal["en", "es"] | str | None, FieldDoc("Which.")] = None
    rate: Annotated[float | None, Range(0.5, 2), FieldDoc("How quick.")] = None
    title: Annotated[str | None, MaxLength(40)] = None
    loud: Annotated[bool | None, FieldDoc("Whether.")] = None
    words: Annotated[Sequence[str] | None, FieldDoc("Some words.")] = None
    lengths: Annotated[Sequence[float] | None, FieldDoc("How long each.")] = None
    seconds: Annotated[int | None, Range(3, 15), SerializeAsString(), FieldDoc("How long.")] = None
    picked: Annotated[Literal[5, 10] | None, SerializeAsString(), FieldDoc("Which of the two.")] = (
        None
    )
    shots: Annotated[
        Sequence[Mapping[str, Any]] | None, ItemCount(1, 3), FieldDoc("The story.")
    ] = None
    layout: Annotated[Mapping[str, Any] | None, FieldDoc("Where.")] = None


EVERYTHING: TaskKind[..., Record] = TaskKind(
    name="everything",
    input=EverythingInput,
    record=Record,
    start=Endpoint("POST", "/everything/start"),
)


def parse(*words: str) -> dict[str, Any]:
    given: dict[str, Any] = {}

    def work(kind: str, inputs: Mapping[str, Any]) -> int:
        assert kind == "everything"
        given.update(inputs)
        return 0

    app = App(print_error=False, exit_on_error=False)
    app.command(as_command(EVERYTHING, work, ()), name="go")
    command, bound, _ = app.parse_args(["go", *words])
    assert command(*bound.args, **bound.kwargs) == 0
    return given


def test_each_sort_of_input_has_its_flag() -> None:
    flags = {flag.name: flag for flag in flags_of(EVERYTHING)}
    assert next(iter(flags)) == "pictures"
    assert list(flags)[-3:] == ["name", "meta", "extra"]
    assert "key" not in flags
    assert flags["pictures"].type == list[str]
    assert flags["pictures"].required
    assert flags["size"].choices == (1, 2)
    assert flags["language"].type is str
    assert flags["language"].open_ended
    assert "en, es, or another" in flags["language"].help
    assert "From 0.5 to 2." in flags["rate"].help
    assert "At most 40 characters." in flags["title"].help
    assert flags["layout"].is_json
    assert "Give the flag 2 to 4 times." in flags["pictures"].help
    assert "Each a URL or a local path (image)." in flags["pictures"].help
    assert "Repeat the flag for more than one." in flags["words"].help
    assert "1 to 3 items." in flags["shots"].help
    assert flags["shots"].type is str
    assert (flags["seconds"].type, flags["picked"].choices) == (int, (5, 10))


def test_each_flag_says_in_a_word_what_it_takes() -> None:
    said = {flag.name: flag.value for flag in flags_of(EVERYTHING)}
    assert said == {
        "pictures": "image, repeated",
        "mode": "a choice",
        "size": "a choice",
        "language": "text",
        "rate": "number",
        "title": "text",
        "loud": "yes or no",
        "words": "text, repeated",
        "lengths": "number, repeated",
        "seconds": "whole number",
        "picked": "a choice",
        "shots": "JSON list",
        "layout": "JSON",
        "name": "text",
        "meta": "JSON",
        "extra": "JSON",
    }
    assert all(flag.to_json()["type"] == said[flag.name] for flag in flags_of(EVERYTHING))


def test_values_come_as_their_types() -> None:
    words = "--pictures a.png --pictures b.png --mode fine --size 2 --language tlh --rate 1.5"
    more = (
        "--no-loud --words x --words y --name=-n --lengths 3 --lengths 4.5 --seconds -1 --picked 5"
    )
    made = ["--layout", '{"x": [1, null]}', "--shots", '[{"prompt": "a"}, {}]']
    assert parse(*words.split(), *more.split(), *made) == {
        "pictures": ["a.png", "b.png"],
        "mode": "fine",
        "size": 2,
        "language": "tlh",
        "rate": 1.5,
        "loud": False,
        "words": ["x", "y"],
        "name": "-n",
        "lengths": [3.0, 4.5],
        "seconds": -1,
        "picked": 5,
        "layout": {"x": [1, None]},
        "shots": [{"prompt": "a"}, {}],
    }


def test_what_is_not_given_is_not_sent() -> None:
    assert parse("--pictures", "a.png") == {"pictures": ["a.png"]}


def test_surprising_texts_stay_as_they_are() -> None:
    said = "·\u202e \U0001f600 'x' \"y\" $HOME"
    assert parse("--pictures", said)["pictures"] == [said]


@pytest.mark.parametrize(
    ("flag", "text", "said"),
    [
        ("--extra", "{", "--extra must be JSON"),
        ("--extra", "[1]", "--extra must be a JSON object"),
        ("--shots", "{}", "--shots must be a JSON list"),
        ("--shots", "[", r"--shots must be JSON such as '\[\{"),
    ],
)
def test_json_that_is_none_is_refused(flag: str, text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse("--pictures", "a.png", flag, text)


def test_json_can_stand_in_a_file(tmp_path: Path) -> None:
    shots = [{"prompt": "a \u00b7"}, {"prompt": "b"}]
    path = tmp_path / "story.json"
    path.write_text(json.dumps(shots, ensure_ascii=False), encoding="utf-8-sig")
    assert parse("--pictures", "a.png", "--shots", f"@{path}")["shots"] == shots


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"{", "--shots must be JSON such as .* \\(in .*story.json\\)"),
        (b"{}", "a JSON list \\(in .*story.json\\)"),
    ],
)
def test_a_file_that_holds_no_such_json_is_refused(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "story.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=said) as refused:
        parse("--pictures", "a.png", "--shots", f"@{path}")
    assert "--shots" in str(refused.value)
    assert refused.value.field == "shots"


def test_only_json_is_read_from_a_file(tmp_path: Path) -> None:
    assert parse("--pictures", "a.png", "--title", "@home")["title"] == "@home"
