"""A report: what was requested and found; written and read as JSON (pure)."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import field, frozen

from a2e_async._core.version import __version__
from a2e_async.cli.verify.shapes import Shape
from a2e_async.errors import InvalidInput

if TYPE_CHECKING:
    from cattrs import Converter

FORMAT: Final = 1
"""Version of the report's format."""

Finding = Literal[
    "unexpected status",
    "not JSON",
    "no response",
    "unreadable",
    "unknown field",
    "wrong type",
    "missing field",
    "unknown status",
    "paging ignored",
    "not listed",
]


@frozen(kw_only=True)
class Deviation:
    """One way in which a response differs from the contract. Contains no value of the response."""

    what: Finding
    where: str = ""
    """The field, such as ``data.rows[].coins``; empty for the whole response."""
    found: str = ""
    """Type, format, status word or HTTP status that was found."""

    def __str__(self) -> str:
        """Return the deviation as one line."""
        text = f"{self.what} {self.where}".rstrip()
        return f"{text} ({self.found})" if self.found else text


@frozen(kw_only=True)
class Observation:
    """One kind of request, and the shape of its response."""

    name: str
    """Unique in a report: ``list dubbing``."""
    part: str
    """What it belongs to: a kind, ``account`` or ``errors``."""
    operation: str
    """Method and path, with ``{id}`` in place of an id."""
    case: str = ""
    """Empty for an ordinary request; ``unknown id`` and the like for one that must fail."""
    status: int | None = None
    """HTTP status; None if no response arrived."""
    code: int | None = None
    """The envelope's code."""
    error: str = ""
    """The class of the client's error, if the request failed."""
    media_type: str = ""
    body: Shape | None = None
    """None if the body is not JSON."""
    rows: int = 0
    """Records of a list that were checked, at most 50."""
    notes: tuple[str, ...] = ()
    deviations: tuple[Deviation, ...] = ()


@frozen(kw_only=True)
class PaidRun:
    """One task that was paid for, from its start to its file."""

    kind: str
    outcome: str
    """``succeeded``, ``failed``, ``skipped``, ``running`` or the class of an error."""
    statuses: tuple[tuple[float, str], ...] = ()
    """The service's status words, each with the seconds since the start at which it was seen."""
    seconds: float | None = None
    """From the start to the end."""
    quoted: int | None = None
    """The price that was quoted."""
    coins: int | None = None
    """The price that the record reports."""
    listed_after: float | None = None
    """Seconds until the list showed it; None if it did not."""
    name_echo: str = ""
    """Whether records repeat its name: ``same``, ``changed`` or ``absent``."""
    result: str = ""
    """Format of the result's URL."""
    expires_hours: float | None = None
    """Hours until the result's URL expires, if the URL says so."""
    head: int | None = None
    """HTTP status of a HEAD request for the result."""
    ranges: int | None = None
    """HTTP status of a request for its first bytes; 206 if ranges work."""
    encoding: str = ""
    """Content-Encoding of the result, if gzip is accepted."""
    media_type: str = ""
    """Content-Type of the result."""


@frozen(kw_only=True)
class Report:
    """What one or several runs of the command have found."""

    format: int = FORMAT
    package: str = __version__
    date: str = ""
    """Day of the last run."""
    service: str = ""
    """Public domain of the service, ``other`` for any other address."""
    complete: bool = False
    """Whether everything was requested that can be."""
    requests: int = 0
    clock_skew: int | None = None
    """Seconds by which the clock of this machine is ahead of the service's."""
    headers: Mapping[str, str] = field(factory=dict[str, str])
    """Formats of the headers that matter to a client, by name, in any response."""
    parts: tuple[str, ...] = ()
    """The parts that are finished."""
    observations: tuple[Observation, ...] = ()
    paid_runs: tuple[PaidRun, ...] = ()

    @property
    def deviations(self) -> Sequence[tuple[Observation, Deviation]]:
        """All deviations, each with its observation."""
        return [(one, what) for one in self.observations for what in one.deviations]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        values: dict[str, Any] = _converter().unstructure(self)
        # Defaults are left out, but these say what the document is.
        return {"format": self.format, "package": self.package, **values}

    def to_text(self) -> str:
        """Return the report as JSON, with one line for each observation."""
        lines: list[str] = []
        for name, value in self.to_json().items():
            if name in ("observations", "paid_runs"):
                rows = ",\n".join(f"  {_compact(row)}" for row in value)
                lines.append(f'"{name}": [\n{rows}\n]')
            else:
                lines.append(f'"{name}": {_compact(value)}')
        return "{\n" + ",\n".join(lines) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def read_report(text: str, path: str) -> Report:
    """Return the report in a text. Raises `InvalidInput`, which names ``path``."""
    try:
        value = json.loads(text)
        value["format"]  # required: all other fields have defaults
        report: Report = _converter().structure(value, Report)
    except (TypeError, ValueError, AttributeError, LookupError, RecursionError) as error:
        raise InvalidInput(
            f"{path} is not a report of a2e verify ({type(error).__name__}).", field="report"
        ) from None
    if report.format != FORMAT:
        raise InvalidInput(
            f"{path} has the format {report.format}, and this version reads {FORMAT}. Use the "
            "version that wrote it, or verify again.",
            field="report",
        )
    return report


@cache
def _converter() -> "Converter":
    from cattrs import Converter

    made = Converter(omit_if_default=True, detailed_validation=False)
    made.register_unstructure_hook(Shape, Shape.to_json)
    made.register_structure_hook(Shape, lambda value, _: Shape.from_json(value))
    return made


TABLE_HEAD: Final = ("Kind", "List", "Detail", "batchDetail", "Quote", "Run", "Deviations")
_OPERATIONS: Final = ("list", "detail", "batch", "quote")


def kinds_table(report: Report, kinds: Iterable[str]) -> str:
    """Return a Markdown table of what the report shows about each kind."""
    observed = {one.name: one for one in report.observations}
    runs = {run.kind: run.outcome for run in report.paid_runs}
    count = Counter(one.part for one, _ in report.deviations)
    lines = [f"| {' | '.join(TABLE_HEAD)} |", f"|{'---|' * len(TABLE_HEAD)}"]
    for kind in kinds:
        cells = [_cell(observed.get(f"{operation} {kind}")) for operation in _OPERATIONS]
        number = str(count[kind]) if kind in report.parts or kind in count else ""
        cells += [runs.get(kind, ""), number]
        lines.append(f"| `{kind}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(one: Observation | None) -> str:
    if one is None:
        return ""
    if one.deviations:
        return "deviates"
    if one.error:
        return "refused"
    return "empty" if one.name.startswith("list ") and not one.rows else "yes"
