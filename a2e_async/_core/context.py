"""The request context of a namespace: the components of its client and the options in force."""

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from a2e_async._core.handle import NotCopyable
from a2e_async._core.http.rate_limit import Priority

if TYPE_CHECKING:
    from a2e_async._core.http.call import RequestKwargs
    from a2e_async._core.http.session import ApiSession
    from a2e_async._core.submission.budget import Budget
    from a2e_async._core.submission.calls import ChargedCalls
    from a2e_async._core.submission.file_transfers import FileTransfers
    from a2e_async._core.submission.starts import StartRegistry
    from a2e_async._core.tasks.kind_registry import KindRegistry
    from a2e_async._core.tasks.task import TaskServices
    from a2e_async._core.tasks.tenant import Tenant
    from a2e_async.models import OutputSource


class ComponentSource(Protocol):
    """What a request context uses of its client, see `a2e_async._wiring.ClientComponents`.

    Each component is created when it is first used.
    """

    @property
    def kinds(self) -> "KindRegistry": ...
    @property
    def start_registry(self) -> "StartRegistry": ...
    @property
    def charged_calls(self) -> "ChargedCalls": ...
    @property
    def output_source(self) -> "OutputSource": ...

    session: "ApiSession"
    budgets: "tuple[Budget, ...]"

    def task_services(self, context: "RequestContext") -> "TaskServices": ...

    def files_for(self, context: "RequestContext") -> "FileTransfers": ...


class RequestContext(NotCopyable):
    """The components of a client that a namespace needs, and the options in force.

    Timeouts in seconds. ``priority`` is None unless `A2E.with_options` set one, ``tenant`` unless
    `A2E.for_caller` did. Created by the client; only what is used for the first time is added.
    """

    def __init__(
        self,
        components: ComponentSource,
        *,
        request_timeout: float,
        start_timeout: float,
        priority: Priority | None = None,
        tenant: "Tenant | None" = None,
    ) -> None:
        self._components = components
        self.session: ApiSession = components.session
        self.request_timeout = request_timeout
        self.start_timeout = start_timeout
        self.priority = priority
        self.tenant = tenant

    @cached_property
    def kinds(self) -> "KindRegistry":
        """The kinds that the client knows."""
        return self._components.kinds

    @cached_property
    def starter(self) -> "StartRegistry":
        """Starts tasks."""
        return self._components.start_registry

    @property
    def budgets(self) -> "tuple[Budget, ...]":
        """The client's own budget, if it has one."""
        return self._components.budgets

    @cached_property
    def charged(self) -> "ChargedCalls":
        """Makes charged calls that start no task."""
        return self._components.charged_calls

    @cached_property
    def source(self) -> "OutputSource":
        """The source that outputs are read from."""
        return self._components.output_source

    @cached_property
    def tasks(self) -> "TaskServices":
        """What the tasks of this context use."""
        return self._components.task_services(self)

    @cached_property
    def files(self) -> "FileTransfers":
        """Uploads and downloads."""
        return self._components.files_for(self)

    def request_options(self, default: Priority = Priority.CALL) -> "RequestKwargs":
        """Return timeout and priority of a request that is not a start."""
        options: RequestKwargs = {
            "timeout": self.request_timeout,
            "priority": default if self.priority is None else self.priority,
        }
        return options
