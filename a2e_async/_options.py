"""The options of a client, validated; imported when the first client is created."""

import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from attrs import Attribute, field, frozen

from a2e_async._core.config import Account, clean_webhook_secret, clean_webhook_url
from a2e_async._core.http.call import check_proxy
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.http.retry import RetryPolicy
from a2e_async._core.redact import redact
from a2e_async.errors import ConfigurationError

if TYPE_CHECKING:
    from a2e_async._core.journal.protocol import Journal
    from a2e_async._core.submission.budget import Budget
    from a2e_async._core.tasks.kind_registry import KindRegistry
    from a2e_async._core.tasks.tenant import Tenant
    from a2e_async._core.webhooks.tokens import WebhookTarget
    from a2e_async.events import Event

POLL_RATE_SHARE: Final = 0.5
"""Maximum share of the rate limit for polls; the rest is left for starts."""


def open_journal(given: Any) -> "Journal | None":
    """Return the journal that `A2E` was given as a path, an address or an object. Connects nowhere.

    A text that is a database address is never taken for a path. Raises `ConfigurationError`.
    """
    if given is None:
        return None
    from a2e_async._core.journal.address import database_address

    if isinstance(given, str) and (database := database_address(given)) is not None:
        try:
            from a2e_async.contrib.postgres.journal import PostgresJournal
        except ImportError as error:
            raise ConfigurationError(
                "A journal in PostgreSQL needs psycopg: pip install 'a2e-async[postgres]'."
            ) from error
        return PostgresJournal(database)
    if isinstance(given, str | os.PathLike):
        from a2e_async._core.journal.sqlite import SqliteJournal

        return SqliteJournal(os.fspath(given))
    if all(hasattr(given, name) for name in ("bind", "begin", "advance", "watch_all")):
        made: Journal = given
        return made
    raise ConfigurationError(f"journal must be a path or a Journal, not {type(given).__name__}.")


def _hide_proxy(given: Any) -> Any:
    """Return a proxy as a URL that shows its password to no one who inspects the client."""
    return check_proxy(given) if isinstance(given, str) else given


def _to_budget(given: Any) -> "Budget | None":
    if given is None:
        return None
    from a2e_async._core.submission.budget import as_budget

    return as_budget(given)


def _to_webhook_target(given: Any) -> "WebhookTarget | None":
    if given is None:
        return None
    from a2e_async._core.webhooks.tokens import WebhookTarget

    if isinstance(given, WebhookTarget):
        return given
    return WebhookTarget(clean_webhook_url(given), clean_webhook_secret())


def _to_kinds(given: Any) -> "KindRegistry | None":
    if given is None:
        return None
    from a2e_async.kinds.registry import registry_of

    return registry_of(given)


def _must_be(
    wanted: str, is_valid: Callable[[Any], bool]
) -> "Callable[[object, Attribute[Any], Any], None]":
    def validate(_: object, attribute: "Attribute[Any]", value: Any) -> None:
        if not is_valid(value):
            given = redact(repr(value))
            raise ConfigurationError(f"{attribute.name} must be {wanted}, got {given:.60}.")

    return validate


def _is_positive(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value > 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check_language(_: object, __: object, value: Any) -> None:
    if not isinstance(value, str) or not value.replace("-", "").isalnum():
        raise ConfigurationError("language must look like en-US.")


_POSITIVE: Final = _must_be("a number above 0", _is_positive)
_COUNT: Final = "a whole number above 0"
_BOOL: Final = _must_be("True or False", lambda value: isinstance(value, bool))
_ON_UNKNOWN: Final = ("raise", "resend_may_pay_twice")


@frozen(kw_only=True, eq=False, repr=False)
class ClientOptions:
    """The options of one client, as `A2E` documents them; it has the defaults.

    Created and validated by `A2E`; those of `A2E.with_options` and `A2E.for_caller` are derived
    from it with `attrs.evolve`, which validates them in the same way. Raises `ConfigurationError`.
    """

    account: Account
    request_timeout: float = field(validator=_POSITIVE)
    start_timeout: float = field(validator=_POSITIVE)
    poll_interval: float = field(validator=_POSITIVE)
    burst: int = field(validator=[_POSITIVE, _must_be("at least 1", lambda value: value >= 1)])
    rate: float | None = field(
        validator=_must_be("a number above 0", lambda value: value is None or _is_positive(value))
    )
    max_connections: int = field(validator=_must_be(_COUNT, _is_count))
    max_unfinished: int | None = field(
        validator=_must_be(_COUNT, lambda value: value is None or _is_count(value))
    )
    mark_names: bool = field(validator=_BOOL)
    trust_env: bool = field(validator=_BOOL)
    on_event: "Callable[[Event], None] | None" = field(
        validator=_must_be("a function", lambda value: value is None or callable(value))
    )
    proxy: str | None = field(
        converter=_hide_proxy,
        validator=_must_be("a URL", lambda value: value is None or isinstance(value, str)),
    )
    webhook: "WebhookTarget | None" = field(converter=_to_webhook_target)
    """Made from ``webhook_url`` and A2E_WEBHOOK_SECRET."""
    language: str = field(validator=_check_language)
    on_unknown: str = field(
        validator=_must_be("'raise' or 'resend_may_pay_twice'", _ON_UNKNOWN.__contains__)
    )
    retry: RetryPolicy | None = field(
        validator=_must_be(
            "a RetryPolicy", lambda value: value is None or isinstance(value, RetryPolicy)
        )
    )
    journal: "Journal | None" = field(converter=open_journal)
    budget: "Budget | None" = field(converter=_to_budget)
    kinds: "KindRegistry | None" = field(converter=_to_kinds)
    """None if there are only those of the package."""
    priority: Priority | None = field(
        default=None,
        validator=_must_be(
            "a Priority", lambda value: value is None or isinstance(value, Priority)
        ),
    )
    tenant: "Tenant | None" = None
    """The caller that `A2E.for_caller` was called for; validated by it."""

    @property
    def poll_rate(self) -> float | None:
        """The rate limit of polls (requests/s), None for no limit."""
        return None if self.rate is None else self.rate * POLL_RATE_SHARE
