"""What one row of the table of kinds says."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import attrs

from a2e_async.narrow import is_list

from ..api_spec import kind_table
from ..validation import FieldProblem
from .status_sequences import USUAL_SEQUENCE, StatusSequence

Body = Mapping[str, Any]
InputRule = Callable[[Body], Iterable[FieldProblem]]
PriceFunction = Callable[[Body, float | None], int]
"""Coins of one output, by the body and the length of its first medium (None: not known)."""

UNKNOWN_SOURCE_SECONDS: Final = 51
"""Length of a source that the sandbox cannot read, in seconds."""

MAX_REQUESTED_SECONDS: Final = 3600
"""No input makes a price or a result longer than this."""

ListEnvelope = tuple[str, str] | None
"""The names of the rows and of their number in a list's data; None for a bare array."""

ROWS_AND_COUNT: Final = ("rows", "count")
LIST_AND_TOTAL: Final = ("list", "total")
DATA_AND_TOTAL: Final = ("data", "total")
RECORDS_AND_TOTAL: Final = ("records", "total")


@attrs.frozen(slots=True)
class StartRejection:
    """An answer that a start gets instead of a task; nothing is charged."""

    status: int
    code: int
    message: str = ""
    data: Mapping[str, Any] | None = None
    """With a status of 200 and a code of 0: what stands in the place of the record."""


@attrs.frozen(slots=True)
class RequestedSeconds:
    """The seconds that an input asks for."""

    name: str
    default: float

    def __call__(self, body: Body) -> float:
        """Returns the input as a number, or the usual one where it is none that can be made."""
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
        """Returns the factor; that of the usual value for one that is not listed."""
        value = body.get(self.name, self.default)
        default = self.values[self.default]
        return self.values.get(value, default) if isinstance(value, Hashable) else default


@attrs.frozen(slots=True)
class Tariff:
    """A price as data: coins, times each rate, for each output or for each second."""

    coins: float
    factors: tuple[PriceFactor, ...] = ()
    seconds: RequestedSeconds | Literal["source"] | None = None
    """What it is multiplied with: seconds that were asked for, or the length of the source."""

    seconds_step: int = 1
    """Seconds that were asked for are rounded up to a multiple of this."""

    count_input: str = ""
    """The input that tells how many outputs there are."""

    def __call__(self, body: Body, length: float | None) -> int:
        """Returns the price of one output, at least 1."""
        coins = self.coins
        for rate in self.factors:
            coins *= rate(body)
        if self.seconds == "source":
            coins *= max(1, round(UNKNOWN_SOURCE_SECONDS if length is None else length))
        elif self.seconds is not None:
            coins *= math.ceil(self.seconds(body) / self.seconds_step) * self.seconds_step
        return max(1, math.ceil(round(coins, 6)))

    def price_inputs(self, source: str) -> tuple[str, ...]:
        """Returns the inputs that decide it; the source is the input whose length may count."""
        length = source if self.seconds == "source" else ""
        asked = self.seconds.name if isinstance(self.seconds, RequestedSeconds) else length
        return tuple(filter(None, (asked, self.count_input, *(rate.name for rate in self.factors))))

    def output_count(self, body: Body) -> int:
        """Returns how many outputs there are."""
        return int(body.get(self.count_input, 1)) if self.count_input else 1


def _derived(value: Callable[[SimulatedKind], Any]) -> Any:
    """Returns a default that is made from the rest of the kind, once: records are made often."""
    return attrs.Factory(value, takes_self=True)


def _read_json_row(name: str) -> Mapping[str, Any]:
    return kind_table().get(name, {})


@attrs.frozen(slots=True)
class SimulatedKind:
    """How one kind of task is served. What kinds.json and openapi.json tell is not repeated."""

    name: str
    median_seconds: float
    """Median of the time from start to end, in service seconds."""

    price: PriceFunction
    price_inputs: tuple[str, ...]
    """The inputs that decide the price: all that a quote checks."""

    media_inputs: tuple[str, ...]
    """The inputs that are media URLs or lists of them, the one with the length first."""

    recipe: str
    """Which file the result is: ``image``, ``image_motion`` (from a picture), ``talking`` (a video
    with another sound), ``sounded`` (the same, always with a sound), ``footage`` (a video with its
    own sound) or ``dub``; "" when there is no file."""

    log_sigma: float = 0.5
    """Spread of the logarithm of the time."""

    seconds_per_source_second: float = 0.0
    """The median for each second of the first medium, where its length is known; 0 for none."""

    status_sequence: StatusSequence = USUAL_SEQUENCE
    instant_share: float = 0.0
    """The share of starts that answer a finished record."""

    gives_up_after: float = math.inf
    """Service seconds after which a task fails by itself."""

    rules: tuple[InputRule, ...] = ()
    """What the schema cannot say."""

    reject: Callable[[Body], StartRejection | None] = lambda body: None
    """Why a body that fits makes no task."""

    max_source_seconds: float = math.inf
    """Most seconds of the first medium."""

    output_count: Callable[[Body], int] = lambda body: 1
    """How many records one start makes."""

    start_data_shape: Literal["object", "list", "either"] = "object"
    """What a start of one record answers: it, a list that holds it, or either as it comes."""

    file_count: Callable[[Body], int] = lambda body: 1
    """How many files one record has."""

    result_seconds: Callable[[Body], float] | None = None
    """How long the result is; None for as long as the first medium."""

    sound_inputs: tuple[str, ...] = ()
    """The media inputs that give the sound; the others give the picture."""

    keeps_images: bool = False
    """Whether the result of an image is an image, whatever the recipe says."""

    echo_defaults: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    """What a record echoes for an input that was not sent ("" for all others)."""

    length_field: str = ""
    """The record field that tells the length of the source in whole seconds."""

    misspelt_statuses: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """Misspelt status words that occur now and then, by the right word."""

    failure_field: str = "failed_message"
    code_field: str = "failed_code"
    no_failure_values: tuple[Any, Any] = ("", "")
    """What these two hold while nothing has failed."""

    result_fields: tuple[str, ...] = ("result_url",)
    """The record fields that hold the URL of the result, all the same one."""

    result_list: bool = False
    """Whether they hold a list of URLs."""

    product_id_field: str = ""
    """The record field that holds the id of what was made, "" until then."""

    never_expires: bool = False
    """Whether its records never leave the lists."""

    list_envelope: ListEnvelope = ROWS_AND_COUNT
    bare_list_without_paging: bool = False
    """A list that is asked without paging is a bare array."""

    unknown_is_null: bool = False
    """The detail of an unknown id is 200 with null instead of 404."""

    detail_id_parameter: str = ""
    """The query parameter that carries the id to the detail; "" when the path does."""

    detail_is_list: bool = False
    """The detail is an array: of the record, or of nothing for an unknown id."""

    detail_fails_every: int = 0
    """Each so many-th detail call is refused, with 400, 404 and 405 in turn; 0 for none."""

    one_at_a_time: bool = False
    """Only one task may run at a time."""

    is_quotable: bool = True
    refund_failed: bool = False
    refund_deleted: bool = False
    """Whether deleting a task that is still initialized gives its coins back."""

    json_row: Mapping[str, Any] = attrs.field(
        init=False, default=_derived(lambda kind: _read_json_row(kind.name))
    )
    """The kind's row of kinds.json; empty for a kind that no operation serves."""

    status_field: str = attrs.field(
        init=False,
        default=_derived(lambda kind: kind.json_row.get("status_field", "current_status")),
    )
    """The record field that holds the status word."""

    progress_field: str = attrs.field(
        init=False, default=_derived(lambda kind: kind.json_row.get("progress_field", ""))
    )
    """The record field that counts to 100; "" when there is none."""

    name_field: str = attrs.field(
        init=False, default=_derived(lambda kind: kind.json_row.get("name_input") or "")
    )
    """The field that carries the name; "" for a kind without names."""

    @property
    def takes_webhook(self) -> bool:
        """Whether it takes a webhook."""
        return bool(self.json_row.get("webhook"))

    @property
    def result_life_factor(self) -> float:
        """How many times longer than usual its results live."""
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
    """Returns a kind whose price is a tariff; ``more`` is any other field of ``Kind``."""
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
    """Yields each URL of the media inputs with the path of its field."""
    for name in kind.media_inputs:
        value = body.get(name)
        if is_list(value):
            for index, item in enumerate(value):
                yield f"{name}[{index}]", item
        elif name in body:
            yield name, value


def body_problems(kind: SimulatedKind, body: Body) -> Iterable[FieldProblem]:
    """Yields what the kind's own rules and those of all starts find wrong with a body."""
    for rule in kind.rules:
        yield from rule(body)
    for name, url in media_urls(kind, body):
        yield from _url_problems(name, url)
    hook = body.get("webhook_url")
    if hook is not None and not str(hook).startswith("https://") and not is_loopback_url(str(hook)):
        yield FieldProblem("webhook_url", "must be an https URL")


def is_loopback_url(url: str) -> bool:
    """Whether a URL leads to this machine: the sandbox takes it without TLS."""
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
