"""The options of a client: validated in one place, also where others are derived from them."""

from typing import Any

import pytest
from attrs import fields

from a2e_async import A2E, Priority
from a2e_async._options import ClientOptions
from a2e_async.errors import ConfigurationError
from a2e_async.journal import State

KEY = "sk_a2e_topsecret_0123456789"
PASSWORD = "pr0xypassw0rd"


def client(**options: Any) -> A2E:
    return A2E(KEY, base_url="http://127.0.0.1:1", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"request_timeout": 0}, "request_timeout must be a number above 0, got 0."),
        ({"start_timeout": True}, "start_timeout must be a number above 0, got True."),
        ({"priority": 1}, "priority must be a Priority, got 1."),
        ({"priority": State.SAVED}, "priority must be a Priority, got <State.SAVED: 4>."),
    ],
)
def test_derived_options_are_validated(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        client().with_options(**options)
    assert str(caught.value) == message


def test_derived_options_keep_the_others() -> None:
    first = client(start_timeout=7)
    second = first.with_options(request_timeout=5, priority=Priority.POLL).for_caller("one")
    third = second.with_options(start_timeout=9)
    made = third._options
    assert (made.request_timeout, made.start_timeout, made.priority) == (5, 9, Priority.POLL)
    assert made.tenant is not None
    assert made.tenant.name == "one"
    assert (first._options.start_timeout, second._options.start_timeout) == (7, 7)


def test_options_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A2E_WEBHOOK_SECRET", "webhooks3cret" * 4)
    a2e = client(proxy=f"http://me:{PASSWORD}@127.0.0.1:1", webhook_url="https://app.example/")
    for one in (a2e, a2e.with_options(request_timeout=5), a2e.for_caller("one")):
        options = one._options
        shown = repr([options, *(getattr(options, f.name) for f in fields(ClientOptions))])
        for secret in (KEY, PASSWORD, "webhooks3cret"):
            assert secret not in shown
