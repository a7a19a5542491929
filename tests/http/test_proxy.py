"""Which proxies are used, before anything is sent."""

import pytest

from a2e_async._core.http.call import check_proxy
from a2e_async.errors import ConfigurationError


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("http://proxy.example", "http://proxy.example"),
        ("https://me:pass@proxy.example:3128/", "https://me:pass@proxy.example:3128/"),
        ("HTTP://proxy.example:80", "HTTP://proxy.example:80"),
        ("http://[::1]:3128", "http://[::1]:3128"),
        ("proxy.example:3128", "http://proxy.example:3128"),
        ("me:pass@127.0.0.1:3128", "http://me:pass@127.0.0.1:3128"),
    ],
)
def test_taken(given: str, used: str) -> None:
    assert check_proxy(given) == used


@pytest.mark.parametrize(
    "given",
    [
        "",
        " ",
        "nonsense",
        "http://",
        "http://:3128",
        "https://[bad",
        "https://me:secret-word@[bad",
        "http://me:secret-word@",
        "http://me:secret-word@proxy.example:port",
        "http://me:secret-word@proxy.example:99999",
        "http://me:secret-word@proxy.example:0",
        "http://me:secret-word@proxy .example:80",
        "me:secret-word@proxy.example",
        "proxy.example:",
        "http://proxy.example\n:80",
        "http://proxy.example:80/\x00",
        "socks5://me:secret-word@127.0.0.1:1080",
        "ftp://proxy.example",
        "//proxy.example:80",
    ],
)
def test_refused_without_a_word_of_its_credentials(given: str) -> None:
    with pytest.raises(ConfigurationError, match="proxy") as caught:
        check_proxy(given)
    assert "secret-word" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
