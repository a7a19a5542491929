"""What the service says to this key: balance, lists, a quote. All of it free."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from a2e_async.cli.doctor.findings import Finding
from a2e_async.cli.printer import one_line
from a2e_async.cli.show import coins_word
from a2e_async.client import A2E
from a2e_async.errors import (
    A2EError,
    AuthenticationError,
    DecodeError,
    NotFound,
    PermissionDenied,
    RateLimited,
)

LISTED: Final = ("image_to_video", "dubbing", "talking_video")
"""Kinds whose lists are asked for: what is wrong with a key or a plan shows in few."""

SAMPLE = "https://example.invalid/portrait.png"
"""Never fetched: a quote looks at the inputs only."""


async def look(a2e: A2E) -> list[Finding]:
    """Ask what is free. After a refused key nothing else is asked."""

    async def balance() -> str:
        return coins_word((await a2e.credits.balance()).coins)

    async def first_page(kind: str) -> str:
        page = await a2e.kind(kind).list(page_size=1)
        return "answers" if page.total is None else f"answers, {page.total} tasks"

    found = [await _ask("balance", balance)]
    if found[0].level == "bad":
        return found
    lists = [await _ask(f"list {kind}", partial(first_page, kind)) for kind in LISTED]
    return [*found, *lists, await quote(a2e)]


async def quote(a2e: A2E) -> Finding:
    """Ask for a price; without one a start still works."""
    try:
        coins = await a2e.image_to_video.quote(
            image_url=SAMPLE, prompt="the person smiles", negative_prompt="blurry", video_time=5
        )
    except A2EError as error:
        return Finding("warn", "quote", one_line(str(error)), "starts work without it")
    if coins is None:
        return Finding("warn", "quote", "the service names no price", "starts work without it")
    return Finding("ok", "quote", f"image_to_video of 5 s: {coins_word(coins)}")


async def _ask(what: str, call: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding("ok", what, await call())
    except A2EError as error:
        return Finding("bad", what, one_line(str(error)), _mend(error))


def _mend(error: A2EError) -> str:
    if isinstance(error, AuthenticationError):
        return "401 means that the key is wrong or was withdrawn: copy it again, or make a new one"
    if isinstance(error, PermissionDenied):
        return (
            "403 means that the key is known but may not do this: most often the plan has no API "
            "access; the service's own words are above"
        )
    if isinstance(error, NotFound):
        return "404 means that this is not the API's address: check the base URL"
    if isinstance(error, RateLimited):
        return "429 means too many requests: wait, or stop other programs with this account"
    if isinstance(error, DecodeError):
        return "something else than the API answered: check the base URL and proxies"
    return "try again later; if it stays, check the network lines above"
