"""Flags from declarations of every sort."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest
from attrs import define
from cyclopts import App

from a2e_async.cli.flags import as_command, flags_of
from a2e_async.errors import InvalidInput
from a2e_async.inputs import Between, Doc, Length, Media, MediaInput, TaskInput
from a2e_async.models import Record
from a2e_async.tasks.kind import Endpoint, TaskKind


@define(kw_only=True)
class EverythingInput(TaskInput):
    pictures: Annotated[Sequence[MediaInput], Media("image"), Doc("Two to four pictures.")]
    mode: Annotated[Literal["fast", "fine"], Doc("How.")] = "fast"
    size: Annotated[Literal[1, 2] | None, Doc("How large.")] = None
    language: Annotated[Literal["en", "es"] | str | None, Doc("Which.")] = None
    rate: Annotated[float | None, Between(0.5, 2), Doc("How quick.")] = None
    title: Annotated[str | None, Length(40)] = None
    loud: Annotated[bool | None, Doc("Whether.")] = None
    words: Annotated[Sequence[str] | None, Doc("Some words.")] = None
    layout: Annotated[Mapping[str, Any] | None, Doc("Where.")] = None


EVERYTHING: TaskKind[..., Record] = TaskKind(
    name="everything",
    input=EverythingInput,
    record=Record,
    start_at=Endpoint("POST", "/everything/start"),
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


def test_values_come_as_their_types() -> None:
    words = "--pictures a.png --pictures b.png --mode fine --size 2 --language tlh --rate 1.5"
    more = "--no-loud --words x --words y --name=-n"
    assert parse(*words.split(), *more.split(), "--layout", '{"x": [1, null]}') == {
        "pictures": ["a.png", "b.png"],
        "mode": "fine",
        "size": 2,
        "language": "tlh",
        "rate": 1.5,
        "loud": False,
        "words": ["x", "y"],
        "name": "-n",
        "layout": {"x": [1, None]},
    }


def test_what_is_not_given_is_not_sent() -> None:
    assert parse("--pictures", "a.png") == {"pictures": ["a.png"]}


def test_surprising_texts_stay_as_they_are() -> None:
    said = "·\u202e \U0001f600 'x' \"y\" $HOME"
    assert parse("--pictures", said)["pictures"] == [said]


@pytest.mark.parametrize(("text", "said"), [("{", "must be JSON"), ("[1]", "a JSON object")])
def test_json_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse("--pictures", "a.png", "--extra", text)
