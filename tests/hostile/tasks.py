"""The service's tasks, and their records at a given time."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from .kinds import Kind

PNG: Final = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
MP4: Final = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
WAV: Final = b"RIFF\x24\x10\x00\x00WAVEfmt "

CONTENT: Final[Mapping[str, tuple[str, str, bytes]]] = {
    "image": ("png", "image/png", PNG),
    "video": ("mp4", "video/mp4", MP4),
    "audio": ("wav", "audio/wav", WAV),
}
"""Extension, MIME type and first bytes of results, by media type."""


@dataclass(kw_only=True)
class RemoteTask:
    """One task at the service. Owned by the server; tests may change it."""

    id: str
    kind: Kind
    body: Mapping[str, Any]
    account: str
    accepted_at: float
    """Creation in loop time (s), like all times here except ``stamp``."""
    stamp: float
    """Creation by the service's wall clock, in seconds since 1970."""
    ends_at: float
    fails: bool = False
    failure: str = "the model failed"
    deleted: bool = False
    hidden: tuple[float, float] = (0.0, 0.0)
    """Begin and end of the time in which no operation shows the task."""
    url_version: int = 0
    """Version of the signed URLs; those of earlier versions have expired."""
    content_version: int = 0
    event_sent: bool = False

    def ended(self, now: float) -> bool:
        """Whether the task has ended."""
        return now >= self.ends_at

    @property
    def name(self) -> str | None:
        """The name given in the start request."""
        value = self.body.get(self.kind.name_input) if self.kind.name_input else None
        return value if isinstance(value, str) else None

    def content(self) -> bytes:
        """Return the bytes of the result: a media header, then bytes unique to the task."""
        head = CONTENT[self.kind.media or "video"][2]
        text = f"{self.id}/{self.content_version};".encode()
        return head + text * 120


@dataclass(kw_only=True)
class Behaviour:
    """The service's behaviour apart from single faults. Tests may change it at any time."""

    duration: float = 0.05
    """Duration of a task in seconds."""
    coins: Any = 7
    """The price in the response to a start."""
    fails: Callable[[Mapping[str, Any]], bool] = lambda _: False
    """Returns whether the task of a start with this body fails."""
    failure: str = "the model failed"
    """The failure text; ``{url}`` is replaced with a signed input URL."""
    respell: Callable[[str], str] = lambda name: name
    echo: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda body: body
    """How records repeat the inputs."""
    statuses: Callable[[Kind], str] | None = None
    """The status word of a running task; None for the kind's usual one."""
    result_delay: float = 0.0
    """Seconds for which a completed record has no result yet."""
    outputs: int = 1
    """Number of files in one record, for kinds that can have several."""
    regresses: Callable[[RemoteTask], bool] = lambda _: False
    """Returns whether this response shows an ended task as running."""
    detail_lag: float = 0.0
    """Seconds for which a new task is unknown to detail and batch detail."""
    list_lag: float = 0.0
    """Seconds for which a new task is in no list."""
    vanish: Callable[[RemoteTask], tuple[float, float]] | None = None
    """Time span in seconds after its start in which a task is shown nowhere."""
    page_limit: int | None = None
    """Maximum rows of a page, whatever size is requested."""
    ignores_paging: bool = False
    """Every page is the first one."""
    counts: bool = True
    """Pages contain the total number of rows."""
    page_overlap: int = 0
    """Rows repeated on the next page, as if new ones had been inserted in between."""
    repeats_rows: bool = False
    """Each row appears twice."""
    odd_rows: tuple[Any, ...] = ()
    """Values among the rows that are not records."""
    list_shape: Callable[[list[Any], int], Any] | None = None
    """Builds another form of a list's data from its rows and their total number."""
    stale_duplicates: bool = False
    """Batch detail returns each record twice, an outdated one last."""
    clock_skew: float = 0.0
    """Seconds by which the service's clock is ahead."""
    sends_date: bool = True
    batch_limit: int = 200
    quote: Any = None
    """Data of every quote; None for the true price."""


def render(
    task: RemoteTask, behaviour: Behaviour, now: float, base: str, *, stale: bool = False
) -> dict[str, Any]:
    """Return a task's record as the service would return it now."""
    kind = task.kind
    row: dict[str, Any] = dict(behaviour.echo(task.body))
    row.pop("webhook_token", None)
    if kind.name_input and task.name is not None:
        row[kind.name_input] = behaviour.respell(task.name)
    row["_id"] = task.id
    row["coins"] = behaviour.coins
    row["createdAt"] = _iso(task.stamp)
    ended = task.ended(now) and not stale and not behaviour.regresses(task)
    if not ended:
        running = "process" if "process" in kind.waiting else "processing"
        row[kind.status_field] = behaviour.statuses(kind) if behaviour.statuses else running
        if kind.progress_field:
            row[kind.progress_field] = 40
    elif task.fails:
        row[kind.status_field] = kind.failed
        row[kind.failure_field] = task.failure.format(url=_signed_input(task.body.values()))
    else:
        row[kind.status_field] = kind.succeeded
        if now >= task.ends_at + behaviour.result_delay:
            row.update(_result(task, base, behaviour.outputs))
    return row


def _result(task: RemoteTask, base: str, outputs: int) -> dict[str, Any]:
    field_name = task.kind.result_field
    if field_name == "_id":
        return {}
    if task.kind.media is None:
        return {field_name: task.id}
    url = result_url(task, base)
    if field_name.endswith("urls"):
        return {field_name: [url, *(f"{url}&n={n}" for n in range(1, outputs))]}
    return {field_name: url}


def result_url(task: RemoteTask, base: str) -> str:
    """Return the current signed URL of a task's result."""
    extension = CONTENT[task.kind.media or "video"][0]
    return (
        f"{base}/files/{task.id}.{extension}?X-Amz-Expires=259200"
        f"&X-Amz-Signature=signature-{task.id[-6:]}-{task.url_version}"
    )


def _signed_input(values: Iterable[Any]) -> str:
    found = next(
        (v for v in values if isinstance(v, str) and v.startswith("http")), "https://m.example/x"
    )
    return f"{found}?X-Amz-Signature=signature-of-an-input"


def _iso(stamp: float) -> str:
    made = datetime.fromtimestamp(stamp, UTC).isoformat(timespec="milliseconds")
    return made.replace("+00:00", "Z")
