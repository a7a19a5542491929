"""Which error a refusal becomes, what proves one, and the advice in it."""

import re

import pytest

from a2e_async._core.http.error_classes import _phrases, advice_for, error_class_for, is_refusal
from a2e_async.errors import (
    ApiError,
    AuthenticationError,
    ContentRejected,
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, None, InvalidRequest),
        (401, None, AuthenticationError),
        (402, None, InsufficientCredits),
        (403, None, PermissionDenied),
        (404, None, NotFound),
        (405, None, InvalidRequest),
        (429, None, RateLimited),
        (499, None, InvalidRequest),
        (500, None, ServerError),
        (501, None, ServerError),
        (199, None, ApiError),
        (200, None, ApiError),
        (302, None, ApiError),
        (399, None, ApiError),
    ],
)
def test_a_status_has_its_class(status: int, code: int | None, kind: type[ApiError]) -> None:
    assert error_class_for(status, code, "") is kind


@pytest.mark.parametrize("status", [200, 201, 299])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((400, InvalidRequest), (401, AuthenticationError), (402, InsufficientCredits)),
        *((403, PermissionDenied), (404, NotFound), (429, RateLimited)),
        *((500, ServerError), (599, ServerError)),
        *((399, ApiError), (600, ApiError), (0, ApiError), (None, ApiError)),
    ],
)
def test_under_a_success_a_code_is_read_as_a_status(
    status: int, code: int | None, kind: type[ApiError]
) -> None:
    assert error_class_for(status, code, "") is kind


@pytest.mark.parametrize("status", [199, 300, 400])
def test_under_any_other_status_it_is_not(status: int) -> None:
    assert error_class_for(status, 401, "") is error_class_for(status, None, "")


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        *(("Rate limited", RateLimited), ("too many requests, nsfw", RateLimited)),
        *(("out of coins", InsufficientCredits), ("credits exhausted: nsfw", InsufficientCredits)),
        *(("a celebrity, unauthorized", ContentRejected), ("NSFW for free users", ContentRejected)),
        *(("free users cannot, token expired", PermissionDenied),),
        *(
            ("invalid api key", AuthenticationError),
            ("unauthorised; not found", AuthenticationError),
        ),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_words_decide_the_first_kind_that_fits(
    status: int, message: str, kind: type[ApiError]
) -> None:
    assert error_class_for(status, None, message) is kind


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (200, "the voice does not exist", NotFound),
        (400, "the voice does not exist", InvalidRequest),
        (403, "the token is expired", PermissionDenied),
        (405, "the token is expired", InvalidRequest),
        (201, "the token is expired", ApiError),
        (403, "a minor", ContentRejected),
        (402, "a minor", InsufficientCredits),
        (400, "a minor", InvalidRequest),
        (404, "rate limit", NotFound),
        (500, "rate limit", ServerError),
    ],
)
def test_some_words_count_under_some_statuses(
    status: int, message: str, kind: type[ApiError]
) -> None:
    assert error_class_for(status, None, message) is kind


@pytest.mark.parametrize("code", [1003, 1004])
def test_the_codes_of_an_age_check_come_before_words(code: int) -> None:
    assert error_class_for(200, code, "rate limit") is ContentRejected
    assert error_class_for(402, code, "") is InsufficientCredits
    assert error_class_for(400, code + 2, "") is InvalidRequest


@pytest.mark.parametrize("quotes", ['""', "“”", "``", "''"])
def test_what_a_message_quotes_does_not_decide(quotes: str) -> None:
    """It leaves a gap, too: the words around it are not joined to others."""
    first, last = quotes
    assert error_class_for(400, None, f"prompt {first}nsfw{last} refused") is InvalidRequest
    assert error_class_for(400, None, f"rate{first}x{last}limit") is (
        RateLimited if first != "'" else InvalidRequest
    )
    assert error_class_for(400, None, f"out {first}x{last} of coins") is InvalidRequest


def test_words_far_behind_do_not_decide() -> None:
    assert error_class_for(400, None, "x" * 1995 + " nsfw") is ContentRejected
    assert error_class_for(400, None, "x" * 1996 + " nsfw") is InvalidRequest


def test_words_are_whole_and_of_any_case() -> None:
    found = _phrases("a b", "c+")
    assert isinstance(found, re.Pattern)
    texts = ("x A B.", "ccC", "a bx", "xc", "a", "b")
    assert [text for text in texts if found.search(text)] == ["x A B.", "ccC"]


REFUSING = {200, 400, 401, 402, 403, 404, 405, 413, 415, 422, 429}


@pytest.mark.parametrize("status", [*REFUSING, 201, 204, 301, 302, 408, 409, 425, 451, 499, 500])
@pytest.mark.parametrize("code", [None, 0, 1, 499, 600])
def test_the_api_refuses_under_some_statuses(status: int, code: int | None) -> None:
    assert is_refusal(status, code, from_api=True) is (status in REFUSING)
    assert is_refusal(status, code, from_api=False) is (status == 429)


@pytest.mark.parametrize("code", [500, 501, 599])
def test_a_fault_of_the_server_refuses_nothing(code: int) -> None:
    assert not is_refusal(200, code, from_api=True)
    assert is_refusal(429, code, from_api=True)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        *((AuthenticationError, "Check the API key"), (InsufficientCredits, "Add coins")),
        *((RateLimited, "Try again later"), (NotFound, "deleted")),
    ],
)
def test_advice_is_that_of_the_class(kind: type[ApiError], word: str) -> None:
    assert word in advice_for(kind, None)
    assert "hosts of the service are in use" in advice_for(kind, 1001)


def test_where_nothing_is_known_nothing_is_advised() -> None:
    assert advice_for(ApiError, None) == ""
    assert advice_for(ApiError, 1002) == ""
    assert (
        advice_for(ApiError, 1001)
        == "All streaming hosts of the service are in use; try again later."
    )
