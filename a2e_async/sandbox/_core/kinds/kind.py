"""The declaration of a simulated kind: price, results, record fields, quirks."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import attrs

from a2e_async._core.typeguards import is_list

from ..api_spec import kind_table
from ..validation import FieldProblem
from .status_sequences import USUAL_SEQUENCE, StatusSequence

Body = Mapping[str, Any]
InputRule = Callable[[Body], Iterable[FieldProblem]]
PriceFunction = Callable[[Body, float | None], int]
"""The coins of one output, from the body and the seconds of its first medium (None: unknown)."""

UNKNOWN_SOURCE_SECONDS: Final = 51
"""The assumed length of a source that the sandbox cannot read, in seconds."""

MAX_REQUESTED_SECONDS: Final = 3600
"""The upper limit for requested seconds, whatever the input says."""

ListEnvelope = tuple[str, str] | None
"""The names of the rows and of the row count in a list's data; None for a bare array."""

ROWS_AND_COUNT: Final = ("rows", "count")
LIST_AND_TOTAL: Final = ("list", "total")
DATA_AND_TOTAL: Final = ("data", "total")
RECORDS_AND_TOTAL: Final = ("records", "total")


@attrs.frozen(slots=True)
class StartRejection:
    """A response to a start that creates no task; nothing is charged."""

    status: int
    code: int
    message: str = ""
    data: Mapping[str, Any] | None = None
    """With status 200 and code 0: the data in place of the record."""


@attrs.frozen(slots=True)
class RequestedSeconds:
    """The seconds that an input requests."""

    name: str
    default: float

    def __call__(self, body: Body) -> float:
        """Return the requested seconds, or the default if the input is not a positive number."""
        value = body.get(self.name, self.default)
        try:
            seconds = float(value)
        except (TypeError, ValueError):
            return self.default
        return min(seconds, MAX_REQUESTED_SECONDS) if seconds > 0 else self.default


@attrs.frozen(slots=True)
class PriceFactor:
    """An input whose value multiplies the price."""

    name: str
    default: Any
    values: Mapping[Any, float]

    def __call__(self, body: Body) -> float:
        """Return the factor of the input's value; that of the default for an unlisted value."""
        value = body.get(self.name, self.default)
        default = self.values[self.default]
        return self.values.get(value, default) if isinstance(value, Hashable) else default


@attrs.frozen(slots=True)
class Tariff:
    """A price formula: coins times each factor, per output or per second."""

    coins: float
    factors: tuple[PriceFactor, ...] = ()
    seconds: RequestedSeconds | Literal["source"] | None = None
    """The seconds that multiply the price: requested, or the source's length; None for neither."""

    seconds_step: int = 1
    """Requested seconds are rounded up to a multiple of this."""

    count_input: str = ""
    """The input that holds the number of outputs; "" for any_body one."""

    def __call__(self, body: Body, length: float | None) -> int:
        """Return the price of one output in coins, at least 1."""
        coins = self.coins
        for factor in self.factors:
            coins *= factor(body)
        if self.seconds == "source":
            coins *= max(1, round(UNKNOWN_SOURCE_SECONDS if length is None else length))
        elif self.seconds is not None:
            coins *= math.ceil(self.seconds(body) / self.seconds_step) * self.seconds_step
        return max(1, math.ceil(round(coins, 6)))

    def price_inputs(self, source: str) -> tuple[str, ...]:
        """Return the inputs that the price depends on; ``source`` is the first media input."""
        length = source if self.seconds == "source" else ""
        requested = self.seconds.name if isinstance(self.seconds, RequestedSeconds) else length
        return tuple(
            filter(None, (requested, self.count_input, *(factor.name for factor in self.factors)))
        )

    def output_count(self, body: Body) -> int:
        """Return the number of outputs."""
        return int(body.get(self.count_input, 1)) if self.count_input else 1


def _computed_default(compute: Callable[[SimulatedKind], Any]) -> Any:
    """Return an attrs default computed once per kind, since records read it often."""
    return attrs.Factory(compute, takes_self=True)


def _read_json_row(name: str) -> Mapping[str, Any]:
    return kind_table().get(name, {})


@attrs.frozen(slots=True)
class SimulatedKind:
    """How one kind of task is simulated, beyond what kinds.json and openapi.json state."""

    name: str
    median_seconds: float
    """The median time from start to end, in service seconds."""

    price: PriceFunction
    price_inputs: tuple[str, ...]
    """The inputs that the price depends on; a quote checks only these."""

    media_inputs: tuple[str, ...]
    """The inputs that are media URLs or lists of them; the first one determines the length."""

    recipe: str
    """How the result file is made: ``image``, ``image_motion`` (a video from an image),
    ``talking`` (a video with another sound), ``sounded`` (the same, any_body with sound),
    ``footage`` (a video with its own sound) or ``dub``; "" for no file."""

    log_sigma: float = 0.5
    """The standard deviation of the logarithm of the time."""

    seconds_per_source_second: float = 0.0
    """The median time per second of the first medium, if its length is known; 0 to ignore it."""

    status_sequence: StatusSequence = USUAL_SEQUENCE
    time_range: tuple[float, float] = (0.0, math.inf)
    """The shortest and the longest time that the service states, in service seconds."""

    gives_up_after: float = math.inf
    """Service seconds after which a task times out and fails."""

    rules: tuple[InputRule, ...] = ()
    """Input rules that the schema cannot express."""

    reject: Callable[[Body], StartRejection | None] = lambda body: None
    """Returns the response for a valid body that creates no task; None to create one."""

    max_source_seconds: float = math.inf
    """The largest length of the first medium, in seconds."""

    output_count: Callable[[Body], int] = lambda body: 1
    """How many records one start creates."""

    start_data_is_list: bool = False
    """Whether the data of a start is a list also if it has only one record."""

    file_count: Callable[[Body], int] = lambda body: 1
    """How many result files one record has."""

    result_seconds: Callable[[Body], float] | None = None
    """The length of the result in seconds; None for that of the first medium."""

    sound_inputs: tuple[str, ...] = ()
    """The media inputs that provide the sound; the others provide the picture."""

    keeps_images: bool = False
    """Whether an image as input gives an image as result, whatever the recipe says."""

    echo_defaults: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    """What a record echoes for an input that was not sent; "" for inputs not listed here."""

    fixed_echoes: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    """What a record echoes for an input whatever was sent."""

    length_field: str = ""
    """The record field with the source's length in whole seconds; "" when there is none."""

    failure_field: str = "failed_message"
    code_field: str = "failed_code"
    no_failure_values: tuple[Any, Any] = ("", "")
    """The values of these two fields while nothing has failed."""

    result_fields: tuple[str, ...] = ("result_url",)
    """The record fields that hold the result URL; all hold the same one."""

    result_list: bool = False
    """Whether these fields hold a list of URLs."""

    product_id_field: str = ""
    """The record field that holds the id of the product, empty until the task completes."""

    never_expires: bool = False
    """Whether its records stay in the lists forever."""

    list_envelope: ListEnvelope = ROWS_AND_COUNT
    bare_list_without_paging: bool = False
    """Whether a list requested without paging is a bare array."""

    unknown_is_null: bool = False
    """Whether the detail of an unknown id is 200 with null instead of 404."""

    detail_id_parameter: str = ""
    """The query parameter of the detail that carries the id; "" when the id is in the path."""

    detail_is_list: bool = False
    """Whether the detail is an array: with the record, or empty for an unknown id."""

    has_first_detail: bool = True
    """Whether the first of two possible detail paths exists; only the second does otherwise."""

    one_at_a_time: bool = False
    """Whether only one task may run at a time."""

    is_quotable: bool = True
    refund_failed: bool = False
    refund_deleted: bool = False
    """Whether deleting a task that is still initialized refunds its coins."""

    output_recipes: tuple[tuple[str, str], ...] = ()
    """The result fields that hold different files, each with its recipe; empty for all others."""

    is_declared: bool = False
    """Whether it is simulated from a user's declaration alone."""

    json_row: Mapping[str, Any] = attrs.field(
        default=_computed_default(lambda kind: _read_json_row(kind.name))
    )
    """The kind's entry in kinds.json; empty for a kind without operations."""

    status_field: str = attrs.field(
        init=False,
        default=_computed_default(lambda kind: kind.json_row.get("status_field", "current_status")),
    )
    """The record field that holds the status word."""

    progress_field: str = attrs.field(
        init=False, default=_computed_default(lambda kind: kind.json_row.get("progress_field", ""))
    )
    """The record field with the progress in per cent; "" when there is none."""

    name_field: str = attrs.field(
        init=False, default=_computed_default(lambda kind: kind.json_row.get("name_input") or "")
    )
    """The field that holds the task's name; "" for a kind without names."""

    @property
    def takes_webhook(self) -> bool:
        """Whether a start accepts a webhook."""
        return bool(self.json_row.get("webhook"))

    @property
    def result_life_factor(self) -> float:
        """How long its results are kept, as a multiple of the usual three days."""
        return float(self.json_row.get("result_life_days", 3)) / 3

    @property
    def start_path(self) -> str:
        """The path of the start operation."""
        return str(self.json_row["start"]).split(" ", 1)[1]

    @property
    def list_path(self) -> str:
        """The path of the list operation; "" when there is none."""
        return str(self.json_row.get("list", "")).partition(" ")[2]


def priced_kind(
    name: str, median: float, tariff: Tariff, media: tuple[str, ...], **more: Any
) -> SimulatedKind:
    """Return a kind priced by a tariff; ``more`` holds any other field of ``SimulatedKind``."""
    source = media[0] if media else ""
    return SimulatedKind(
        name,
        median,
        tariff,
        tariff.price_inputs(source),
        media,
        output_count=tariff.output_count,
        **more,
    )


def media_urls(kind: SimulatedKind, body: Body) -> Iterator[tuple[str, Any]]:
    """Yield the field path and the URL of each media input."""
    for name in kind.media_inputs:
        value = body.get(name)
        if is_list(value):
            for index, item in enumerate(value):
                yield f"{name}[{index}]", item
        elif name in body:
            yield name, value


def body_problems(kind: SimulatedKind, body: Body) -> Iterable[FieldProblem]:
    """Yield the problems that the kind's rules and the rules of all starts find in a body."""
    for rule in kind.rules:
        yield from rule(body)
    for name, url in media_urls(kind, body):
        yield from _url_problems(name, url)
    hook = body.get("webhook_url")
    if hook is not None and not str(hook).startswith("https://") and not is_loopback_url(str(hook)):
        yield FieldProblem("webhook_url", "must be an https URL")


def is_loopback_url(url: str) -> bool:
    """Return whether a URL points to this machine: such webhooks may use plain http."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url_problems(name: str, url: object) -> Iterable[FieldProblem]:
    text = str(url)
    if not text.startswith(("http://", "https://")) or len(text) < 10:
        yield FieldProblem(name, "must be an http or https URL")
    elif any(character.isspace() for character in text):
        yield FieldProblem(name, "must not hold spaces (percent-encode them)")
