"""Reads the jobs of a batch file: JSON lines, a JSON list, CSV or an Excel workbook."""

import codecs
import csv
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from a2e_async._core.tasks.kind import TaskKind
from a2e_async._core.tasks.kind_registry import KindRegistry
from a2e_async._core.typeguards import is_mapping
from a2e_async.cli import strict_json
from a2e_async.cli.batch.csv_cells import trimmed, value_of
from a2e_async.cli.batch.spreadsheet import read_workbook
from a2e_async.cli.error_messages import in_cli_words
from a2e_async.cli.input_flags import ANY_INPUT, InputFlag, flags_of, text_or_json
from a2e_async.cli.known_kinds import kind_named, known_kinds
from a2e_async.errors import InvalidInput

MEMBERS: Final = ("kind", "key", "input", "meta")
"""The members of a job in JSON."""

SEPARATORS: Final = (",", ";", "\t", "|")
"""What may separate the columns of a CSV file; the one that gives a column ``kind`` is used."""

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_SEPARATOR_NAMES: Final = {"tab": "\t", "\\t": "\t"}

_ZIP, _OLD_EXCEL = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"

_BETWEEN_VALUES: Final = re.compile(r"(?:[\s,\[\]]|#[^\n]*|//[^\n]*)*")
_NEXT_JOB: Final = re.compile(r"^[ \t]*(?=\{\s*\"(?:kind|key|input|meta)\"\s*:)", re.MULTILINE)
_SEPARATOR_LINE: Final = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)
"""The line that names the separator for Excel."""


@frozen
class JobFile:
    """A batch file; ``label`` names it in messages, and its local paths are relative to ``base``.

    ``separator`` is that of its columns; None: it is detected. ``encoding`` is that of its text
    if it has no byte order mark; None: UTF-8.
    """

    path: Path
    label: str
    base: Path
    separator: str | None = None
    encoding: str | None = None


STDIN: Final = "/dev/stdin"
"""What ``-`` stands for; on every system."""


@contextmanager
def open_job_file(
    given: str, separator: str | None, encoding: str | None = None
) -> Generator[JobFile]:
    """Yield the batch file at a path; ``-`` and other pipes are copied, to be read twice.

    Raises `InvalidInput` if there is none, for a separator that is not one character, and for an
    unknown encoding.
    """
    path, separator = Path(given), _SEPARATOR_NAMES.get((separator or "").lower(), separator)
    if separator is not None and len(separator) != 1:
        raise InvalidInput(
            f"--sep must be one character, or tab, not {separator!r:.40}.", field="sep"
        )
    if encoding is not None:
        try:
            b"a".decode(encoding, "ignore")
            encoding = None if codecs.lookup(encoding).name == "utf-8" else encoding
        except (LookupError, ValueError):
            raise InvalidInput(
                f"--encoding {encoding!r:.40} is not an encoding of text, such as cp1252.",
                field="encoding",
            ) from None
    if given != STDIN and path.is_file():
        yield JobFile(path, str(path), path.parent.absolute(), separator, encoding)
        return
    if given != STDIN and (path.is_dir() or not path.exists()):
        reason = "is a directory" if path.is_dir() else "does not exist"
        raise InvalidInput(f"{str(path)!r:.200} {reason}.", field="file")
    if given == STDIN and sys.stdin is None:
        raise InvalidInput("stdin is closed; give the path of a file of jobs.", field="file")
    with (
        tempfile.NamedTemporaryFile(prefix="a2e-jobs-") as copy,
        nullcontext(sys.stdin.buffer) if given == STDIN else path.open("rb") as pipe,
    ):
        shutil.copyfileobj(pipe, copy)
        copy.flush()
        label = "stdin" if given == STDIN else str(path)
        yield JobFile(Path(copy.name), label, Path.cwd(), separator, encoding)


@frozen
class LineError:
    """An error in a line. ``field`` is None if it concerns the whole line."""

    number: int
    message: str
    field: str | None = None
    not_utf8: bool = False
    """The line is not UTF-8 text: usually all lines with accents are not, so one is reported."""

    @classmethod
    def of(cls, number: int, error: InvalidInput) -> "LineError":
        """Return the line error of an exception, without a leading field name in its message."""
        message, field = in_cli_words(" ".join(str(error).split())), error.field
        for prefix in (f"{field}: ", f"{field} ") if field else ():
            message = message.removeprefix(prefix)
        return cls(number, message, field, isinstance(error, _NotUtf8))

    def text(self, file: str) -> str:
        """Return the error as ``file:line: field: message``."""
        return f"{file}:{self.number}: {f'{self.field}: ' if self.field else ''}{self.message}"


@frozen
class JobLine:
    """A job of the file. ``number`` is its (first) line; ``inputs`` include key and meta.

    ``errors`` are those of inputs that could not be read, and are not among the inputs.
    """

    number: int
    kind: str
    inputs: dict[str, Any]
    errors: tuple[LineError, ...] = ()


@frozen
class Comment:
    """A line that begins with #."""

    number: int


Row = JobLine | LineError | Comment


def read_rows(file: JobFile) -> Generator[Row]:
    """Yield each job of a file, each comment, and each error of a line; empty lines are skipped.

    Reads one line at a time, so that the file may be larger than memory, except for a list and
    for objects of several lines. Raises OSError.
    """
    with file.path.open("rb") as opened:
        start = opened.read(512)
    if start.startswith(_ZIP):
        yield from _table_rows(_workbook_records(file.path))
        return
    encoding = next((name for bom, name in _BOMS if start.startswith(bom)), file.encoding)
    if start.startswith(_OLD_EXCEL) or (b"\0" in start and encoding in (None, "utf-8-sig")):
        yield LineError(1, "the file is no text: give JSONL, CSV in UTF-8 or UTF-16, or .xlsx.")
        return
    if encoding is None or encoding == "utf-8-sig":
        # Bytes that are not UTF-8 become lone surrogates, so that only their line is rejected.
        encoding, errors = encoding or "utf-8", "surrogateescape"
    else:
        errors = "surrogatepass" if encoding == "utf-16" else "strict"
    number = 0
    try:
        with file.path.open(encoding=encoding, errors=errors, newline="") as lines:
            for row in _text_rows(lines, file):
                number = row.number
                yield row
    except UnicodeError:
        name = encoding.upper() if encoding == "utf-16" else encoding
        yield LineError(number + 1, f"not {name} text from here on; the rest was not read.")


def _text_rows(lines: Iterator[str], file: JobFile) -> Generator[Row]:
    head: list[str] = []
    first = ""
    for line in lines:
        head.append(line)
        if line.strip() and not _is_comment(line):
            first = line.strip()
            break
    suffix = file.path.suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".json") or (
        suffix not in (".csv", ".tsv", ".tab") and first.startswith(("{", "["))
    ):
        following = next(lines, "")
        rest = chain(head, [following] if following else (), lines)
        if _is_document(first, following):
            yield from _document_rows("".join(rest))
        else:
            yield from _json_rows(rest)
        return
    if found := _SEPARATOR_LINE.fullmatch(first):
        head[-1], first = "\n", next(lines, "")
        head += [first] if first else []
        separator = file.separator or found[1]
    else:
        separator = file.separator or _detect_separator(first)
    yield from _table_rows(_csv_records(chain(head, lines), separator))


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(("#", "//"))


# -- JSON --------------------------------------------------------------------------------------


def _is_document(first: str, following: str) -> bool:
    """Return whether the file is a list, or objects that take several lines each."""
    if first.startswith("[") or following.lstrip().startswith("{"):
        return first.startswith("[")
    try:
        strict_json.parse(first)
    except ValueError:
        return True
    return False


def _json_rows(lines: Iterable[str]) -> Generator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if _is_comment(line):
            yield Comment(number)
            continue
        try:
            _check_text(line)
            yield from _json_row(number, line, strict_json.parse(line))
        except InvalidInput as error:
            yield LineError.of(number, error)
        except ValueError as error:
            yield LineError(number, f"the line is not JSON: {strict_json.describe(error)}.")


def _document_rows(text: str) -> Generator[Row]:
    index, number, opened = 0, 1, 0
    while True:
        between = _BETWEEN_VALUES.match(text, index)
        assert between is not None  # noqa: S101  # it matches nothing, too
        for part in between[0].splitlines(keepends=True):
            yield from [Comment(number)] if _is_comment(part) else ()
            number += part.endswith("\n")
            brackets = "" if _is_comment(part) else part
            opened += brackets.count("[") - brackets.count("]")
        index = between.end()
        if index == len(text):
            break
        try:
            value, end = strict_json.parse_at(text, index)
        except ValueError as error:
            at = number
            if isinstance(error, json.JSONDecodeError):
                at = error.lineno
            yield LineError(at, f"not JSON: {strict_json.describe(error)}.")
            following = _NEXT_JOB.search(text, index + 1)
            if following is None:
                return
            end = following.end()
        else:
            try:
                _check_text(text[index:end])
                yield from _json_row(number, text[index:end], value)
            except InvalidInput as error:
                yield LineError.of(number, error)
        number += text.count("\n", index, end)
        index = end
    if opened:
        what = "is not closed: the file may be cut off" if opened > 0 else "is closed twice"
        yield LineError(number, f"the list {what}.")


def _json_row(number: int, text: str, document: Any) -> Generator[Row]:
    if not is_mapping(document):
        found = "null" if document is None else f"a {type(document).__name__}"
        raise InvalidInput(
            f"the line must be a JSON object with {', '.join(MEMBERS)}, found {found}."
        )
    if "\\u" in text:  # only an escape can make a lone surrogate
        _check_text(json.dumps(document, ensure_ascii=False))
    errors = [
        LineError(number, f"is not one of {', '.join(MEMBERS)}; inputs belong in input.", str(name))
        for name in document
        if name not in MEMBERS
    ]
    inputs: Mapping[str, Any] = {}
    if is_mapping(given := document.get("input", {})):
        inputs = given
    else:
        errors.append(LineError(number, "must be a JSON object with the inputs.", "input"))
    errors += [
        LineError(number, "belongs beside input, not in it.", name)
        for name in ("key", "meta")
        if name in inputs
    ]
    common = {name: document[name] for name in ("key", "meta") if document.get(name) is not None}
    yield from _job_line(number, document.get("kind"), {**inputs, **common}, errors)


# -- tables ------------------------------------------------------------------------------------


Record = tuple[int, list[str]]
"""A row's first line in the file, and its cells."""


def _detect_separator(first: str) -> str:
    """Return the separator that gives the column kind, or else the most columns that are known."""
    known, _ = _inputs_of(known_kinds())

    def columns(separator: str) -> tuple[bool, int]:
        names = [
            name
            for cells in csv.reader([first], delimiter=separator)
            for name in _column_names(cells)
        ]
        return "kind" in names, sum(name in known for name in names)

    return max(SEPARATORS, key=columns)


def _csv_records(lines: Iterator[str], separator: str) -> Generator[Record | LineError | Comment]:
    number, first = 0, 0
    comments: list[int] = []

    def without_comments() -> Iterator[str]:
        """Yield the lines. In quotes, a line that begins with # is no comment."""
        nonlocal number, first
        for line in lines:
            number += 1
            if not first and line.lstrip().startswith("#"):
                comments.append(number)
                continue
            first = first or number
            yield line

    reader = csv.reader(without_comments(), strict=True, delimiter=separator)
    while True:
        first = 0
        try:
            cells = next(reader, None)
        except csv.Error as error:
            # After a syntax error, the start of the next row is unknown.
            yield LineError(first, f"not valid CSV: {error}; the rest was not read.")
            return
        yield from (Comment(line) for line in comments)
        comments.clear()
        if cells is None:
            return
        yield first, cells


def _workbook_records(path: Path) -> Generator[Record | LineError | Comment]:
    number = 1
    try:
        for number, cells in enumerate(read_workbook(path), 1):
            texts = [cell for cell in cells if isinstance(cell, str)]
            if len(texts) < len(cells):
                errors = (cell for cell in cells if not isinstance(cell, str))
                yield from (LineError.of(number, error) for error in errors)
            elif texts and texts[0].startswith("#"):
                yield Comment(number)
            else:
                yield number, texts
    except InvalidInput as error:  # it cannot be read at all
        yield LineError.of(number, error)


def _table_rows(records: Iterable[Record | LineError | Comment]) -> Generator[Row]:
    header: list[str] | None = None
    for record in records:
        if not isinstance(record, tuple):
            yield record
            continue
        number, cells = record
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            try:
                _check_text(" ".join(cells))
            except InvalidInput as error:
                yield LineError.of(number, error)
                return
            header = _column_names(cells)
            if errors := list(_header_errors(number, header, cells)):
                yield from errors
                return
        else:
            yield from _table_row(number, header, cells)


def _column_names(cells: Sequence[str]) -> list[str]:
    """Return the names of the columns: the input source_url may be written ``Source URL``."""
    known, _ = _inputs_of(known_kinds())
    names = [trimmed(cell) for cell in cells]
    plain = ["_".join(re.split(r"[\s_-]+", name.lower())) for name in names]
    # A kind without an input class takes inputs of any name, which must stay as they are.
    return [one if one in known else name for one, name in zip(plain, names, strict=True)]


def _header_errors(number: int, names: Sequence[str], cells: Sequence[str]) -> Generator[LineError]:
    known, takes_any = _inputs_of(known_kinds())
    if "kind" not in names:
        found = ", ".join(repr(trimmed(cell)[:40]) for cell in cells[:6])
        missing = (
            f"there is no column kind, which says what each row makes, such as dubbing; found "
            f"{found}. The command `a2e kinds` lists the kinds."
        )
        unnamed = (
            f"the first line must name the columns: kind, key and inputs; found {found}. --sep "
            "gives a separator that is not detected."
        )
        yield LineError(number, missing if known.intersection(names) else unnamed)
        return
    for name in dict.fromkeys(filter(None, names)):
        if names.count(name) > 1:
            yield LineError(number, "names two columns.", name)
        elif not takes_any and name not in known:
            yield LineError(
                number,
                "is not an input of any kind; a2e kinds KIND lists them. Notes of your own belong "
                'in the column meta, as JSON such as {"note": "..."}.',
                name,
            )


def _table_row(number: int, header: Sequence[str], cells: Sequence[str]) -> Generator[Row]:
    try:
        _check_text(" ".join(cells))
    except InvalidInput as error:
        yield LineError.of(number, error)
        return
    errors: list[LineError] = []
    values = {header[i]: cell for i, cell in enumerate(cells[: len(header)]) if cell.strip()}
    extra = [cell for cell in cells[len(header) :] if cell.strip()]
    if extra or "" in values:
        found = (extra or [values.pop("")])[0]
        errors.append(
            LineError(
                number, f"the row has more cells than there are columns, found {found!r:.40}."
            )
        )
    kind = values.pop("kind", None)
    if "key" in values:
        # Spreadsheets and editors add invisible characters, which would make it another key.
        values["key"] = trimmed(values["key"])
    yield from _job_line(number, kind, values, errors, cells=True)


def _cell_value(kind: TaskKind[..., Any], name: str, cell: str) -> Any:
    flag = _flags(kind).get(name)
    if flag is not None and name != ANY_INPUT:
        return value_of(flag, cell)
    # Inputs that the kind does not have are rejected later, with the message of its inputs.
    if kind.input is not None or name == "key":
        return cell
    try:
        return text_or_json(cell)
    except ValueError as error:
        raise InvalidInput(f"{error}.", field=name) from None


# -- both --------------------------------------------------------------------------------------


def _job_line(
    number: int, kind: Any, inputs: dict[str, Any], errors: list[LineError], *, cells: bool = False
) -> Generator[Row]:
    """Yield the job of a line, or all of its errors if its kind is unknown."""
    try:
        declared = _kind(kind)
    except InvalidInput as error:
        yield from [*errors, LineError.of(number, error)]
        return
    if cells:
        values, inputs = inputs, {}
        for name, cell in values.items():
            try:
                inputs[name] = _cell_value(declared, name, cell)
            except InvalidInput as error:
                errors.append(LineError.of(number, error))
    yield JobLine(number, declared.name, inputs, tuple(errors))


def _kind(given: Any) -> TaskKind[..., Any]:
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
    return kind


@lru_cache(maxsize=256)
def _flags(kind: TaskKind[..., Any]) -> dict[str, InputFlag]:
    return {flag.name: flag for flag in flags_of(kind)}


@lru_cache(maxsize=1)
def _inputs_of(kinds: KindRegistry) -> tuple[frozenset[str], bool]:
    """Return the possible columns: kind and the inputs of all kinds; and whether one takes any."""
    all_kinds = [kinds.named(name) for name in kinds.names()]
    names = {"kind", *(f.name for kind in all_kinds for f in kind.inputs)}
    return frozenset(names), any(kind.input is None for kind in all_kinds)


class _NotUtf8(InvalidInput):
    """A text with bytes of another encoding."""


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        bad, before = text[error.start], text[: error.start][-20:]
        if "\udc80" <= bad <= "\udcff":
            raise _NotUtf8(
                f"the line is not UTF-8 text, found the byte 0x{ord(bad) - 0xDC00:02X} after "
                f"{before!r}: save the file as UTF-8 (Excel: CSV UTF-8), or name its encoding: "
                "--encoding cp1252 reads what Excel in Western Europe saves as CSV"
            ) from None
        raise InvalidInput(
            "the line is not UTF-8 text: it has half a character (a lone surrogate)."
        ) from None
