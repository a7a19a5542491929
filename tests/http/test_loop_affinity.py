"""Errors for using a client where it cannot work."""

import pytest

from a2e_async._core.http.loop_affinity import closed_error, forked_process_error, wrong_loop_error
from a2e_async.errors import A2EError, ClientClosed, ConfigurationError


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (wrong_loop_error(), ConfigurationError, "another event loop"),
        (forked_process_error(), ConfigurationError, "forked"),
        (closed_error(), ClientClosed, "client is closed"),
    ],
)
def test_each_says_what_to_do(error: A2EError, kind: type[A2EError], words: str) -> None:
    assert type(error) is kind
    assert words in str(error)
    assert "A2E()" in str(error)
    assert "blocking" not in str(error)


def test_a_call_is_named_when_it_is_known() -> None:
    assert str(closed_error("GET /x")).startswith("GET /x: the client is closed.")
