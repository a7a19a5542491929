"""API keys and hosts: what is accepted, what is refused, and no message shows the key."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from a2e_async._core.config import DEFAULT_BASE_URL, clean_api_key, clean_base_url, resolve_account
from a2e_async.errors import ConfigurationError

KEY = "sk_test-abcDEF0123456789.x"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "  ",
        f'"{KEY}"',
        f"'{KEY}'",
        f"`{KEY}`",
        f"\u201c{KEY}\u201d",
        f"\u2018{KEY}\u2019",
        f"\u00ab{KEY}\u00bb",
        f"\u201e{KEY}\u201c",
        f"{KEY}'",
        f"'{KEY}",
        f"{KEY} {KEY}",
        f"{KEY}\n{KEY}",
        f"{KEY}\t{KEY}",
        f"{KEY}\x00",
        f"{KEY}\x7f",
        f"{KEY}\u00a0x",
        f"{KEY}\u200b",
        f"{KEY}é",
        f"Bearer {KEY}",
        f"bearer {KEY}",
        f"BEARER\t{KEY}",
        f"Bearer: {KEY}",
        "Bearer",
        "Bearer ",
        f"Authorization: Bearer {KEY}",
        KEY.encode(),
        5,
        ["x"],
    ],
)
def test_a_damaged_key_is_refused_and_not_shown(key: Any) -> None:
    """A key that can only give 401 is refused locally; the message says why, without the key."""
    for given_, env in ((key, None), (None, key)):
        with pytest.raises(ConfigurationError) as caught:
            clean_api_key(given_, env)
        assert KEY not in str(caught.value)
        assert KEY[:8] not in str(caught.value)
        assert str(caught.value).endswith(".")


@given(st.text(min_size=1, max_size=60))
def test_any_text_is_a_clean_key_or_refused_without_being_shown(text: str) -> None:
    """A key that passes fits a header; one that does not is not in the message."""
    try:
        key = clean_api_key(text)
    except ConfigurationError as error:
        if len(text.strip()) > 8:
            assert text.strip() not in str(error)  # noqa: PT017  # any text may pass or be refused
    else:
        assert key == text.strip()
        assert key.isascii()
        assert all(" " < c < "\x7f" for c in key)
        assert key[0] not in "\"'`"


def test_the_argument_goes_before_the_environment() -> None:
    """Arguments win; an empty argument is an error rather than a silent fallback."""
    env = {"A2E_API_KEY": "  from_env\n", "A2E_BASE_URL": "https://env.example/api/v1"}
    assert resolve_account(None, None, env).api_key.reveal() == "from_env"
    assert resolve_account(None, None, env).base_url == "https://env.example"
    made = resolve_account(f" {KEY} ", "https://arg.example", env)
    assert (made.api_key.reveal(), made.base_url) == (KEY, "https://arg.example")
    assert KEY not in repr(made)
    assert resolve_account(KEY, None, {}).base_url == DEFAULT_BASE_URL
    with pytest.raises(ConfigurationError, match="no API key"):
        resolve_account("", None, env)
    with pytest.raises(ConfigurationError, match=r"A2E_API_KEY.*a2e demo"):
        resolve_account(None, None, {})


@pytest.mark.parametrize(
    ("said", "base"),
    [
        ("https://video.a2e.ai", "https://video.a2e.ai"),
        ("https://video.a2e.ai/", "https://video.a2e.ai"),
        ("https://video.a2e.ai/api", "https://video.a2e.ai"),
        ("https://video.a2e.ai/api/v1", "https://video.a2e.ai"),
        ("https://video.a2e.ai/api/v1//", "https://video.a2e.ai"),
        ("  HTTPS://VIDEO.A2E.AI/api/v1/ \n", "https://video.a2e.ai"),
        ("video.a2e.com.cn", "https://video.a2e.com.cn"),
        ("video.a2e.ai/api/v1", "https://video.a2e.ai"),
        ("https://video.a2e.ai:8443", "https://video.a2e.ai:8443"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://127.0.0.1:1/api/v1", "http://127.0.0.1:1"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("https://[2001:db8::2]", "https://[2001:db8::2]"),
        ("http://sandbox", "http://sandbox"),
        ("http://10.1.2.3", "http://10.1.2.3"),
        ("http://a2e.internal:80", "http://a2e.internal:80"),
    ],
)
def test_hosts_in_their_forms(said: str, base: str) -> None:
    """Scheme, host and port remain; cleaning again changes nothing."""
    assert clean_base_url(said) == base
    assert clean_base_url(base) == base


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("https://api.a2e.ai", "documentation"),
        ("https://API.A2E.AI/api/v1", "documentation"),
        ("api.a2e.ai", "documentation"),
        (f"https://{KEY}@video.a2e.ai", "credentials"),
        (f"https://u:{KEY}@video.a2e.ai", "credentials"),
        (f"https://:{KEY}@video.a2e.ai", "credentials"),
        (f"https://video.a2e.ai?key={KEY}", "query"),
        (f"https://video.a2e.ai/#{KEY}", "fragment"),
        ("https://video.a2e.ai:99999", "port"),
        (f"https://video.a2e.ai:{KEY}", "port"),
        ("https://video.a2e.ai:0", "port"),
        ("https://[::1", "host"),
        ("https://]", "host"),
        ("https://video\u2100a2e.ai", "host"),
        ("https://", "look like"),
        (" ", "look like"),
        ("ftp://video.a2e.ai", "look like"),
        ("https:///api/v1", "look like"),
        ("https://video a2e.ai", "look like"),
        ("https://video.a2e.ai/api/v2", "path"),
        ("https://video.a2e.ai/api/v1/userDubbing", "path"),
        ("https://video.a2e.ai/" + "x" * 500 + KEY, "path"),
        ("http://video.a2e.ai", "unencrypted"),
        ("http://8.8.8.8", "unencrypted"),
        ("http://134744072", "unencrypted"),
        ("http://0x08080808", "unencrypted"),
        ("http://[2606:4700::1]", "unencrypted"),
        ("http://localhost.example.com", "unencrypted"),
        (b"https://video.a2e.ai", "text"),
        (5, "text"),
    ],
)
def test_unusable_hosts_are_refused_with_the_reason(said: Any, why: str) -> None:
    """Each mistake has its own message, and none repeats a secret of the URL."""
    with pytest.raises(ConfigurationError, match=why) as caught:
        clean_base_url(said)
    assert KEY not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert len(str(caught.value)) < 250


@given(st.text(max_size=40))
def test_any_text_is_a_host_or_a_configuration_error(text: str) -> None:
    """No text raises anything else, and what passes is stable."""
    for said in (text, "https://" + text, "http://" + text):
        try:
            base = clean_base_url(said)
        except ConfigurationError:
            continue
        assert base.startswith(("https://", "http://"))
        assert clean_base_url(base) == base
