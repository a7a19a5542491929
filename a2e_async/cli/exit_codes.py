"""Exit codes: their values, their meanings, and which error leads to which."""

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
DEVIATIONS: Final = 8
TIMEOUT: Final = 124
HUNG_UP: Final = 129
INTERRUPTED: Final = 130
TERMINATED: Final = 143

MEANINGS: Final[Mapping[int, str]] = {
    OK: "success",
    FAILED: "a task failed, or the service does not know it",
    USAGE: "wrong usage or invalid input",
    KEY: "the API key was rejected, or its plan does not allow this",
    COINS: "not enough coins, or the budget is used up",
    UNKNOWN: "a start was sent and got no response: it may have been charged",
    SERVICE: "the network, the service or this machine failed",
    PARTIAL: "a batch or resume ended, and not every job is done and saved",
    DEVIATIONS: "the service deviates from what this package expects (a2e verify)",
    TIMEOUT: "the wait timed out; the task continues",
    HUNG_UP: "the terminal was closed (SIGHUP); started tasks continue",
    INTERRUPTED: "interrupted (Ctrl-C); started tasks continue",
    TERMINATED: "terminated (SIGTERM); started tasks continue",
}
"""The meaning of each exit code, as the help and the docs print it."""

LINE: Final = (
    "Exit codes: 0 success, 1 task failed, 2 usage, 3 API key, 4 coins, 5 start unknown, "
    "6 network or machine, 7 partly done, 8 deviations, 124 timeout, 129, 130, 143 interrupted; "
    "see docs/cli.md."
)
"""All exit codes in one line, for the end of each help."""

# The first matching class decides, so subclasses come before their bases.
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
    """Return the exit code for an error; errors that are not listed count as `SERVICE`."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), SERVICE)
