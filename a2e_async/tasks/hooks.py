"""Webhooks as a start and a receiver see them: the token that comes back (pure).

A start's id is not known when it is sent, so its token names the start by its mark, its *hook*,
and proves by an HMAC that this client made it. Nothing has to be kept to check one: any process
with the secret can, before the start's answer has come and after a restart.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from collections import OrderedDict
from typing import Final

from attrs import field, frozen

from a2e_async.redact import Secret

TOKEN_MOST: Final = 256
"""Characters of a token that the service takes."""

TICKS: Final = 15
RAREST: Final = 30.0
"""While events come, a task is looked at every 15 ticks, at most every 30 s, lest one was lost.

A lost event costs half of that on average, 15 s at the usual tick of 2 s. Waiting by looks alone
costs half a tick, 1 s, each time. So the mean delay is the smaller one as long as fewer than one
event in 15 is lost, at a fifteenth of the looks. Where more are lost, see `schedule.MISSED`."""

REMEMBERED: Final = 10_000
"""Starts whose events are remembered, should one come before its start's answer does."""

_TOKEN: Final = re.compile(r"(a2e-[0-9a-v]{20})\.([A-Za-z0-9_\-]{43})")


def _webhook_secret(text: str | Secret) -> Secret:
    return Secret(text, "[webhook secret]")


@frozen
class Webhook:
    """Where the service is to send its events, and the secret that signs their tokens."""

    url: str = field(repr=False)
    secret: Secret = field(converter=_webhook_secret)

    def inputs(self, hook: str) -> dict[str, str]:
        """Return the inputs that ask for the events of the start of this hook."""
        return {"webhook_url": self.url, "webhook_token": token(self.secret, hook)}


def token(secret: str | Secret, hook: str) -> str:
    """Return the token of a hook: 68 characters."""
    said = secret.reveal() if isinstance(secret, Secret) else secret
    key = said.encode("utf-8", "surrogateescape")  # as the environment gave it
    digest = hmac.digest(key, b"a2e webhook " + hook.encode(), "sha256")
    return f"{hook}.{urlsafe_b64encode(digest).decode().rstrip('=')}"


def hook_of(secret: str | Secret, given: bytes) -> str | None:
    """Return the hook of a token that was made with this secret; None for any other bytes."""
    if len(given) > TOKEN_MOST or not given.isascii():
        return None
    found = _TOKEN.fullmatch(given.decode())
    if found is None or not hmac.compare_digest(given, token(secret, found[1]).encode()):
        return None
    return found[1]


def rarity(interval: float) -> float:
    """Return how many intervals pass between two looks at a task while events come."""
    return max(1.0, min(TICKS * interval, RAREST) / interval)


class Heard:
    """Which events came, and when last; bounded. Times are seconds on the caller's clock."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._at: OrderedDict[str, float] = OrderedDict()
        self._most = most

    def note(self, hook: str, now: float, again: float) -> bool:
        """Take an event in. Return whether it is news: the first in ``again`` seconds."""
        last = self._at.get(hook)
        if last is not None and now - last < again:
            return False
        self._at[hook] = now
        self._at.move_to_end(hook)
        if len(self._at) > self._most:
            self._at.popitem(last=False)
        return True

    def at(self, hook: str | None) -> float | None:
        """Return when an event of this hook last came."""
        return None if hook is None else self._at.get(hook)
