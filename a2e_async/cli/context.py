"""The state of one running command: its flags, its client, and what it has started."""

import os
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from attrs import define, field

from a2e_async._core.config import Account, resolve_account
from a2e_async.cli.common_flags import OutputFlags, ServiceFlags
from a2e_async.cli.known_kinds import known_kinds
from a2e_async.cli.printer import Printer
from a2e_async.errors import ConfigurationError
from a2e_async.events import Event, StartLost

if TYPE_CHECKING:
    from a2e_async._core.http.retry import RetryPolicy
    from a2e_async._core.journal.protocol import AccountEntries, Journal
    from a2e_async._core.submission.budget import Budget
    from a2e_async._core.tasks.task import Task
    from a2e_async.client import A2E
    from a2e_async.models import Output, Recovery


@define(kw_only=True)
class CommandContext:
    """The flags, printer and client of one command, and what must be reported if it ends early.

    Created by the runner for one command; changed by the command and by its client's events.
    """

    flags: OutputFlags
    printer: Printer
    tasks: "dict[str, Task[Any]]" = field(factory=dict["str", "Task[Any]"])
    """The tasks that this command started or waits for, by ref."""
    lost_starts: "list[Recovery]" = field(factory=list["Recovery"])
    """Starts that were sent and got no response."""
    unclaimed: "list[Task[Any]]" = field(factory=list["Task[Any]"])
    """Tasks that the client found after their start had returned; nothing has waited for them."""
    unknown: "list[Recovery]" = field(factory=list["Recovery"])
    """Charged starts, or parts of them, that the client had not found when it was closed."""
    event_listeners: list[Callable[[Event], None]] = field(factory=list[Callable[[Event], None]])
    unsaved_outputs: "list[Output]" = field(factory=list["Output"])
    """Charged results that belong to no task and are not saved; only their URLs lead to them."""
    collect_unsaved: "Callable[[], Sequence[Output]] | None" = None
    """Returns further unsaved outputs; called once the client is closed."""
    interruption_lines: Callable[[], list[str]] | None = None
    """What to print after an interruption, instead of how to continue each task."""
    resume_command: str | None = None
    """The command that searches for a start without a response, if this one has a journal."""
    host: str = ""
    """The service's host, once there is a client."""
    waiting: bool = False
    """Whether the command waits for a task, so that polls are repeated until it has ended."""
    other_accounts: "Sequence[AccountEntries]" = ()
    """Other accounts that have entries in the journal."""

    @asynccontextmanager
    async def client(
        self,
        journal: "Journal | None" = None,
        *,
        resend: bool = False,
        budget: "Budget | None" = None,
        retry: "RetryPolicy | None" = None,
    ) -> "AsyncGenerator[A2E]":
        """Yield the client that the common flags describe, and close it at the end.

        ``resend`` lets it submit a start again once its absence is proved.
        """
        from a2e_async._core.journal.recorder import other_accounts, other_accounts_message
        from a2e_async.cli.outage_notices import report_failures
        from a2e_async.client import A2E

        account = self.account()
        self.host = urlsplit(account.base_url).netloc
        a2e = A2E(
            account.api_key.reveal(),
            base_url=account.base_url,
            account=account.name,
            on_event=self._on_event,
            journal=journal,
            budget=budget,
            retry=retry,
            on_unknown="resend_may_pay_twice" if resend else "raise",
            kinds=known_kinds().declared.values(),
        )
        try:
            async with a2e:
                with report_failures(self, a2e):
                    if journal is not None:
                        self.other_accounts = await other_accounts(journal, account.label)
                    if self.other_accounts:
                        self.printer.note(f"{other_accounts_message(self.other_accounts)}.")
                    yield a2e
        finally:
            # Closing waits for starts in flight. Nothing awaits their tasks, so they are kept here.
            for task in a2e.unclaimed():
                self.track(task)
            self.unclaimed += a2e.unclaimed()
            self.unknown += a2e.unknown()
            self.unsaved_outputs += self.collect_unsaved() if self.collect_unsaved else ()
            self.lost_starts += [one for one in a2e.unknown() if one not in self.lost_starts]

    def account(self) -> Account:
        """Return the account that the common flags and the environment name.

        Raises `ConfigurationError`, which names the flag or variable that holds the bad value.
        """
        flags = self.flags if isinstance(self.flags, ServiceFlags) else ServiceFlags()
        key = os.environ.get(flags.api_key_env)
        if not (key or "").strip():
            raise ConfigurationError(
                f"There is no API key: set {flags.api_key_env}. To try without an account: "
                "a2e demo."
            )
        try:
            return resolve_account(key, flags.base_url)
        except ConfigurationError as error:
            address = "--base-url" if flags.base_url else "A2E_BASE_URL"
            text = str(error).replace("api_key", flags.api_key_env).replace("base_url", address)
            raise ConfigurationError(text) from None

    def track(self, task: "Task[Any]") -> None:
        """Remember a task, so that an interruption can print how to continue it."""
        self.tasks[task.ref] = task

    def _on_event(self, event: Event) -> None:
        if isinstance(event, StartLost):
            self.lost_starts.append(event.recovery)
        for listener in self.event_listeners:
            listener(event)
