"""What a command works at: the client, what it has running, and how all of it ends."""

import asyncio
import json
import logging
import os
import sys
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from attrs import define, field

from a2e_async.cli import exits
from a2e_async.cli.printer import Printer, one_line
from a2e_async.cli.settings import Online, Settings
from a2e_async.cli.show import output_json
from a2e_async.cli.signals import ending
from a2e_async.config import Account, resolve_account
from a2e_async.errors import (
    A2EError,
    ConfigurationError,
    StartOutcomeUnknown,
    TaskTimeout,
    TransferError,
)
from a2e_async.events import Event, StartLost
from a2e_async.resources.registry import kind_named, kind_names

if TYPE_CHECKING:
    from a2e_async.client import A2E
    from a2e_async.models import Output, Recovery
    from a2e_async.tasks.budget import Budget
    from a2e_async.tasks.journal import AccountEntries, Journal
    from a2e_async.tasks.task import Task

_CUT_OFF: Final = {
    exits.INTERRUPTED: "interrupted",
    exits.TERMINATED: "told to end (SIGTERM)",
    exits.HUNG_UP: "the terminal went away (SIGHUP)",
}


@define(kw_only=True)
class Desk:
    """One command at work. ``running`` are its tasks by ref, ``lost`` the starts without answer."""

    settings: Settings
    printer: Printer
    running: "dict[str, Task[Any]]" = field(factory=dict["str", "Task[Any]"])
    lost: "list[Recovery]" = field(factory=list["Recovery"])
    listeners: list[Callable[[Event], None]] = field(factory=list[Callable[[Event], None]])
    left: "list[Output]" = field(factory=list["Output"])
    """Paid results of no task that nobody saved; their addresses are all there is of them."""
    collect: "Callable[[], Sequence[Output]] | None" = None
    """Gives more of those, once the client is closed."""
    farewell: Callable[[], list[str]] | None = None
    """What to say after an interruption, instead of how to come back to each task."""
    again: str | None = None
    """The command that looks again for a start whose answer was lost, where there is one."""
    host: str = ""
    """Where the service is, once there is a client."""
    others: "Sequence[AccountEntries]" = ()
    """Other accounts that have entries in the journal."""

    @asynccontextmanager
    async def client(
        self,
        journal: "Journal | None" = None,
        *,
        resend: bool = False,
        budget: "Budget | None" = None,
    ) -> "AsyncGenerator[A2E]":
        """Give the client that the shared flags describe; close it in the end.

        ``resend`` allows it to send once more what is proved to be absent.
        """
        from a2e_async.client import A2E
        from a2e_async.tasks.book import others_in, others_word

        account = self.account()
        self.host = urlsplit(account.base_url).netloc
        a2e = A2E(
            account.api_key.reveal(),
            base_url=account.base_url,
            account=account.name,
            on_event=self._hear,
            journal=journal,
            budget=budget,
            on_unknown="resend_may_pay_twice" if resend else "raise",
        )
        try:
            async with a2e:
                if journal is not None:
                    self.others = await others_in(journal, account.label)
                if self.others:
                    self.printer.note(f"{others_word(self.others)}.")
                yield a2e
        finally:
            # Closing let starts under way end; what came of them is nobody's yet.
            for task in a2e.unclaimed():
                self.track(task)
            self.left += self.collect() if self.collect else ()
            self.lost += [found for found in a2e.unknown() if found not in self.lost]

    def account(self) -> Account:
        """Return the account that the shared flags and the environment name."""
        online = self.settings if isinstance(self.settings, Online) else Online()
        # Made here and not by A2E so that the message names the variable that was meant.
        key = os.environ.get(online.api_key_env)
        if not (key or "").strip():
            raise ConfigurationError(
                f"There is no API key: set {online.api_key_env}. To try without an account: "
                "a2e demo."
            )
        return resolve_account(key, online.base_url)

    def track(self, task: "Task[Any]") -> None:
        """Remember a task, so that an interruption can tell how to come back to it."""
        self.running[task.ref] = task

    def _hear(self, event: Event) -> None:
        if isinstance(event, StartLost):
            self.lost.append(event.recovery)
        for listen in self.listeners:
            listen(event)


def conduct(settings: Settings, work: Callable[[Desk], Coroutine[Any, Any, int]]) -> int:
    """Run a command's work on an event loop and return its exit code; tell all errors here."""
    desk = Desk(settings=settings, printer=Printer(as_json=settings.json, quiet=settings.quiet))
    if settings.debug:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    else:
        # What is cut off by a second Ctrl-C is told below, and not as the loop's tracebacks.
        logging.getLogger("asyncio").addHandler(logging.NullHandler())
    with ending() as ended:
        try:
            return asyncio.run(ended.over(work(desk)))
        except (KeyboardInterrupt, asyncio.CancelledError):
            ended.telling = True
            return _tell_interrupted(desk, ended.code)
        except Exception as error:
            # A terminal that went away fails whatever still writes to it.
            if isinstance(error, OSError) and ended.number is not None:
                ended.telling = True
                return _tell_interrupted(desk, ended.code)
            return tell(error, desk, debug=settings.debug)


def tell(error: Exception, desk: Desk, *, debug: bool = False) -> int:
    """Say what went wrong in one line, and how to go on where there is a way; return the code."""
    printer, code = desk.printer, exits.code_for(error)
    if debug:
        printer.error("".join(traceback.format_exception(error)).rstrip())
    printer.error(f"error: {message_of(error)}")
    document: dict[str, Any] = {
        "type": type(error).__name__,
        "message": message_of(error),
        "exit_code": code,
    }
    if isinstance(error, StartOutcomeUnknown):
        recovery = error.recovery.to_dict()
        printer.error(f"Look for it with: {desk.again or where(error.recovery)}")
        printer.error(json.dumps(recovery))
        document["recovery"] = recovery
        document["candidates"] = [record.id for record in error.candidates]
    if desk.running:
        document["refs"] = list(desk.running)
    if desk.left:
        document["outputs"] = [output_json(output) for output in desk.left]
    if code not in (exits.FAILED, exits.TIMEOUT):  # the message of a timeout says it
        _tell_how_to_go_on(desk)
    printer.json({"error": document})
    return code


def message_of(error: BaseException) -> str:
    """Return an error's message on one line; what nobody raised on purpose is named, too."""
    said = one_line(str(error))
    if isinstance(error, TaskTimeout):  # its advice is for those who write Python
        state = said.partition(" It keeps running")[0]
        return f"{state} It goes on and is paid for; come back with: a2e task wait {error.ref}"
    if isinstance(error, StartOutcomeUnknown):  # so is this one's; the command to look is told
        state, end, _ = said.partition("it was not sent again.")
        return f"{state}{end}"
    if isinstance(error, TransferError) and not _has_parts(error):
        for promise in _KEPT:
            said = said.replace(promise, "")
    if isinstance(error, A2EError | OSError) and said:
        return said
    return f"unexpected {type(error).__name__}{f': {said}' if said else ''} (see --debug)"


ON_SITE: Final = "its result is shown on the service's site."
"""What there is to say of tasks that the service tells nothing of."""

_KEPT: Final = (
    " The bytes received are kept for the next attempt.",
    "; the bytes received are kept",
)


def _has_parts(error: TransferError) -> bool:
    """Return whether anything of a download is on disk, to be resumed."""
    if error.path is None:
        return True  # there is nowhere to look
    path = Path(error.path)
    try:
        return path.is_file() or any((path if path.is_dir() else path.parent).glob(".*.part"))
    except OSError:
        return False


def _tell_how_to_go_on(desk: Desk) -> list[str]:
    """Say how to come back to each task that was paid; return the refs of those still running."""
    refs = [ref for ref, task in desk.running.items() if not task.done]
    for ref in refs:
        watchable = desk.running[ref].kind.watchable
        come_back = f"Come back with: a2e task wait {ref}" if watchable else f"{ref}: {ON_SITE}"
        desk.printer.error(f"The task goes on. {come_back}")
    for ref, task in desk.running.items():
        if task.record is not None and task.done and task.record.outputs:
            desk.printer.error(
                f"The service keeps its results. Fetch them with: a2e task download {ref}"
            )
    for output in desk.left:
        desk.printer.error(f"It is paid and not saved. While its address lives, fetch {output.url}")
    return refs


def where(recovery: "Recovery") -> str:
    """Return the command that shows where a start without answer may be found."""
    if recovery.kind in kind_names() and kind_named(recovery.kind).list_at is not None:
        return f"a2e list {recovery.kind}"
    return "a2e credits --history"


def lost_word(recovery: "Recovery") -> str:
    """Return what was sent, in words: a start of a task, or another call that is paid."""
    return f"A {recovery.kind} {'start' if recovery.kind in kind_names() else 'call'}"


def _tell_interrupted(desk: Desk, code: int) -> int:
    printer, said = desk.printer, _CUT_OFF[code]
    printer.error(said)
    refs: list[str] = []
    if desk.farewell is not None:
        for line in desk.farewell():
            printer.error(line)
    else:
        refs = _tell_how_to_go_on(desk)
    for recovery in () if desk.farewell else desk.lost:
        named = f"the name {recovery.name!r}" if recovery.name else "it"
        look = f"it with: {desk.again}" if desk.again else f"{named} in: {where(recovery)}"
        printer.error(
            f"{lost_word(recovery)} was sent and its answer is lost: it may have been charged. "
            f"Look for {look}"
        )
        printer.error(json.dumps(recovery.to_dict()))
    document = {
        "type": "Interrupted",
        "message": said,
        "exit_code": code,
        "refs": refs,
        "recoveries": [recovery.to_dict() for recovery in desk.lost],
        "outputs": [output_json(output) for output in desk.left],
    }
    printer.json({"error": document})
    return code
