"""Reads a batch file, JSONL or CSV, one line at a time."""

import csv
import json
from collections.abc import Generator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.kind_registry import KindRegistry
from a2e_async._core.typeguards import is_mapping
from a2e_async.cli import strict_json
from a2e_async.cli.batch.csv_cells import trimmed, value_of
from a2e_async.cli.error_messages import in_cli_words
from a2e_async.cli.input_flags import ANY_INPUT, InputFlag, flags_of, text_or_json
from a2e_async.cli.known_kinds import kind_named, known_kinds
from a2e_async.errors import InvalidInput

MEMBERS: Final = ("kind", "key", "input", "meta")
"""The members of a line of JSONL."""


@frozen
class JobLine:
    """A job of the file. ``number`` is its (first) line; ``inputs`` include key and meta."""

    number: int
    kind: str
    inputs: dict[str, Any]


@frozen
class LineError:
    """An error in a line. ``field`` is None if it concerns the whole line."""

    number: int
    message: str
    field: str | None = None

    @classmethod
    def of(cls, number: int, error: InvalidInput) -> "LineError":
        """Return the line error of an exception, without a leading field name in its message."""
        message, field = in_cli_words(" ".join(str(error).split())), error.field
        for prefix in (f"{field}: ", f"{field} ") if field else ():
            message = message.removeprefix(prefix)
        return cls(number, message, field)

    def text(self, file: str) -> str:
        """Return the error as ``file:line: field: message``."""
        return f"{file}:{self.number}: {f'{self.field}: ' if self.field else ''}{self.message}"


def check_file(path: Path) -> None:
    """Raise `InvalidInput` if a path cannot be a batch file."""
    if path.suffix.lower() not in (".jsonl", ".ndjson", ".csv"):
        raise InvalidInput(
            f"{str(path)!r:.200} must end with .jsonl or .csv, which decides how it is read.",
            field="file",
        )
    if not path.is_file():
        # A pipe does not work: the file is read twice, the first time to check it.
        reason = "is not a regular file" if path.exists() else "does not exist"
        raise InvalidInput(f"{str(path)!r:.200} {reason}.", field="file")


def read_rows(path: Path) -> Generator[JobLine | LineError]:
    """Yield each job of a file, or the error of its line; empty lines are skipped.

    Reads one line at a time, so that the file may be larger than memory. Raises OSError.
    """
    return _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path)


def _json_rows(path: Path) -> Generator[JobLine | LineError]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            try:
                yield _json_row(number, text)
            except InvalidInput as error:
                yield LineError.of(number, error)


def _json_row(number: int, line: bytes) -> JobLine:
    try:
        document = strict_json.parse(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidInput("the line is not UTF-8 text.") from None
    except ValueError as error:
        raise InvalidInput(f"the line is not JSON: {error}.") from None
    if not is_mapping(document):
        raise InvalidInput(f"the line must be a JSON object with {', '.join(MEMBERS)}.")
    if b"\\u" in line:  # only an escape can make a lone surrogate
        _check_text(json.dumps(document, ensure_ascii=False))
    for name in document:
        if name not in MEMBERS:
            raise InvalidInput(
                f"is not one of {', '.join(MEMBERS)}; inputs belong in input.", field=str(name)
            )
    inputs = document.get("input", {})
    if not is_mapping(inputs):
        raise InvalidInput("must be a JSON object with the inputs.", field="input")
    for name in ("key", "meta"):
        if name in inputs:
            raise InvalidInput("belongs beside input, not in it.", field=name)
    common = {name: document[name] for name in ("key", "meta") if document.get(name) is not None}
    return JobLine(number, _kind(document.get("kind")), {**inputs, **common})


def _csv_rows(path: Path) -> Generator[JobLine | LineError]:
    # Bytes that are not UTF-8 become lone surrogates, so that only their row is rejected.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, strict=True)
        header: list[str] | None = None
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                # After a syntax error, the start of the next row is unknown.
                yield LineError(number, f"not valid CSV: {error}; the rest was not read.")
                return
            if not any(cell.strip() for cell in cells):
                continue
            try:
                if header is None:
                    header = _header(cells)
                else:
                    yield _csv_row(number, header, cells)
            except InvalidInput as error:
                yield LineError.of(number, error)
                if header is None:
                    return


def _header(cells: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if "kind" not in names:
        raise InvalidInput(
            "the first line must name the columns, separated by commas: kind, key and inputs."
        )
    for name in filter(None, names):
        if names.count(name) > 1:
            raise InvalidInput("names two columns.", field=name)
        known = _inputs_of(known_kinds())
        if name != "kind" and known is not None and name not in known:
            raise InvalidInput(
                "is not an input of any kind; a2e kinds KIND lists them.", field=name
            )
    return names


def _csv_row(number: int, header: Sequence[str], cells: Sequence[str]) -> JobLine:
    _check_text("".join(cells))
    values = {header[i]: cell for i, cell in enumerate(cells[: len(header)]) if cell.strip()}
    if any(cell.strip() for cell in cells[len(header) :]) or "" in values:
        raise InvalidInput("the row has more cells than there are columns.")
    kind = _kind(values.pop("kind", None))
    if "key" in values:
        # Spreadsheets and editors add invisible characters, which would make it another key.
        values["key"] = trimmed(values["key"])
    declared = kind_named(kind)
    flags = _flags(declared)
    # Inputs that this kind does not have are rejected later, with the message of `build_input`.
    inputs = {
        name: value_of(flags[name], cell)
        if name in flags and name != ANY_INPUT
        else _text_or_json(name, cell)
        if declared.input is None and name != "key"
        else cell
        for name, cell in values.items()
    }
    return JobLine(number, kind, inputs)


def _text_or_json(name: str, cell: str) -> Any:
    try:
        return text_or_json(cell)
    except ValueError as error:
        raise InvalidInput(f"{error}.", field=name) from None


def _kind(given: Any) -> str:
    if not isinstance(given, str) or not given.strip():
        raise InvalidInput("is required; a2e kinds lists the kinds.", field="kind")
    name = given.strip()
    try:
        kind = kind_named(name)
    except InvalidInput as error:
        raise InvalidInput(str(error), field="kind") from None
    if not kind.pollable:
        raise InvalidInput(
            f"the service has no status operation for {name} tasks, so a batch cannot wait for "
            f"them. Start one with: a2e start {name}.",
            field="kind",
        )
    return name


@lru_cache(maxsize=256)
def _flags(kind: TaskKind[..., Any]) -> dict[str, InputFlag]:
    return {flag.name: flag for flag in flags_of(kind)}


@lru_cache(maxsize=1)
def _inputs_of(kinds: KindRegistry) -> frozenset[str] | None:
    """Return the inputs of all kinds; None if a kind takes any."""
    all_kinds = [kinds.named(name) for name in kinds.names()]
    if any(kind.input is None for kind in all_kinds):
        return None
    return frozenset(f.name for kind in all_kinds for f in kind.inputs)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput("the line is not UTF-8 text.") from None
