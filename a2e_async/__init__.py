"""a2e_async: an asyncio SDK for the A2E generative-media service. Unofficial.

Start at `A2E`. Everything public is here or in `a2e_async.errors`, `a2e_async.events` and
`a2e_async.sandbox`.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from a2e_async._core.version import __version__

if TYPE_CHECKING:
    from a2e_async import errors, events
    from a2e_async._blocking.client import BlockingA2E, blocking
    from a2e_async._blocking.faces import BlockingTask
    from a2e_async._core.batch.batch import Outcome, Plan
    from a2e_async._core.http.envelope import ApiResponse
    from a2e_async._core.http.rate_limit import Priority
    from a2e_async._core.http.retry import RetryPolicy
    from a2e_async._core.submission.budget import Budget
    from a2e_async._core.submission.follower import Follower
    from a2e_async._core.tasks.task import Task
    from a2e_async.client import A2E
    from a2e_async.errors import A2EError
    from a2e_async.kinds.jobs import Job
    from a2e_async.models import Failure, Output, Page, Record, Recovery, Status

__all__ = [
    "A2E",
    "A2EError",
    "ApiResponse",
    "BlockingA2E",
    "BlockingTask",
    "Budget",
    "Failure",
    "Follower",
    "Job",
    "Outcome",
    "Output",
    "Page",
    "Plan",
    "Priority",
    "Record",
    "Recovery",
    "RetryPolicy",
    "Status",
    "Task",
    "__version__",
    "blocking",
    "errors",
    "events",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: most programs use few of them."""
    module: ModuleType
    match name:
        case "errors":
            import a2e_async.errors as module

            return module
        case "events":
            import a2e_async.events as module

            return module
        case "BlockingA2E" | "blocking":
            import a2e_async._blocking.client as module
        case "BlockingTask":
            import a2e_async._blocking.faces as module
        case "A2E":
            import a2e_async.client as module
        case "A2EError":
            import a2e_async.errors as module
        case "Failure" | "Output" | "Page" | "Record" | "Recovery" | "Status":
            import a2e_async.models as module
        case "Outcome" | "Plan":
            import a2e_async._core.batch.batch as module
        case "Budget":
            import a2e_async._core.submission.budget as module
        case "Follower":
            import a2e_async._core.submission.follower as module
        case "Job":
            import a2e_async.kinds.jobs as module
        case "Task":
            import a2e_async._core.tasks.task as module
        case "ApiResponse":
            import a2e_async._core.http.envelope as module
        case "Priority":
            import a2e_async._core.http.rate_limit as module
        case "RetryPolicy":
            import a2e_async._core.http.retry as module
        case _:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(module, name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
