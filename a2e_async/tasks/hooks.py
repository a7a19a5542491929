"""Webhook tokens, which a start sends and the receiver verifies (pure).

A task's id is not known when its start is sent. So the token identifies the start by its webhook id
(the mark of the start) and proves by an HMAC that this client made it. Verifying one needs no
stored state: any process with the secret can do it, even before the start's response has arrived
and after a restart.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from collections import OrderedDict
from typing import Final

from attrs import field, frozen

from a2e_async.redact import Secret

TOKEN_MOST: Final = 256
"""Maximum length of a token that the service accepts."""

TICKS: Final = 15
"""Poll intervals between two polls of a task while webhook events arrive, in case one is lost.

At the default interval of 2 s a lost event costs 15 s on average, half of these 15 intervals;
polling at every interval costs 1 s on average for each task. So the mean delay is lower with
webhooks as long as fewer than one event in 15 is lost, at a fifteenth of the requests. If more are
lost, see `schedule.MAX_MISSED_EVENTS`.
"""
RAREST: Final = 30.0
"""Upper limit of that time (s)."""

REMEMBERED: Final = 10_000
"""Starts whose events are remembered, in case one arrives before the response of its start."""

_TOKEN: Final = re.compile(r"(a2e-[0-9a-v]{20})\.([A-Za-z0-9_\-]{43})")


def _webhook_secret(text: str | Secret) -> Secret:
    return Secret(text, "[webhook secret]")


@frozen
class Webhook:
    """The URL that receives the service's events, and the secret that signs their tokens."""

    url: str = field(repr=False)
    secret: Secret = field(converter=_webhook_secret)

    def inputs(self, hook: str) -> dict[str, str]:
        """Return the start inputs that ask for webhook events."""
        return {"webhook_url": self.url, "webhook_token": token(self.secret, hook)}


def token(secret: str | Secret, hook: str) -> str:
    """Return the signed token of a webhook id: 68 characters."""
    text = secret.reveal() if isinstance(secret, Secret) else secret
    key = text.encode("utf-8", "surrogateescape")  # the bytes of the environment variable
    digest = hmac.digest(key, b"a2e webhook " + hook.encode(), "sha256")
    return f"{hook}.{urlsafe_b64encode(digest).decode().rstrip('=')}"


def hook_of(secret: str | Secret, given: bytes) -> str | None:
    """Return the webhook id of a token signed with this secret, None for any other bytes."""
    if len(given) > TOKEN_MOST or not given.isascii():
        return None
    found = _TOKEN.fullmatch(given.decode())
    if found is None or not hmac.compare_digest(given, token(secret, found[1]).encode()):
        return None
    return found[1]


def rarity(interval: float) -> float:
    """Return how many poll intervals pass between two polls while webhook events arrive."""
    return max(1.0, min(TICKS * interval, RAREST) / interval)


class Heard:
    """The most recent event of each start, bounded. Times are seconds of the caller's clock."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._at: OrderedDict[str, float] = OrderedDict()
        self._most = most

    def note(self, hook: str, now: float, again: float) -> bool:
        """Record an event; return False if the last one is less than ``min_interval`` s old."""
        last = self._at.get(hook)
        if last is not None and now - last < again:
            return False
        self._at[hook] = now
        self._at.move_to_end(hook)
        if len(self._at) > self._most:
            self._at.popitem(last=False)
        return True

    def at(self, hook: str | None) -> float | None:
        """Return when the last event of this webhook id arrived, None if none did."""
        return None if hook is None else self._at.get(hook)
