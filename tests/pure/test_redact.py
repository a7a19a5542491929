"""No secret survives redaction, wherever it is and wherever the text is cut."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a2e_async._core.redact import (
    EXCERPT_CHARS,
    Secret,
    _general_patterns,
    bare_url,
    excerpt,
    redact,
)

ALNUM = string.ascii_letters + string.digits
TOKEN = st.text(ALNUM + "-._~+/=", min_size=12, max_size=60).map(lambda t: "T0" + t)
QUERY = st.text(ALNUM + "-._~:/?@!$&'()*+,;=%", min_size=8, max_size=80).map(lambda q: "Q0" + q)
FILL = st.text(" \n\t\"'<>{}[],:;abcxyz/\\é%?#&=-_@0123456789", max_size=60)
BEFORE = st.sampled_from(["", " ", '"', "'", "(", "=", "url:", "\n", "\\n", "%22", "<", ">", "1"])
SCHEME = st.sampled_from(
    ["https://", "http://", "HTTPS://", "Http://", "https:\\/\\/", "http:\\/\\/"]
)
HOST = st.sampled_from(["h.example", "localhost:80", "[::1]", "u:pw@h.example", "ex%41mple"])
PATH = st.sampled_from(["", "/", "/a.mp3", "/it's/a(1).mp4", "\\/a\\/b.mp3", "/a;b=c", "/ü"])


def test_hundreds_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are removed, and no pattern is compiled for a text that has none of them."""
    keys = [f"{n:04d}Key-of/{n}" for n in range(300)]
    secrets = [Secret(key) for key in keys]
    redact("https://h.example/?a=b")  # compiles what is secret by its form
    compiled: list[str] = []
    monkeypatch.setattr("re.compile", lambda pattern, *_: compiled.append(pattern))
    assert redact("a text of the service") == "a text of the service"
    assert not compiled
    monkeypatch.undo()
    for shown in (
        keys[7],
        keys[299].upper(),
        keys[0][::-1],
        keys[250].encode().hex(),
        "é" + keys[9],
    ):
        assert redact(f"<{shown}>") in ("<[key]>", "<é[key]>")
    assert len(secrets) == 300


@given(before=FILL, edge=BEFORE, scheme=SCHEME, host=HOST, path=PATH, query=QUERY, after=FILL)
@settings(max_examples=300)
def test_no_query_of_a_url_survives(
    before: str, edge: str, scheme: str, host: str, path: str, query: str, after: str
) -> None:
    """Queries are removed completely: in prose, in JSON, in escaped JSON, in any case."""
    for mark in "?#":
        text = f"{before}{edge}{scheme}{host}{path}{mark}{query} {after}"
        for shown in (redact(text), excerpt(text), excerpt(text.encode())):
            assert query not in shown
            assert query[:6] not in shown


@given(before=FILL, user=st.text(ALNUM + ":@'!*", min_size=3, max_size=20), after=FILL)
def test_no_credentials_of_a_url_survive(before: str, user: str, after: str) -> None:
    """User and password are removed, even if the password contains an @."""
    for scheme in ("https://", "HTTP://", "https:\\/\\/"):
        shown = redact(f"{before} {scheme}U0{user}@h.example/a {after}")
        assert f"U0{user}" not in shown
        assert "U0" not in shown
        assert "h.example/a" in shown


@given(before=FILL, token=TOKEN, after=FILL)
def test_no_bearer_survives(before: str, token: str, after: str) -> None:
    """A bearer token is removed in every form of the header in a text."""
    for head in ("Bearer ", "bearer  ", "BEARER\t", "Bearer: ", 'Bearer "', "bearer=", "Bearer\n"):
        text = f"{before} Authorization: {head}{token} {after}"
        assert token not in redact(text)
        assert "T0" not in excerpt(text)


@given(before=FILL, edge=BEFORE, token=st.text(ALNUM + "_-.", min_size=8, max_size=60), after=FILL)
def test_no_api_token_survives(before: str, edge: str, token: str, after: str) -> None:
    """sk_ tokens and JWTs are removed without a keyword before them, including dots."""
    for key in (f"sk_K0{token}", f"eyJK0{token}", f"sk_eyJK0{token}.K0{token}.K0{token}"):
        text = f"{before}\n{edge}{key} {after}"
        assert "K0" + token not in redact(text)
        assert "K0" not in redact(text)


SECRET = st.text(string.printable.strip(), min_size=12, max_size=60).map(lambda s: "S0" + s)


@given(before=FILL, secret=SECRET, after=FILL)
def test_no_given_secret_survives(before: str, secret: str, after: str) -> None:
    """The current API key is removed anywhere, whatever it looks like."""
    text = f"{before}{secret}{after}{secret}"
    assert secret not in redact(text, secret)
    assert secret not in excerpt(text, secret)


@settings(max_examples=300)
@given(
    fill=st.sampled_from(["x", "x ", " ", "é", "https://h/?a=b ", "日"]),
    offset=st.integers(-90, 10),
    limit=st.sampled_from([20, 100, EXCERPT_CHARS]),
    shape=st.sampled_from(["bare", "url", "user", "bearer", "token"]),
    data=st.data(),
)
def test_nothing_survives_the_cut_of_an_excerpt(
    fill: str, offset: int, limit: int, shape: str, data: st.DataObject
) -> None:
    """A secret that the limit cuts in two is not shown in part either."""
    key = "Z9" + data.draw(st.text(ALNUM, min_size=30, max_size=60))
    where = data.draw(st.sampled_from([limit, limit * 2, limit * 4, limit * 8])) + offset
    head = (fill * (max(where, 0) // len(fill) + 1))[: max(where, 0)]
    text = {
        "bare": f"{head} {key}",
        "url": f"{head} https://h.example/a?{key}",
        "user": f"{head} https://{key}:{key}@h.example/a",
        "bearer": f"{head} Bearer {key}",
        "token": f"{head} sk_{key}",
    }[shape]
    text += " tail" * limit
    for body in (text, text.encode()):
        shown = excerpt(body, key, limit)
        assert len(shown) <= limit
        assert all(key[n : n + 8] not in shown for n in range(len(key) - 8))
        assert key[:8] not in shown
        assert "\n" not in shown


def test_credentials_cut_before_their_at_sign_are_not_shown() -> None:
    """A URL truncated within its host may be credentials: it is removed."""
    head = "https://h/?" + "q" * 900 + " "
    text = head + "https://user:" + "Z9word" * 40 + "@h.example/a"
    assert "Z9word" not in excerpt(text)
    assert "Z9word" not in excerpt(text.encode())


def test_a_json_body_keeps_what_helps() -> None:
    """Hosts, paths and words stay, so that an excerpt is readable."""
    body = (
        '{"url":"https:\\/\\/h.example\\/a.mp3?sig=abc","mail":"me@h.example",'
        '"risk_assessment":"task_completed","next":"https://h.example/b"}'
    )
    assert excerpt(body) == (
        '{"url":"https:\\/\\/h.example\\/a.mp3?[query]","mail":"me@h.example",'
        '"risk_assessment":"task_completed","next":"https://h.example/b"}'
    )
    assert redact("no secret here") == "no secret here"
    assert excerpt("x" * 1000) == "x" * 499 + "…"
    assert excerpt("a\n\n  b\tc") == "a b c"


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://h/a?x#y", "https://h/a"),
        ("https://h/a#y?x", "https://h/a"),
        ("https://u:p@h/a@b", "https://h/a@b"),
        ("HTTPS://u:p@ss@h/a?x", "HTTPS://h/a"),
        ("https://h?u@x", "https://h"),
        ("https://h", "https://h"),
        ("/a/b?x", "/a/b"),
        ("", ""),
    ],
)
def test_bare_urls(url: str, bare: str) -> None:
    """A bare URL has no credentials, query or fragment, and baring it again changes nothing."""
    assert bare_url(url) == bare
    assert bare_url(bare) == bare


PIECES = st.sampled_from(
    [
        *("http", "HTTPS", "://", "%3A", "&#58;", "\\u003a", "%2f%2F", "u:p@", "@", "?", "%3f"),
        *("Bearer ", "BEARER=", "Authorization: ", "author\u0131zation: ", "a2e-" + "0" * 20),
        *(".", "v" * 43, "sk_", "eyJ", "EYJ", "abcdefgh12", "token", "\u017fig", "&SIG"),
        *("s\u0131gnature", "x-amz-date", "=", "%3d", "%253D", "&#61;", "&#x3D;", "\\u003d"),
        *(":", " : ", '"', "'", "\\", "\n", " ", "#"),
    ]
)


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=12).map("".join) | st.text())
def test_a_pattern_matches_only_texts_with_its_mark(text: str) -> None:
    """So a text without any mark of a pattern needs no search for it."""
    for marks, pattern, _ in _general_patterns():
        if pattern.search(text):
            assert any(mark in text.lower() for mark in marks), pattern.pattern


UNITS = [
    "https://",
    "https:\\/\\/",
    "http:",
    "https://a@",
    "https://a/",
    "bearer ",
    "bearer",
    "bearer" + " " * 50,
    "Bearer:=",
    "eyJaaaaaaaa-",
    "eyJ",
    "sk_",
    "sk_aaaa",
    " ",
    "@",
    "?",
    "\\",
    "a",
]


@pytest.mark.parametrize("unit", UNITS)
def test_long_hostile_texts_end(unit: str) -> None:
    """200 kB of what each pattern begins with is done in one pass (a square takes many minutes)."""
    text = unit * (200_000 // len(unit))
    marks = " ".join(mark for pattern in _general_patterns() for mark in pattern[0])
    shown = redact(f"{marks} {text}")
    assert isinstance(shown, str)
    assert redact(f"{marks} {text}\x00", "secret-key") is not None
    assert len(excerpt(text)) <= EXCERPT_CHARS
    assert len(bare_url(text)) <= len(text)
