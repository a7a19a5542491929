"""Exit codes: what they are, what they mean, and which error ends in which."""

from collections.abc import Mapping
from typing import Final

from a2e_async.errors import (
    AuthenticationError,
    BudgetExceeded,
    ConfigurationError,
    ContentRejected,
    InsufficientCredits,
    InvalidInput,
    InvalidRequest,
    KeyConflict,
    NotFound,
    PermissionDenied,
    StartOutcomeUnknown,
    TaskFailed,
    TaskGone,
    TaskTimeout,
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
KEY: Final = 3
COINS: Final = 4
UNKNOWN: Final = 5
SERVICE: Final = 6
PARTIAL: Final = 7
TIMEOUT: Final = 124
HUNG_UP: Final = 129
INTERRUPTED: Final = 130
TERMINATED: Final = 143

MEANINGS: Final[Mapping[int, str]] = {
    OK: "all went well",
    FAILED: "a task failed, or the service does not know it",
    USAGE: "wrong usage, or an input that was refused",
    KEY: "the API key was not accepted, or its plan does not allow this",
    COINS: "not enough coins",
    UNKNOWN: "a start was sent and its answer is lost: it may have been charged",
    SERVICE: "the network, the service or this machine failed",
    PARTIAL: "a batch is over, and not every job of it is done and saved",
    TIMEOUT: "the time to wait is over; the task goes on",
    HUNG_UP: "the terminal went away (SIGHUP); what was started goes on",
    INTERRUPTED: "interrupted (Ctrl-C); what was started goes on",
    TERMINATED: "told to end (SIGTERM); what was started goes on",
}
"""What each exit code means, as the help says it."""

# The first class that fits decides, so narrower ones stand before wider ones.
_CODES: Final[tuple[tuple[type[BaseException], int], ...]] = (
    (StartOutcomeUnknown, UNKNOWN),
    (TaskTimeout, TIMEOUT),
    (TaskFailed, FAILED),
    (TaskGone, FAILED),
    (NotFound, FAILED),
    (AuthenticationError, KEY),
    (ContentRejected, USAGE),
    (PermissionDenied, KEY),
    (InsufficientCredits, COINS),
    (BudgetExceeded, COINS),
    (InvalidInput, USAGE),
    (InvalidRequest, USAGE),
    (KeyConflict, USAGE),
    (ConfigurationError, USAGE),
)


def code_for(error: BaseException) -> int:
    """Return the exit code for an error; what is not listed is a failure of the service's side."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), SERVICE)


def epilogue() -> str:
    """Return the exit codes as they stand at the end of the help."""
    lines = [f"{code:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\n".join(["Exit codes:", *lines])
