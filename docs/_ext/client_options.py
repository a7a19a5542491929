"""The options of `A2E` as a list, in Markdown: types and defaults from its signature."""

import inspect
import re
from typing import Any, Final

from a2e_async import A2E

OPTIONS: Final = {
    "api_key": ("", "The account's API key. If omitted, `A2E_API_KEY` is used."),
    "base_url": (
        "",
        "The host of the API. If omitted, `A2E_BASE_URL` is used, else the service's global host.",
    ),
    "account": (
        "",
        "Your own name for the account, under which a journal stores its entries; a new API key "
        "then keeps them. If omitted, `A2E_ACCOUNT` is used, else a digest of the API key.",
    ),
    "request_timeout": ("s", "Time limit for one response of the API, not including retries."),
    "start_timeout": (
        "s",
        "Time limit for the response to a start, which the service may delay for two minutes. It "
        "does not limit the task.",
    ),
    "poll_interval": ("s", "Time between two polls of a task."),
    "rate": (
        "requests/s",
        "Rate limit for all requests to the API; `None` for no limit. Polling uses at most half.",
    ),
    "burst": ("requests", "How many requests may be sent at once before `rate` applies."),
    "max_connections": (
        "connections",
        "At most this many connections to the API. Starts use at most three quarters of them.",
    ),
    "max_unfinished": (
        "tasks",
        "At most this many unfinished tasks of this client; further starts wait for a slot. "
        "`None` for no limit.",
    ),
    "retry": (
        "",
        "How requests that are safe to repeat are [retried](../how-to/proxies.md#retries).",
    ),
    "journal": (
        "",
        "A path, a PostgreSQL URL or a `Journal`: each start is recorded there before it is sent.",
    ),
    "on_unknown": (
        "",
        "What to do when a start got no response and its task cannot be found: raise, or send it "
        "again once its absence from the list is proved, 3 minutes later.",
    ),
    "mark_names": (
        "",
        "Append a unique mark to the names that you give, so that a lost start is found by it.",
    ),
    "budget": ("coins", "The limit for everything that this client pays: a number, or a `Budget`."),
    "webhook_url": (
        "",
        "The URL at which `a2e.webhooks` is served; starts ask the service to send events there. "
        "It needs a secret in `A2E_WEBHOOK_SECRET`.",
    ),
    "on_event": ("", "A function that is called with each event of `a2e_async.events`."),
    "language": ("", "The language of the service's messages."),
    "trust_env": ("", "Use the proxy settings of the environment."),
    "kinds": (
        "",
        "Kinds of task that this package does not have: declarations, or the path of a TOML file "
        "with them.",
    ),
    "proxy": ("", "The URL of an HTTP or HTTPS proxy for all requests."),
}
"""Unit and meaning of each option, by its name."""


def client_options() -> str:
    """Return the list; every parameter of `A2E` must be in it, and no other."""
    parameters = inspect.signature(A2E).parameters
    if missing := set(parameters) ^ set(OPTIONS):
        raise ValueError(f"OPTIONS and A2E(...) differ in: {', '.join(sorted(missing))}")
    return "\n\n".join(_item(name, parameter) for name, parameter in parameters.items())


def _item(name: str, parameter: inspect.Parameter) -> str:
    unit, meaning = OPTIONS[name]
    facts = [f"`{_type(parameter.annotation)}`", f"default `{parameter.default!r}`"]
    if unit:
        facts.append(unit)
    return f"`{name}` ({', '.join(facts)})\n: {meaning}"


def _type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return re.sub(r"\b(?:a2e_async|collections|typing|os)(?:\.\w+)*\.(?=[A-Z])", "", text)
