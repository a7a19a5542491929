"""Errors as an agent can act on them: what was wrong, and which tool to call next."""

from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import ValidationError

from a2e_async.errors import (
    A2EError,
    ApiError,
    AuthenticationError,
    BudgetExceeded,
    ClientClosed,
    ConfigurationError,
    InsufficientCredits,
    InvalidInput,
    InvalidRequest,
    JournalError,
    KeyConflict,
    PermissionDenied,
    StartOutcomeUnknown,
    TaskFailed,
    TaskGone,
    TaskTimeout,
    TransferError,
)

P = ParamSpec("P")
T = TypeVar("T")


def with_tool_errors(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Any]:
    """Turn errors into text that the agent can act on."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except A2EError as error:
            raise ToolError(_advise(error)) from error

    return call


def _advise(error: A2EError) -> str:
    """Return what happened and which tool to call now: an agent knows neither Python nor flags."""
    match error:
        case InvalidInput():
            return f"{error} Nothing was charged. The tool kinds describes the inputs of a kind."
        case BudgetExceeded() if "unknown_cost" in str(error):
            return (
                "The service quotes no price for this start, so it cannot be kept within the "
                "budget; it was not sent. Tell your user; only they can allow it, by running the "
                "server with a2e mcp --unknown-cost COINS."
            )
        case BudgetExceeded():
            return f"{error} Tell your user; only they can raise the budget."
        case StartOutcomeUnknown():
            return (
                f"The {error.recovery.kind} start was sent, but its response was lost: it may have "
                "been charged. Call start again with the same arguments: that searches for the "
                "task and is not charged twice. Do not pass another key."
            )
        case KeyConflict():
            paid = f" Its task is {error.ref}: call status, wait or download." if error.ref else ""
            return (
                f"The key {error.key!r:.60} belongs to an earlier start with other inputs, or to "
                f"one that the user has closed; nothing was sent.{paid} To pay for a new start, "
                "pass another key to start."
            )
        case TaskGone():
            return (
                f"The service does not know {error.ref}: it was deleted, has expired or belongs to "
                "another account. Call unfinished for the tasks that are left. Another start is "
                "charged again: ask your user first."
            )
        case TaskFailed():
            why = error.record.failure.message if error.record.failure else "no reason given"
            good = len(error.record.outputs)
            kept = f" It has {good} good outputs, which download saves." if good else ""
            return (
                f"{error.ref} failed: {why}.{kept} Another attempt is charged again: call start "
                "with better inputs, or with a new key."
            )
        case TaskTimeout():
            return f"{error.ref} is not finished. Call wait first."
        case TransferError():
            return f"{error} Call the same tool again: what is paid is not charged again."
        case AuthenticationError() | ConfigurationError():
            return (
                f"The server's account or set-up is not usable ({_reason(error)}). Tell your user."
            )
        case InsufficientCredits():
            return f"The account has too few coins ({_reason(error)}). Tell your user."
        case PermissionDenied():
            return (
                f"The service refused this ({_reason(error)}). No task was started. Change the "
                "inputs, or tell your user."
            )
        case InvalidRequest():
            return (
                f"The service refused these inputs ({_reason(error)}). No task was started. The "
                "tool kinds describes the inputs of a kind."
            )
        case JournalError():
            return (
                "The server cannot use its journal, so it starts nothing. Tell your user. Calling "
                "start again with the same arguments is never charged twice."
            )
        case ClientClosed():
            return "The server is closing. Its tasks go on: the next server lists them: unfinished."
        case _:
            return (
                f"The service cannot be used now ({_reason(error)}). Call the same tool again "
                "later, with the same arguments: that is not charged twice."
            )


def _reason(error: A2EError) -> str:
    """Return why the service refused, in its own words; for other errors their class."""
    if isinstance(error, ApiError):
        return f"{error.message.strip() or 'no reason given'}, HTTP {error.http_status}"
    return type(error).__name__


def check_argument_names(
    tool: str, schema: Mapping[str, Any], arguments: Mapping[str, Any]
) -> None:
    known, required = schema.get("properties", {}), schema.get("required", ())
    unknown = [name for name in arguments if name not in known]
    missing = [name for name in required if name not in arguments]
    if not unknown and not missing:
        return
    takes = ", ".join(f"{name} (required)" if name in required else name for name in known)
    nested = " Inputs of the kind belong into inputs, by name." if "inputs" in known else ""
    what = f"has no argument {unknown[0]!r:.60}" if unknown else f"needs {' and '.join(missing)}"
    raise ToolError(
        f"{tool} {what}. It takes: {takes or 'no arguments'}.{nested} Nothing was done."
    )


def explain_validation(tool: str, error: ValidationError) -> str:
    """Return which arguments of a call are not usable, without their values."""
    wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    return f"{tool} was not called. {'; '.join(wrong)}. Call it again with better arguments."
