"""The lines of a batch file, one at a time: JSONL or CSV."""

import csv
import json
from collections.abc import Generator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from a2e_async.cli import strict_json
from a2e_async.cli.batch.cells import trimmed, value_of
from a2e_async.cli.flags import Flag, flags_of
from a2e_async.errors import InvalidInput
from a2e_async.inputs import input_fields
from a2e_async.narrow import is_map
from a2e_async.resources.registry import kind_named, kind_names

MEMBERS: Final = ("kind", "key", "input", "meta")
"""What a line of JSONL has."""


@frozen
class Row:
    """A job as the file tells it. ``number`` is its (first) line, ``inputs`` hold key and meta."""

    number: int
    kind: str
    inputs: dict[str, Any]


@frozen
class Wrong:
    """What is wrong with a line. ``field`` is None where it is the line as a whole."""

    number: int
    what: str
    field: str | None = None

    @classmethod
    def of(cls, number: int, error: InvalidInput) -> "Wrong":
        """Return it for an error, whose words often begin with the field already."""
        said, field = " ".join(str(error).split()), error.field
        for head in (f"{field}: ", f"{field} ") if field else ():
            said = said.removeprefix(head)
        return cls(number, said, field)

    def said(self, file: str) -> str:
        """Return it as ``file:line: field: what``."""
        return f"{file}:{self.number}: {f'{self.field}: ' if self.field else ''}{self.what}"


def check_file(path: Path) -> None:
    """Raise `InvalidInput` for what cannot be a batch file."""
    if path.suffix.lower() not in (".jsonl", ".ndjson", ".csv"):
        raise InvalidInput(
            f"{str(path)!r:.200} must end with .jsonl or .csv: that tells how it is read.",
            field="file",
        )
    if not path.is_file():
        # A pipe cannot be one: the file is read twice, first to check it.
        why = "is no regular file" if path.exists() else "does not exist"
        raise InvalidInput(f"{str(path)!r:.200} {why}.", field="file")


def read_rows(path: Path) -> Generator[Row | Wrong]:
    """Yield the jobs of a file, and in their places the lines that are none; nothing is kept.

    Empty lines are passed over. Raises OSError.
    """
    return _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path)


def _json_rows(path: Path) -> Generator[Row | Wrong]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            try:
                yield _json_row(number, text)
            except InvalidInput as error:
                yield Wrong.of(number, error)


def _json_row(number: int, line: bytes) -> Row:
    try:
        found = strict_json.parse(line.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidInput("it is not UTF-8 text.") from None
    except ValueError as error:
        raise InvalidInput(f"it is not JSON: {error}.") from None
    if not is_map(found):
        raise InvalidInput(f"it must be a JSON object with {', '.join(MEMBERS)}.")
    if b"\\u" in line:
        _check_text(json.dumps(found, ensure_ascii=False))
    for name in found:
        if name not in MEMBERS:
            raise InvalidInput(
                f"is none of {', '.join(MEMBERS)}; inputs stand within input.", field=str(name)
            )
    given = found.get("input", {})
    if not is_map(given):
        raise InvalidInput("must be a JSON object with the inputs.", field="input")
    for name in ("key", "meta"):
        if name in given:
            raise InvalidInput("stands beside input, not in it.", field=name)
    beside = {name: found[name] for name in ("key", "meta") if found.get(name) is not None}
    return Row(number, _kind(found.get("kind")), {**given, **beside})


def _csv_rows(path: Path) -> Generator[Row | Wrong]:
    # Bytes that are no UTF-8 come as lone surrogates, which each row is searched for.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        reader = csv.reader(text, strict=True)
        head: list[str] | None = None
        while True:
            number = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                # Where the next row begins cannot be told any more.
                yield Wrong(number, f"it is not CSV: {error}; what follows was not read.")
                return
            if not any(cell.strip() for cell in cells):
                continue
            try:
                if head is None:
                    head = _head(cells)
                else:
                    yield _csv_row(number, head, cells)
            except InvalidInput as error:
                yield Wrong.of(number, error)
                if head is None:
                    return


def _head(cells: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    if "kind" not in names:
        raise InvalidInput(
            "the first line must name the columns: kind, key and inputs, with commas."
        )
    for name in filter(None, names):
        if names.count(name) > 1:
            raise InvalidInput("is the name of two columns.", field=name)
        if name != "kind" and name not in _all_inputs():
            raise InvalidInput("is an input of no kind; a2e kinds KIND names them.", field=name)
    return names


def _csv_row(number: int, head: Sequence[str], cells: Sequence[str]) -> Row:
    _check_text("".join(cells))
    given = {head[place]: cell for place, cell in enumerate(cells[: len(head)]) if cell.strip()}
    if any(cell.strip() for cell in cells[len(head) :]) or "" in given:
        raise InvalidInput("it has more cells than there are columns.")
    kind = _kind(given.pop("kind", None))
    if "key" in given:
        # Spreadsheets and people add what is not seen; it must not make another key of it.
        given["key"] = trimmed(given["key"])
    flags = _flags(kind)
    # What this kind does not take is left for its inputs to refuse, in their words.
    inputs = {
        name: value_of(flags[name], cell) if name in flags else cell for name, cell in given.items()
    }
    return Row(number, kind, inputs)


def _kind(given: Any) -> str:
    if not isinstance(given, str) or not given.strip():
        raise InvalidInput("must be given; a2e kinds names them.", field="kind")
    name = given.strip()
    try:
        kind = kind_named(name)
    except InvalidInput as error:
        raise InvalidInput(str(error), field="kind") from None
    if not kind.watchable:
        raise InvalidInput(
            f"the service tells nothing of {name} tasks after their start, so that a batch cannot "
            f"know when one is done. Start it with: a2e start {name}.",
            field="kind",
        )
    return name


@cache
def _flags(kind: str) -> dict[str, Flag]:
    return {flag.name: flag for flag in flags_of(kind_named(kind))}


@cache
def _all_inputs() -> frozenset[str]:
    kinds: list[Any] = [kind_named(name).input for name in kind_names()]
    return frozenset(f.name for cls in kinds for f in input_fields(cls))


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidInput("it holds what is no UTF-8 text.") from None
