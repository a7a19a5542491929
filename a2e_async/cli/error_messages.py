"""The package's errors in the words of the command line: flags and commands, no Python."""

import errno
import re
from pathlib import Path
from typing import Final

from a2e_async._core.schema.media_input import ACCEPTED
from a2e_async.cli.known_kinds import kind_named, kind_names
from a2e_async.cli.printer import one_line
from a2e_async.errors import (
    A2EError,
    InvalidInput,
    StartOutcomeUnknown,
    TaskFailed,
    TaskGone,
    TaskTimeout,
    TransferError,
)
from a2e_async.models import Recovery

# Each entry replaces what only a Python program can use. The order matters: longer forms first.
_REPLACEMENTS: Final[tuple[tuple[str, str], ...]] = (
    (r"Budget\(unknown_cost=…\)", "--unknown-cost COINS"),
    (r"Budget\((?:coins|limit)=…\)", "--budget"),
    (r"A2E\(journal=…\)(?: in Python)?", "The Python API"),
    (r"the Output of a2e\.speech\.say\(\)", "the file that a2e say saves"),
    (r"a2e\.avatars\.list\(\)", "a2e avatars"),
    (r"a2e\.backgrounds\.all\(\)", "a2e backgrounds"),
    (r" ?\(a2e\.backgrounds\.add\(\)\)", ""),
    (r"a2e\.credits\.history\(\)", "a2e credits --history"),
    (r"a2e\.credits\.balance\(\)", "a2e credits"),
    (r"a2e\.attach\((?:error|task)\.ref\)", "a2e task wait REF"),
    (r"a2e\.(\w+)\.list\(\)", r"a2e list \1"),
    (r"a2e\.(\w+)\.start\([^()]*\)", r"a2e start \1"),
    (r"a2e\.(\w+)\.get\([^()]*\)", r"a2e task show \1:ID"),
    (r"a2e\.(\w+)\.quote\([^()]*\)", r"a2e quote \1"),
    (r"(?<![.\w])list\(\)", "a2e list"),
    (r" \((?:error|task)\.\w+\)", ""),
    # Bytes, streams and `Output` objects cannot be given to a flag.
    (re.escape(ACCEPTED), "a URL or a local path"),
    (r"([^,;:]+), ([^,;:]+), bytes,? or an? Output", r"\1 or \2"),
    (r"([^,;:]+), bytes,? or ([^,;:]+)", r"\1 or \2"),
    (r"(\w[^,;:]*) or an Output", r"\1"),
    (r"\bpath as text\b", "path"),
    (r"\bpage_size\b", "--page-size"),
    (r"\bretry_failed\b", "--retry-failed"),
    (r"\bunknown_cost\b", "--unknown-cost"),
    (r" and report it with this error's excerpt", "; --debug prints the response to report"),
    (r"\bbase_url\b", "--base-url"),
    (r"\bapi_key\b", "the API key"),
    (
        r"Pass one like (\S+) as proxy=…; or, if it comes from the environment, pass "
        r"trust_env=False\.",
        r"It comes from HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or from the settings of the system: "
        r"correct it, such as \1, or unset it.",
    ),
    (r"\b(\w+)=…", r"\1"),
)

_FLAG_FIELDS: Final = frozenset(
    {"country", "limit", "page", "region", "retry_failed", "status", "timeout"}
)
"""Parameters of the package that have a flag of the same name in every command that sets them."""

_PYTHON_SENTENCE: Final = re.compile(r"(?<=[.!?]) [^.!?]*\b(?:error|outcome|task)\.\w+[^.!?]*\.")

_FIRST_SENTENCE: Final = re.compile(r"[^.(]*(?:\([^)]*\))?[^.]*?\.(?=\s|$)")

_PART_FILE_PROMISES: Final = (
    " The bytes received are kept for the next attempt.",
    "; the bytes received are kept",
)


def in_cli_words(text: str) -> str:
    """Return a text of the package with its Python replaced by flags and commands.

    Sentences that only tell a program which attribute to read are dropped.
    """
    for pattern, replacement in _REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    return _PYTHON_SENTENCE.sub("", text)


def error_message(error: BaseException) -> str:
    """Return an error's message on one line; the class is named for unexpected errors."""
    text = one_line(_system_error(error) if isinstance(error, OSError) else str(error))
    if isinstance(error, TaskTimeout):
        if error.task is not None and error.task.record is None and error.__cause__ is None:
            return (
                f"The service did not show {error.ref} in that time. {_check_ref(error.ref)} If it "
                f"was just started, wait longer with: a2e task wait {error.ref}"
            )
        return (
            f"{_first_sentence(text)} It continues and is charged; wait for it with: "
            f"a2e task wait {error.ref}"
        )
    if isinstance(error, TaskGone):
        return (
            f"{_first_sentence(text)} {_check_ref(error.ref)} If its result was saved, nothing is "
            "lost."
        )
    if isinstance(error, StartOutcomeUnknown):  # `report_error` prints where to search
        return (
            f"{_first_sentence(text)} It may have been accepted and charged, so it was not sent "
            "again."
        )
    if isinstance(error, TaskFailed):
        count = len(error.record.outputs)
        text = re.sub(
            r"\d+ good outputs? (?:is|are) in error\.record\.",
            f"Its good outputs ({count}) can be saved with: a2e task download {error.ref} .",
            text,
        ).replace(f"{error.ref} .", f"{error.ref}.")
    if isinstance(error, InvalidInput) and error.field in _FLAG_FIELDS:
        text = re.sub(rf"^{error.field}\b", f"--{error.field.replace('_', '-')}", text)
    if isinstance(error, TransferError) and not _has_part_files(error):
        for promise in _PART_FILE_PROMISES:
            text = text.replace(promise, "")
    text = in_cli_words(text)
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return "Another program uses this port. Choose another with --port."
    if isinstance(error, A2EError | OSError) and text:
        return text
    return f"unexpected {type(error).__name__}{f': {text}' if text else ''} (see --debug)"


def _system_error(error: OSError) -> str:
    """Return what the system says of a file or connection, without Python's number of the error."""
    if error.strerror is None or error.filename is None:
        return error.strerror or str(error)
    return f"{error.filename}: {error.strerror}"


def _check_ref(ref: str) -> str:
    kind = ref.partition(":")[0]
    listed = kind in kind_names() and kind_named(kind).list is not None
    shown = f"; a2e list {kind} lists its tasks" if listed else ""
    return f"Check the ref, and whether the API key is that of the account that started it{shown}."


def where_to_search(recovery: Recovery) -> str:
    """Return the command that shows whether a start without a response was carried out."""
    if recovery.kind in kind_names() and kind_named(recovery.kind).list is not None:
        return f"a2e list {recovery.kind}"
    return "a2e credits --history"


def describe_lost_start(recovery: Recovery) -> str:
    """Return what was sent: the start of a task, or another request that is charged."""
    return f"A {recovery.kind} {'start' if recovery.kind in kind_names() else 'call'}"


def _first_sentence(text: str) -> str:
    found = _FIRST_SENTENCE.match(text)
    return found[0] if found else text


def _has_part_files(error: TransferError) -> bool:
    """Return whether part files of this download are on disk, so that it can be resumed."""
    if error.path is None:
        return True  # unknown: there is no directory to check
    path = Path(error.path)
    try:
        return path.is_file() or any((path if path.is_dir() else path.parent).glob(".*.part"))
    except OSError:
        return False
