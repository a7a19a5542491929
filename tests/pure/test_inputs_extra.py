"""URLs, and the way around the declarations: extra, meta and the safety inputs."""

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._core.http.envelope import MAX_JSON_DEPTH
from a2e_async._core.schema.inputs import clean_url, is_url
from a2e_async._core.schema.json_guard import MAX_SENT_DEPTH, guarded_json
from a2e_async.errors import InvalidInput
from a2e_async.kinds.dubbing import DubbingInput

URL = "https://files.example/talk.wav"


def dub(**values: Any) -> DubbingInput:
    """Return valid dubbing inputs with some of them replaced."""
    return DubbingInput(**{"source_url": URL, "target_lang": "es"} | values)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (URL, URL),
        ("HTTPS://Files.Example/A.wav", "HTTPS://Files.Example/A.wav"),
        ("http://files.example", "http://files.example"),
        ("  https://files.example/a b c.wav\n", "https://files.example/a%20b%20c.wav"),
        ("https://files.example/@me/a.wav?mail=a@b", "https://files.example/@me/a.wav?mail=a@b"),
        ("https://files.example?x=1#y", "https://files.example?x=1#y"),
        ("https://[2001:db8::1]:8443/a", "https://[2001:db8::1]:8443/a"),
        ("https://files.example/ü/日本.wav", "https://files.example/ü/日本.wav"),
    ],
)
def test_urls_are_made_fit_for_the_wire(given: str, sent: str) -> None:
    """Spaces are encoded, surrounding white space goes, everything else stays."""
    assert is_url(given)
    assert clean_url(given, "source_url") == sent
    dub(source_url=given)


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@files.example/a",
        "https://user@files.example/a",
        "https:///a.wav",
        "https://",
        "https://?x",
        "https://files.example/a\nb",
        "https://files.example/a\tb",
        "https://files.example/a\r\nHost: x",
        "https://files.example/\x00",
        "https://files.example/\x7f",
        "https://files.example/\u200bx",
        "https://files.example/\u2028x",
        "https://files.example/" + "a" * 8192,
        "data:audio/wav;base64,AAAA",
        "DATA:audio/wav;base64,AAAA",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "s3://bucket/key",
        "gs://bucket/key",
        "ftp://files.example/a",
    ],
)
def test_urls_the_service_cannot_fetch_are_refused(url: str) -> None:
    """No credentials, control characters, endless URLs or schemes other than http(s)."""
    with pytest.raises(InvalidInput) as caught:
        dub(source_url=url)
    assert caught.value.field == "source_url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("path", ["talk.wav", "/abs/talk.wav", "C:\\talk.wav", "https", "httpx://"])
def test_only_http_makes_a_url(path: str) -> None:
    """Everything that does not begin with http:// or https:// is not a URL."""
    assert not is_url(path)


SAFETY = (
    "force_generate",
    "skip_minor_check",
    "allow_suspected_minors",
    "face_mask",
    "mask_face",
    "enable_face_masking",
    "skip_safety",
    "disable_moderation",
    "safety_check",
    "safety_checker",
    "enable_moderation",
    "allow_nsfw",
    "force_gen",
    "use_forced_generation",
    "is_force",
    "underage_ok",
    "under18",
    "under_18",
    "allow_adult",
    "suspected",
    "age_check",
    "verify_age",
    "unsafe",
    "disable_safe",
    "content_filter",
    "filter_content",
    "face_mosaic",
    "mosaic",
    "blur_face",
    "sfw_only",
)


def spellings(name: str) -> list[str]:
    """Return a name in the spellings of several languages."""
    words = name.split("_")
    camel = words[0] + "".join(w.title() for w in words[1:])
    return [name, name.upper(), camel, "-".join(words), ".".join(words), f" {name} ", f"x_{name}_2"]


@pytest.mark.parametrize("name", list(itertools.chain(*map(spellings, SAFETY))))
def test_safety_inputs_are_refused_however_spelled(name: str) -> None:
    """Inputs that bear on a safety check are not sent: not at the top, nor within a value."""
    for extra in ({name: False}, {"options": {name: True}}, {"list": [1, [{name: 0}]]}):
        with pytest.raises(InvalidInput, match="safety check") as caught:
            dub(extra=extra)
        assert caught.value.field == "extra"


@pytest.mark.parametrize(
    "name",
    [
        "ｆｏｒｃｅ＿ｇｅｎｅｒａｔｅ",  # noqa: RUF001  # what is tested
        "force_generate",
        "allow_mınor",  # noqa: RUF001  # what is tested
        "nſfw",  # noqa: RUF001  # what is tested
        "ﬁlter_safety",
        "fоrce_generate",  # noqa: RUF001  # what is tested
        "force\u200b_generate",
        "größe",
    ],
)
def test_no_name_passes_by_its_letters(name: str) -> None:
    """Letters that look like others are those, or the name is refused: the service has none."""
    with pytest.raises(InvalidInput) as caught:
        dub(extra={"deep": [{name: True}]})
    assert caught.value.field == "extra"


def test_what_holds_itself_is_refused_and_not_walked_for_ever() -> None:
    """A list in itself is no JSON; neither is a mapping in itself."""
    round_: list[Any] = []
    round_.append(round_)
    for value in ({"a": round_}, circle()):
        with pytest.raises(InvalidInput, match="JSON") as caught:
            dub(extra=value)
        assert caught.value.field == "extra"


@pytest.mark.parametrize(
    "name",
    [
        *("mask_url", "skip_face_enhance", "seed", "fps", "node", "noise", "aspect_ratio", "stage"),
        *("image", "language", "reinforce_style", "reference_face", "usage", "K2_mode"),
    ],
)
def test_other_new_inputs_pass(name: str) -> None:
    """Extra exists for inputs newer than the package; it does not refuse the harmless."""
    body = dub(extra={name: {"a": [1, None, "x"]}}).to_wire({("source_url", None): URL})
    assert body[name] == {"a": [1, None, "x"]}


@pytest.mark.parametrize("name", ["source_url", "target_lang", "num_speakers", "name"])
def test_extra_does_not_go_past_a_declared_input(name: str) -> None:
    """A declared input given as extra is refused, with the way to give it."""
    with pytest.raises(InvalidInput, match=f"{name}=") as caught:
        dub(extra={name: "x"})
    assert caught.value.field == "extra"


def circle() -> dict[str, Any]:
    """Return a value that holds itself."""
    made: dict[str, Any] = {}
    made["me"] = made
    return made


def deep() -> Any:
    """Return a value nested too deeply for JSON."""
    made: Any = 1
    for _ in range(100_000):
        made = [made]
    return made


@pytest.mark.parametrize("label", ["extra", "meta"])
@pytest.mark.parametrize(
    "value",
    [
        {"a": math.nan},
        {"a": [math.inf]},
        {"a": {1, 2}},
        {"a": b"x"},
        {"a": object()},
        {("a", "b"): 1},
        circle(),
        {"a": deep()},
    ],
    ids=["nan", "inf", "set", "bytes", "object", "tuple key", "circle", "deep"],
)
def test_extra_and_meta_hold_json(label: str, value: Any) -> None:
    """What is not JSON is refused before it can break the body or the journal."""
    with pytest.raises(InvalidInput) as caught:
        dub(**{label: value})
    assert caught.value.field == label
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize("names", [{"": 1}, {1: 1}, {"a": {2: 1}}, {None: 1}])
def test_extra_needs_names(names: Any) -> None:
    """Names in extra are texts that are not empty."""
    with pytest.raises(InvalidInput, match="names must be non-empty text"):
        dub(extra=names)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(meta=st.dictionaries(st.text(max_size=10), JSON))
def test_any_json_is_meta_and_never_reaches_the_body(meta: dict[str, Any]) -> None:
    """meta takes any JSON under any name, and stays with the client."""
    made = dub(meta=meta)
    assert made.meta == meta
    body = made.to_wire({("source_url", None): URL})
    assert body == {"source_url": URL, "target_lang": "es"}


@given(st.text(max_size=30))
def test_any_text_as_media_is_taken_or_refused_by_name(text: str) -> None:
    """No text raises anything but an InvalidInput that names the field."""
    for value in (text, "https://" + text, "https://h/" + text):
        refused = None
        try:
            dub(source_url=value)
        except InvalidInput as error:
            assert error.field in str(error)  # noqa: PT017  # any text may pass or be refused
            refused = error.field
        assert refused in (None, "source_url")
        if refused is None and is_url(value):
            assert not any(c.isspace() for c in clean_url(value, "source_url"))


def test_what_is_sent_is_not_nested_deeper_than_a_response_may_be() -> None:
    """The service repeats inputs: a response that holds a deeper one could not be read."""

    value: Any = 1
    for level in range(MAX_SENT_DEPTH):
        value = [value] if level % 2 else {"a": value}
    assert guarded_json("extra", value) == value
    with pytest.raises(InvalidInput, match="extra is nested too deeply: at most 32"):
        guarded_json("extra", [value])
    assert guarded_json("meta", [value], sent=False) == [value]
    assert 2 * MAX_SENT_DEPTH <= MAX_JSON_DEPTH  # the response adds a few levels of its own
