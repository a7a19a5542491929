"""Every declared check of the inputs, before anything is sent."""

import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from attrs import define
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._core.schema.inputs import (
    MAX_TEXT_CHARS,
    AcceptedMedia,
    FieldDoc,
    MaxLength,
    MediaInput,
    Range,
    TaskInput,
    build_input,
    input_fields,
)
from a2e_async.errors import InvalidInput
from a2e_async.kinds.dubbing import DubbingInput
from a2e_async.kinds.registry import kind_named, kind_names
from a2e_async.kinds.talking_video import TalkingVideoInput
from a2e_async.models import Output, WireName

URL = "https://files.example/talk.wav"


@define(kw_only=True)
class EveryInput(TaskInput):
    """One input of each form that a kind can declare."""

    text: str
    file: Annotated[MediaInput, AcceptedMedia("image")]
    number: Annotated[int | None, Range(1, 10)] = None
    ratio: Annotated[float | None, Range(0.5, 2)] = None
    free: float | None = None
    flag: bool | None = None
    closed: Literal[5, 10] | None = None
    open: Literal["a", "b"] | str | None = None
    short: Annotated[str | None, MaxLength(5)] = None
    words: Sequence[str] | None = None
    numbers: Sequence[int] | None = None
    files: Annotated[Sequence[MediaInput] | None, AcceptedMedia("image")] = None
    values: Mapping[str, Any] | None = None
    wired: Annotated[int | None, WireName("onTheWire")] = None


def make(**values: Any) -> EveryInput:
    """Return valid inputs with some of them replaced."""
    made = build_input(EveryInput, (), {"text": "x", "file": URL} | values)
    assert isinstance(made, EveryInput)
    return made


def refused(field: str, **values: Any) -> str:
    """Return the message of the refusal, which must name the field."""
    with pytest.raises(InvalidInput) as caught:
        make(**values)
    assert caught.value.field == field
    assert field in str(caught.value)
    assert str(caught.value).endswith(".")
    return str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", 5),
        ("text", b"x"),
        ("text", ["x"]),
        ("text", ""),
        ("text", " \t\n"),
        ("text", "x" * (MAX_TEXT_CHARS + 1)),
        ("number", True),
        ("number", 1.0),
        ("number", "1"),
        ("number", 0),
        ("number", 11),
        ("number", 10**50),
        pytest.param("number", 10**5000, id="number-huge"),
        pytest.param("number", -(10**5000), id="number-huge-negative"),
        ("ratio", math.nan),
        ("ratio", math.inf),
        ("ratio", 0.49),
        ("ratio", 2.01),
        ("ratio", False),
        ("free", 2**63),
        pytest.param("free", -(10**5000), id="free-huge"),
        ("wired", 2**63),
        ("wired", -(2**63)),
        ("numbers", [1, 10**30]),
        pytest.param("wired", 10**5000, id="unbounded-huge"),
        ("free", math.nan),
        ("free", math.inf),
        ("free", -math.inf),
        ("free", "1"),
        ("flag", 1),
        ("flag", "true"),
        ("closed", 6),
        ("closed", 5.0),
        ("closed", True),
        ("closed", "5"),
        ("open", 1),
        ("short", "123456"),
        ("words", "abc"),
        ("words", [1]),
        ("words", ["a", None]),
        ("values", [("a", 1)]),
        ("file", None),
        ("file", [URL]),
        ("file", 5),
        ("file", bytearray()),
        ("file", b""),
        ("file", ""),
        ("file", "  "),
        ("file", "a\0b"),
        ("files", URL),
        ("files", [URL, 5]),
        ("files", [URL, ""]),
        ("name", "x" * 201),
        ("name", 5),
        ("key", ""),
        ("key", " "),
        ("key", "x" * 201),
        ("key", 5),
        ("meta", 5),
        ("extra", "x"),
    ],
)
def test_what_is_not_declared_is_refused(field: str, value: Any) -> None:
    """A value outside its declaration is refused under its own name."""
    refused(field, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", "x" * MAX_TEXT_CHARS),
        ("number", 1),
        ("number", 10),
        ("ratio", 0.5),
        ("ratio", 2),
        ("free", -1e300),
        ("free", 3),
        ("flag", False),
        ("closed", 10),
        ("open", "a"),
        ("open", "not in the set"),
        ("short", "12345"),
        ("short", ""),
        ("words", ["a", "b"]),
        ("words", ("a",)),
        ("words", []),
        ("values", {"a": {"b": [1]}}),
        ("wired", 7),
        ("wired", 2**63 - 1),
        ("numbers", (1, 2**62)),
    ],
)
def test_what_is_declared_goes_to_the_wire_as_it_is(field: str, value: Any) -> None:
    """Bounds are included; the body has exactly what was given, under its wire name."""
    body = make(**{field: value}).to_wire({("file", None): "U"})
    wire = "onTheWire" if field == "wired" else field
    sent = list(value) if isinstance(value, tuple) else value
    assert body == {"text": "x", "file": "U"} | {wire: sent}
    assert type(body[wire]) is type(sent)


@pytest.mark.parametrize("field", ["number", "ratio", "free", "wired"])
def test_an_implausible_number_is_reported_as_such(field: str) -> None:
    """It is a number, so the refusal does not say that one is wanted."""
    assert "too large" in refused(field, **{field: 10**5000})


def test_none_means_not_sent_and_common_fields_stay_home() -> None:
    """None, name, key and meta are not in the body; extra is."""
    made = make(number=None, name="n", key="k", meta={"a": 1}, extra={"newer": [1, None]})
    assert made.to_wire({("file", None): "U"}) == {"text": "x", "file": "U", "newer": [1, None]}


@pytest.mark.parametrize("value", [Output(url=URL), b"x", Path("a.png"), "a.png", URL, "c:\\a.png"])
def test_media_takes_each_of_its_forms(value: Any) -> None:
    """URL, path, bytes and Output are media; each is told to the client with its place."""
    made = make(file=value, files=[value, URL])
    assert [(f.name, place, item) for f, place, item in made.media()] == [
        ("file", None, value),
        ("files", 0, value),
        ("files", 1, URL),
    ]
    urls = {("file", None): "A", ("files", 0): "B", ("files", 1): "C"}
    assert made.to_wire(urls) == {"text": "x", "file": "A", "files": ["B", "C"]}


def test_unknown_missing_and_positional_inputs_are_refused() -> None:
    """A misspelled, missing or unnamed input is an InvalidInput that lists what there is."""
    with pytest.raises(InvalidInput, match=r"no input 'txt'.*\bwords\b") as unknown:
        make(txt="x")
    assert unknown.value.field == "txt"
    with pytest.raises(InvalidInput, match="text and file must be given") as missing:
        build_input(EveryInput, (), {})
    assert missing.value.field == "text"
    with pytest.raises(InvalidInput, match="by name"):
        build_input(EveryInput, (URL,), {})


@given(st.text(min_size=1, max_size=300))
def test_an_unknown_name_is_shown_short(name: str) -> None:
    """Whatever the input's name, the message shows at most 40 characters of it."""
    known = {f.name for f in input_fields(EveryInput)}
    if name in known:
        return
    with pytest.raises(InvalidInput) as caught:
        make(**{name: 1})
    assert len(str(caught.value)) <= 300


SECRET = "the lady in the red dress leaves the house at dawn and nobody sees her go " * 4


@pytest.mark.parametrize("field", [f.name for f in input_fields(EveryInput)])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: s.encode(),
        lambda s: bytearray(s.encode()),
        lambda s: [s],
        lambda s: {"prompt": s},
        lambda s: [[s, 1]],
        lambda s: s * 100,
        lambda s: s.replace(" ", "-") + "://x",
        lambda s: "https://" + s + "\n",
        lambda s: {1, s},
        lambda s: 10**60,
        lambda s: Path(s),
        lambda s: type("Loud", (), {"__repr__": lambda self: s})(),
        lambda s: type("Broken", (), {"__repr__": lambda self: 1 / 0})(),
    ],
)
def test_no_refusal_shows_more_than_forty_characters_of_a_value(field: str, wrap: Any) -> None:
    """Prompts are private: a refusal never quotes more than 40 characters of what was given."""
    value = wrap(SECRET)
    try:
        make(**{field: value})
    except InvalidInput as error:
        said = str(error)
        for secret in (SECRET, SECRET.replace(" ", "-"), repr(10**60)):
            assert all(secret[i : i + 41] not in said for i in range(len(secret) - 40))


@pytest.mark.parametrize("name", kind_names())
def test_the_signature_is_the_declaration(name: str) -> None:
    """Each input is a keyword of the class's signature, documented and with its default."""
    cls: Any = kind_named(name).input
    parameters = inspect.signature(cls).parameters
    assert list(parameters) == [f.name for f in input_fields(cls)]
    for f in input_fields(cls):
        assert parameters[f.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert (parameters[f.name].default is inspect.Parameter.empty) is f.required
        assert f.required or parameters[f.name].default is None
        assert len(f.find_metadata(FieldDoc).text) > 10
        assert f.find_metadata(FieldDoc).text.endswith((".", ")"))
    assert {"name", "key", "meta", "extra"} <= set(parameters)


def test_image_to_video_checks_what_belongs_together() -> None:
    """lora or a prompt; FLF2V and end_image_url; one of the two lengths."""
    cls: Any = kind_named("image_to_video").input
    good = {"image_url": URL, "prompt": "p", "negative_prompt": "n"}
    for change, field in (
        ({"prompt": None}, "prompt"),
        ({"model_type": "FLF2V"}, "end_image_url"),
        ({"end_image_url": URL}, "model_type"),
        ({"model_type": "GENERAL", "end_image_url": URL}, "model_type"),
        ({"video_time": 5, "video_length": 80}, "video_length"),
        ({"video_time": 6}, "video_time"),
        ({"number_of_images": 9}, "number_of_images"),
    ):
        with pytest.raises(InvalidInput) as caught:
            build_input(cls, (), good | change)
        assert caught.value.field == field
    build_input(cls, (), {"image_url": URL, "lora": "preset"})
    build_input(cls, (), good | {"model_type": "FLF2V", "end_image_url": URL, "video_time": 20})
    expected = kind_named("image_to_video").expected_tasks
    assert expected(build_input(cls, (), good)) == 1
    assert expected(build_input(cls, (), good | {"number_of_images": 3})) == 3


def test_bodies_of_the_documented_examples() -> None:
    """The two examples of the API's own pages become exactly these bodies."""
    dubbing = DubbingInput(
        source_url=URL,
        name="test",
        target_lang="en",
        source_lang="zh",
        num_speakers=1,
        drop_background_audio=False,
    )
    assert dubbing.to_wire({("source_url", None): URL}) == {
        "source_url": URL,
        "target_lang": "en",
        "source_lang": "zh",
        "num_speakers": 1,
        "drop_background_audio": False,
    }
    talking = TalkingVideoInput(
        video_url=URL, audio_url=URL, duration=5, prompt="smile", negative_prompt="blurry"
    )
    urls = {("video_url", None): "V", ("audio_url", None): "A"}
    assert talking.to_wire(urls) == {
        "video_url": "V",
        "audio_url": "A",
        "duration": 5,
        "prompt": "smile",
        "negative_prompt": "blurry",
    }
