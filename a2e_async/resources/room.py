"""The request context of a namespace: the components of its client and the options in force."""

from typing import TYPE_CHECKING, NotRequired, TypedDict

from attrs import define

from a2e_async.handle import Handle
from a2e_async.models import OutputSource
from a2e_async.tasks.task import TaskServices
from a2e_async.transport.ratelimit import Priority

if TYPE_CHECKING:
    from a2e_async.resources.files import FileTransfers
    from a2e_async.tasks.charged import ChargedCalls
    from a2e_async.tasks.starter import Starter
    from a2e_async.transport.session import Session


class CallOptions(TypedDict):
    """The keyword arguments of a request that follow from the options of a client."""

    timeout: float
    priority: NotRequired[Priority]


@define(kw_only=True, frozen=True)
class Room(Handle):
    """The components of a client that a namespace needs, and the options in force.

    Timeouts in seconds. ``priority`` is None unless `A2E.with_options` set one.
    """

    session: "Session"
    starter: "Starter"
    charged: "ChargedCalls"
    tasks: TaskServices
    source: OutputSource
    files: "FileTransfers"
    request_timeout: float
    start_timeout: float
    priority: Priority | None = None

    def options(self, default: Priority = Priority.CALL) -> CallOptions:
        """Return timeout and priority of a request that is not a start."""
        return {
            "timeout": self.request_timeout,
            "priority": default if self.priority is None else self.priority,
        }
