"""Words that users type into the search of the pages, each with the section that it should find.

The search ranks pages by how often a word occurs, so that a mention can come before the page on the
subject. An entry of the index comes first. The entries are here and not on the pages, because the
pages are also read as plain Markdown. Sphinx leaves the entries of unchanged pages out of the
search when it builds into a used directory; publish from an empty one.
"""

from typing import Any, Final

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

TERMS: Final = {
    "billing-safety": "billing, double charge, money",
    "billing-safety#after-the-start": "refund, refunds",
    "cli": "cli, command line, shell",
    "cli#exit-codes": "exit code, exit codes, exit status",
    "cli#environment-variables": "environment variable, environment variables",
    "how-to/agents#mcp-server": "mcp, mcp server",
    "how-to/batch": "batch, csv, jsonl",
    "how-to/bot": "bot, telegram, aiogram",
    "how-to/bot#discord": "discord",
    "how-to/fleet": "postgresql, postgres, fleet",
    "how-to/fleet#job-queue-procrastinate": "procrastinate, job queue",
    "how-to/many-users": "fairness, toobusy",
    "how-to/observability#logs": "logging, logs",
    "how-to/observability#opentelemetry": "opentelemetry, tracing, metrics",
    "how-to/observability#prometheus-and-grafana": "prometheus, grafana, dashboard, alerts",
    "how-to/proxies#connections-and-rate-limit": "rate limit, 429, max_connections",
    "how-to/proxies#proxies": "proxy, proxies",
    "how-to/proxies#retries": "retry, retries, backoff",
    "how-to/proxies#timeouts": "timeout, timeouts",
    "how-to/proxies#tls-certificates": "tls, ssl, certificate",
    "how-to/restart": "restart, resume, crash",
    "how-to/scripts": "synchronous, sync",
    "how-to/scripts#jupyter-notebooks": "jupyter, ipython, notebook",
    "how-to/testing": "pytest, testing, mock",
    "how-to/web-app": "fastapi, starlette, web app",
    "how-to/web-app#django": "django",
    "how-to/web-app#one-stream-for-all-jobs-of-a-user": "sse, progress",
    "how-to/webhooks": "webhook, webhooks, callback",
    "index#limits": "cancel, trio, limits",
    "polling": "poll, polling, poll_interval",
    "reference/batch#budgets": "budget, budgets, spending limit",
    "reference/batch#keys": "key, idempotency, idempotency key",
    "reference/batch#the-journal": "journal, sqlite",
    "reference/errors": "error, errors, exception",
    "reference/files": "filename, file name",
    "reference/sandbox": "sandbox, simulator",
    "reference/sandbox#sample-media": "sample media",
    "tutorial": "quickstart, getting started",
    "tutorial#install": "install, installation",
    "tutorial#use-a-real-api-key": "api key, a2e_api_key",
}
"""The words for each page, or for a section of it."""


class SearchTerms(SphinxTransform):
    """Adds the words of a page to the index."""

    default_priority = 500  # before Sphinx collects the entries of the index

    def apply(self, **kwargs: Any) -> None:
        for place, words in TERMS.items():
            page, _, anchor = place.partition("#")
            if page == self.env.docname:
                section = self._section(anchor)
                target = section["ids"][0] if anchor else ""
                entries = [("single", word, target, "main", None) for word in words.split(", ")]
                section.insert(1, addnodes.index(entries=entries))

    def _section(self, anchor: str) -> nodes.section:
        for section in self.document.findall(nodes.section):
            if not anchor or anchor in section["ids"]:
                return section
        raise ValueError(f"{self.env.docname} has no section {anchor!r}")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the transform."""
    app.add_transform(SearchTerms)
    return {"parallel_read_safe": True}
