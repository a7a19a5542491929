"""The request context of a namespace: the components of its client and the options in force."""

from typing import TYPE_CHECKING, NotRequired, TypedDict

from attrs import define

from a2e_async._core.handle import NotCopyable
from a2e_async._core.http.rate_limit import Priority
from a2e_async._core.tasks.task import TaskServices
from a2e_async.models import OutputSource

if TYPE_CHECKING:
    from a2e_async._core.http.session import ApiSession
    from a2e_async._core.submission.calls import ChargedCalls
    from a2e_async._core.submission.file_transfers import FileTransfers
    from a2e_async._core.submission.starts import StartRegistry
    from a2e_async._core.tasks.kind_registry import KindRegistry


class RequestKwargs(TypedDict):
    """The keyword arguments of a request that follow from the options of a client."""

    timeout: float
    priority: NotRequired[Priority]


@define(kw_only=True, frozen=True)
class RequestContext(NotCopyable):
    """The components of a client that a namespace needs, and the options in force.

    Timeouts in seconds. ``priority`` is None unless `A2E.with_options` set one.
    """

    kinds: "KindRegistry"
    session: "ApiSession"
    starter: "StartRegistry"
    charged: "ChargedCalls"
    tasks: TaskServices
    source: OutputSource
    files: "FileTransfers"
    request_timeout: float
    start_timeout: float
    priority: Priority | None = None

    def request_options(self, default: Priority = Priority.CALL) -> RequestKwargs:
        """Return timeout and priority of a request that is not a start."""
        return {
            "timeout": self.request_timeout,
            "priority": default if self.priority is None else self.priority,
        }
