"""Comments, docstrings, messages and docs do not use the project's old, private vocabulary.

The package once had its own words for things that the field has names for: a poll was a "look", a
waiter a "rider". Each pattern below comes with the term to use instead. If a sentence needs such a
word in its ordinary sense, add it to `EXCEPTIONS` with the reason.

In Python files the comments and string literals are checked, and the identifiers for whole words
that were once the names of variables.
"""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "a2e_async", "docs", "examples")
SUFFIXES = {".py", ".pyi", ".md", ".txt", ".html", ".ipynb"}

WORDS = {
    r"\banew\b": "again, or: a new start, charged again",
    r"\b[Rr]iders?\b": "waiter, caller",
    r"\b(Asked|Looked|PaceAlone)\b": "StartRequested, Polled, RateLimitDegraded",
    r"\bFlights?\b": "start attempt; 'in flight' is fine",
    r"\b(told|heard)\b": "is notified, receives; 'told from' is 'distinguished from'",
    r"\b(for|to|of|by) who\b": "the waiter, the caller, the listener",
    r"\bwho (waits?|asks?|listens?|starts?)\b": "the waiter, the caller, the listener",
    r"\b([Ss]ome|[Nn]o|[Aa]ny|[Ee]very)body\b": "the waiter, the caller, a client, no caller",
    r"\b([Cc]rews?|[Gg]uests?|[Ll]anes?)\b": "peers, follower, queue of a kind",
    r"\blost and found\b": "recovered; the recovery search",
    r"\blook(s|ed|ing)? again\b": "poll again",
    r"\b([Nn]ext|[Ff]irst|[Ll]ast|[Ee]ach|[Oo]ne|a) looks?\b": "poll",
    r"\b([Ss]tands?|[Ss]tood|[Ss]tanding) still\b": "waits, pauses, backs off",
    r"\bbooks?\b": "the journal, the client's record of charges",
    r"\b(is|are|was|no) news\b": "is new, has changed, no message",
    r"\bunder way\b": "in flight, in progress",
    r"\b(owes?|owed)\b": "unresolved, reserved",
    r"\bnothing is paid\b": "free of charge, not charged",
    r"\b[Ww]hat becomes of\b": "what happens to, what to do with",
    r"\b(saved|kept|loaded|fetched) whole\b": "complete, verified",
    r"\b(hasten|nudge)(s|d|ed)?\b": "poll early, poll now",
    r"\b[Mm]end(s|ed|ing)?\b": "fix, repair",
    r"\bon (its|their) way\b": "in flight",
    r"\b(is|are) waited for\b": "is awaited, waits for",
    r"\b(whence|thereof|hence|lest|hither|ought)\b": "plain words",
}
"""Patterns, each with what to write instead. A space in a pattern also matches a line break."""

NAMES = {
    "told": "the kind of the thing: callback, changes, price, message",
    "heard": "the event, the entry, when it was received",
    "asked": "the request, or what was requested: range, ids, parameters",
    **dict.fromkeys(("looks", "looked", "looking"), "poll, poll_count, last_poll"),
    **dict.fromkeys(("book", "books"), "recorder, journal"),
    **dict.fromkeys(("rider", "riders"), "waiter, caller"),
    **dict.fromkeys(("flight", "flights", "flying"), "attempt, in_flight"),
    **dict.fromkeys(("crew", "guest", "lane", "lanes"), "peers, follower, queue"),
    **dict.fromkeys(("teller", "desk", "news"), "emitter, context, is_new"),
}
"""Identifiers that say nothing to a reader, each with what to write instead."""

EXCEPTIONS: dict[tuple[str, str], str] = {}
"""Justified uses, by the path and the matched text, each with its reason."""


@frozen
class Use:
    """One use of an old word."""

    path: str
    line: int
    text: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text!r}; write: {self.advice}"


def passages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the text to check in a file, in passages, each with the line on which it begins."""
    source = path.read_text("utf-8")
    if path.suffix in {".py", ".pyi"}:
        yield from python_passages(source)
    else:
        yield 1, source


def python_passages(source: str) -> Iterator[tuple[int, str]]:
    """Yield the string literals and the comments. Comments on consecutive lines are one passage."""
    comments: list[str] = []
    last = 0
    middle = getattr(tokenize, "FSTRING_MIDDLE", None)  # f-strings are several tokens since 3.12
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            if comments and line != last + 1:
                yield last - len(comments) + 1, "\n".join(comments)
                comments = []
            comments.append(token.string.lstrip("#"))
            last = line
        elif token.type == tokenize.STRING:
            start = token.string.partition(token.string[-1])[0]
            fields = r"\{[^{}]*\}" if "f" in start.lower() else r"(?!)"
            yield line, re.sub(fields, "", token.string)  # before 3.12 an f-string is one token
        elif token.type == middle:
            yield line, token.string
    if comments:
        yield last - len(comments) + 1, "\n".join(comments)


def uses_in(path: str, line: int, text: str) -> Iterator[Use]:
    """Yield the uses of old words in a passage that begins on ``line``."""
    for pattern, advice in WORDS.items():
        for match in re.finditer(pattern.replace(" ", r"\s+"), text):
            phrase = " ".join(match[0].split())
            yield Use(path, line + text.count("\n", 0, match.start()), phrase, advice)


def files() -> Iterator[Path]:
    for place in PLACES:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            if file.suffix in SUFFIXES and "_build" not in file.parts:
                yield file


@pytest.fixture(scope="module")
def uses() -> list[Use]:
    return [
        use
        for file in files()
        for line, text in passages(file)
        for use in uses_in(file.relative_to(ROOT).as_posix(), line, text)
    ]


def test_no_old_words(uses: list[Use]) -> None:
    found = [str(use) for use in uses if (use.path, use.text) not in EXCEPTIONS]
    assert not found, "\n".join(found)


def names_in(source: str) -> Iterator[tuple[int, str]]:
    """Yield the old identifiers in a Python source, each with its line."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.string in NAMES:
            yield token.start[0], token.string


def test_no_old_names() -> None:
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{line}: {name}; write: {NAMES[name]}"
        for place in ("a2e_async", "benchmarks", "docs", "examples", "tests")
        for path in sorted((ROOT / place).rglob("*.py"))
        for line, name in names_in(path.read_text("utf-8"))
    ]
    assert not found, "\n".join(found)


def test_each_exception_is_used(uses: list[Use]) -> None:
    assert EXCEPTIONS.keys() <= {(use.path, use.text) for use in uses}


def test_text_and_identifiers_are_read_apart() -> None:
    source = (
        '"""One line.\n\nIts waiter is\ntold.\n"""\n'
        "riders = 1  # the\n# rider of it\n"
        'raise ValueError(f"{riders} starts anew")\n'
    )
    found = [
        (use.line, use.text)
        for line, text in python_passages(source)
        for use in uses_in("a.py", line, text)
    ]
    assert sorted(found) == [(4, "told"), (7, "rider"), (8, "anew")]
    assert next(names_in(source)) == (6, "riders")
