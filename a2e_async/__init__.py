"""a2e_async: an asyncio SDK for the A2E generative-media service. Unofficial.

Start at `A2E`. Everything public is here or in `a2e_async.errors`, `a2e_async.events` and
`a2e_async.sandbox`.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from a2e_async import errors, events
    from a2e_async._blocking.client import BlockingA2E, blocking
    from a2e_async._blocking.faces import BlockingTask
    from a2e_async.client import A2E
    from a2e_async.errors import A2EError
    from a2e_async.models import Failure, Output, Page, Record, Recovery, Status
    from a2e_async.tasks.batch import Outcome, Plan
    from a2e_async.tasks.budget import Budget
    from a2e_async.tasks.kind import Job
    from a2e_async.tasks.task import Task
    from a2e_async.transport.envelope import Answer
    from a2e_async.transport.ratelimit import Priority
    from a2e_async.transport.retry import RetryPolicy

__all__ = [
    "A2E",
    "A2EError",
    "Answer",
    "BlockingA2E",
    "BlockingTask",
    "Budget",
    "Failure",
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

# Where a name is found: loading all of them takes three times as long as the client alone.
_HOME = {
    "A2E": "client",
    "A2EError": "errors",
    "Answer": "transport.envelope",
    "BlockingA2E": "_blocking.client",
    "BlockingTask": "_blocking.faces",
    "Budget": "tasks.budget",
    "Failure": "models",
    "Job": "tasks.kind",
    "Outcome": "tasks.batch",
    "Output": "models",
    "Page": "models",
    "Plan": "tasks.batch",
    "Priority": "transport.ratelimit",
    "Record": "models",
    "Recovery": "models",
    "RetryPolicy": "transport.retry",
    "Status": "models",
    "Task": "tasks.task",
    "blocking": "_blocking.client",
}


def __getattr__(name: str) -> Any:
    if name in ("errors", "events"):
        return importlib.import_module(f"a2e_async.{name}")
    if name in _HOME:
        found = getattr(importlib.import_module(f"a2e_async.{_HOME[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module 'a2e_async' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
