"""Checks of the service with this key: balance, lists and a quote. All are free of charge."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from a2e_async.cli.doctor.finding import Finding
from a2e_async.cli.error_messages import error_message
from a2e_async.cli.formatting import format_coins
from a2e_async.client import A2E
from a2e_async.errors import (
    A2EError,
    AuthenticationError,
    DecodeError,
    NotFound,
    PermissionDenied,
    RateLimited,
)

LISTED_KINDS: Final = ("image_to_video", "dubbing", "talking_video")
"""Kinds whose lists are requested; a few suffice to show a problem with the key or plan."""

SAMPLE_URL = "https://example.invalid/portrait.png"
"""Never downloaded: a quote reads only the inputs."""


async def check_service(a2e: A2E) -> list[Finding]:
    """Request the balance, lists and a quote; stop after the balance if the key is rejected."""

    async def balance() -> str:
        return format_coins((await a2e.credits.balance()).coins)

    async def first_page(kind: str) -> str:
        page = await a2e.kind(kind).list(page_size=1)
        return "answers" if page.total is None else f"answers, {page.total} tasks"

    balance_finding = await _try("balance", balance)
    if balance_finding.level == "bad":
        return [balance_finding]
    lists = [await _try(f"list {kind}", partial(first_page, kind)) for kind in LISTED_KINDS]
    return [balance_finding, *lists, await quote(a2e)]


async def quote(a2e: A2E) -> Finding:
    """Request a price. A failure is only a warning, because starts do not need a quote."""
    try:
        coins = await a2e.image_to_video.quote(
            image_url=SAMPLE_URL, prompt="the person smiles", negative_prompt="blurry", video_time=5
        )
    except A2EError as error:
        return Finding("warn", "quote", error_message(error), "starts work without it")
    if coins is None:
        return Finding("warn", "quote", "the service quotes no price", "starts work without it")
    return Finding("ok", "quote", f"image_to_video of 5 s: {format_coins(coins)}")


async def _try(what: str, call: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding("ok", what, await call())
    except A2EError as error:
        return Finding("bad", what, error_message(error), _advice_for(error))


def _advice_for(error: A2EError) -> str:
    if isinstance(error, AuthenticationError):
        return "401: the key is wrong or was revoked; copy it again, or create a new one"
    if isinstance(error, PermissionDenied):
        return (
            "403: the key is valid but does not allow this; most often the plan has no API access"
        )
    if isinstance(error, NotFound):
        return "404: this is not the API's address; check --base-url and A2E_BASE_URL"
    if isinstance(error, RateLimited):
        return "429: too many requests; wait, or stop other programs that use this account"
    if isinstance(error, DecodeError):
        return "not a response of the API; check --base-url, A2E_BASE_URL and proxies"
    return "try again later; if it fails again, see the network checks above"
