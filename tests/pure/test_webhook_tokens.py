"""Webhook tokens, where they are sent, and which events are remembered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._core.config import clean_webhook_secret, clean_webhook_url
from a2e_async._core.redact import redact
from a2e_async._core.submission.attempt import new_mark
from a2e_async._core.webhooks.tokens import (
    MAX_TOKEN_CHARS,
    RecentEvents,
    WebhookTarget,
    make_token,
    verify_token,
)
from a2e_async.errors import ConfigurationError

SECRET = "a secret of the test, long enough"
HOOK = "a2e-0123456789abcdefghij"


def test_a_token_names_its_start_and_fits() -> None:
    made = make_token(SECRET, HOOK)
    assert len(made) == 68 <= MAX_TOKEN_CHARS
    assert verify_token(SECRET, made.encode()) == HOOK
    assert SECRET not in made
    assert len({make_token(SECRET, new_mark()) for _ in range(50)}) == 50


def test_a_token_of_another_secret_is_none() -> None:
    assert verify_token(SECRET + "x", make_token(SECRET, HOOK).encode()) is None
    assert verify_token(SECRET, make_token(SECRET + "x", HOOK).encode()) is None


def test_a_secret_may_be_any_bytes() -> None:
    odd = "\udcff\udc80 é, as the environment gives it"
    assert verify_token(odd, make_token(odd, HOOK).encode()) == HOOK


def test_every_changed_byte_is_noticed() -> None:
    made = make_token(SECRET, HOOK).encode()
    for place in range(len(made)):
        for other in (b"A", b"B", b"b", b"-", b"\x00", b"\xff"):
            changed = made[:place] + other + made[place + 1 :]
            assert changed == made or verify_token(SECRET, changed) is None
    for odd in (made + b"=", made + b" ", b" " + made, made[:-1], made * 2, made + b"\n"):
        assert verify_token(SECRET, odd) is None


@given(st.binary(max_size=400) | st.text(max_size=300).map(str.encode))
def test_nothing_else_is_a_token(given: bytes) -> None:
    assert verify_token(SECRET, given) is None


def test_the_secret_is_shown_nowhere() -> None:
    webhook = WebhookTarget("https://x.example/a2e", SECRET)
    assert SECRET not in repr(webhook)
    made = webhook.inputs(HOOK)
    assert made["webhook_url"] == "https://x.example/a2e"
    shown = redact(f"body was {made}")
    assert HOOK not in shown
    assert made["webhook_token"][-43:] not in shown


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example/a2e",
        "https://x.example:8443/a2e/?app=1",
        "http://127.0.0.1:8080/",
        "http://localhost:1/a2e",
        "http://[::1]:80/",
        "https://x.example/" + "a" * 2030,
    ],
)
def test_where_events_may_go(url: str) -> None:
    assert clean_webhook_url(url) == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://x.example/a2e", "must begin with https://"),
        ("http://10.0.0.7/a2e", "must begin with https://"),
        ("http://127.0.0.1.x.example/", "must begin with https://"),
        ("https://u:p@x.example/", "must not contain credentials"),
        ("https://x.example/#here", "must not contain credentials or a fragment"),
        ("https://x.example/" + "a" * 2031, "has 2049 characters; the service accepts"),
        ("https://x.example/\n", "must look like"),
        ("//x.example", "must look like"),
    ],
)
def test_where_events_may_not_go(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        clean_webhook_url(url)


def test_a_secret_must_be_there_and_long() -> None:
    assert clean_webhook_secret({"A2E_WEBHOOK_SECRET": f" {SECRET}\n"}) == SECRET
    for text, says in ((None, "is not set"), (" ", "is not set"), ("short-one", "is shorter")):
        env = {} if text is None else {"A2E_WEBHOOK_SECRET": text}
        with pytest.raises(ConfigurationError, match=says) as caught:
            clean_webhook_secret(env)
        assert "secrets.token_urlsafe(32)" in str(caught.value)
        assert "short-one" not in str(caught.value)


def test_an_event_counts_once_per_interval() -> None:
    events = RecentEvents(max_events=3)
    assert events.record("a", 1.0, 2.0)
    assert not events.record("a", 2.9, 2.0)
    assert events.last_received_at("a") == 1.0
    assert events.record("a", 3.0, 2.0)
    for n, hook in enumerate("bcd"):
        assert events.record(hook, 4.0 + n, 2.0)
    assert events.last_received_at("a") is None
    assert [events.last_received_at(hook) for hook in "bcd"] == [4.0, 5.0, 6.0]
    assert events.last_received_at(None) is None
