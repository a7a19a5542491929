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

from a2e_async._core.redact import Secret

MAX_TOKEN_CHARS: Final = 256
"""Maximum length of a token that the service accepts."""

WEBHOOK_POLL_FACTOR: Final = 15
"""Poll intervals between two polls of a task while webhook events arrive, in case one is lost.

At the default interval of 2 s a lost event costs 15 s on average, half of these 15 intervals;
polling at every interval costs 1 s on average for each task. So the mean delay is lower with
webhooks as long as fewer than one event in 15 is lost, at a fifteenth of the requests. If more are
lost, see `schedule.MAX_MISSED_EVENTS`.
"""
MAX_WEBHOOK_POLL_INTERVAL: Final = 30.0
"""Upper limit of that time (s)."""

MAX_REMEMBERED_EVENTS: Final = 10_000
"""Starts whose events are remembered, in case one arrives before the response of its start."""

_TOKEN_PATTERN: Final = re.compile(r"(a2e-[0-9a-v]{20})\.([A-Za-z0-9_\-]{43})")


def _webhook_secret(text: str | Secret) -> Secret:
    return Secret(text, "[webhook secret]")


@frozen
class WebhookTarget:
    """The URL that receives the service's events, and the secret that signs their tokens."""

    url: str = field(repr=False)
    secret: Secret = field(converter=_webhook_secret)

    def inputs(self, webhook_id: str) -> dict[str, str]:
        """Return the start inputs that ask for webhook events."""
        return {"webhook_url": self.url, "webhook_token": make_token(self.secret, webhook_id)}


def make_token(secret: str | Secret, webhook_id: str) -> str:
    """Return the signed token of a webhook id: 68 characters."""
    text = secret.reveal() if isinstance(secret, Secret) else secret
    key = text.encode("utf-8", "surrogateescape")  # the bytes of the environment variable
    digest = hmac.digest(key, b"a2e webhook " + webhook_id.encode(), "sha256")
    return f"{webhook_id}.{urlsafe_b64encode(digest).decode().rstrip('=')}"


def verify_token(secret: str | Secret, token_bytes: bytes) -> str | None:
    """Return the webhook id of a token signed with this secret, None for any other bytes."""
    if len(token_bytes) > MAX_TOKEN_CHARS or not token_bytes.isascii():
        return None
    found = _TOKEN_PATTERN.fullmatch(token_bytes.decode())
    if found is None or not hmac.compare_digest(token_bytes, make_token(secret, found[1]).encode()):
        return None
    return found[1]


def webhook_poll_factor(interval: float) -> float:
    """Return how many poll intervals pass between two polls while webhook events arrive."""
    return max(1.0, min(WEBHOOK_POLL_FACTOR * interval, MAX_WEBHOOK_POLL_INTERVAL) / interval)


class RecentEvents:
    """The most recent event of each start, bounded. Times are seconds of the caller's clock.

    Owned by the `Wakeups` of a poller, which alone changes it.
    """

    def __init__(self, max_events: int = MAX_REMEMBERED_EVENTS) -> None:
        self._received_at: OrderedDict[str, float] = OrderedDict()
        self._max_events = max_events

    def record(self, webhook_id: str, now: float, min_interval: float) -> bool:
        """Record an event; return False if the last one is less than ``min_interval`` s old."""
        last = self._received_at.get(webhook_id)
        if last is not None and now - last < min_interval:
            return False
        self._received_at[webhook_id] = now
        self._received_at.move_to_end(webhook_id)
        if len(self._received_at) > self._max_events:
            self._received_at.popitem(last=False)
        return True

    def last_received_at(self, webhook_id: str) -> float | None:
        """Return when the last event of this webhook id arrived, None if none did."""
        return self._received_at.get(webhook_id)
