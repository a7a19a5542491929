"""Route requests to operations: those of `kinds.json` and a few of the account."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .faults import Step
from .kinds import KINDS, Kind


@dataclass(frozen=True)
class Route:
    """The operation of a request. ``id`` is the record named in its path or query."""

    step: Step
    kind: Kind | None = None
    id: str | None = None
    name: str = ""
    """The name of an operation that has no kind."""


CHARGED_CALLS: Final[Mapping[str, str]] = {
    "/api/v1/video/send_tts": "speech",
    "/api/v1/watermark/start": "watermark",
    "/api/v1/tos/transferToStorage": "transfer",
}
"""Paid calls that return a URL and create no task."""

_OWN: Final[Mapping[tuple[str, str], Route]] = {
    **{("POST", path): Route(Step.CHARGED, name=name) for path, name in CHARGED_CALLS.items()},
    ("POST", "/api/v1/r2/upload-presigned-url"): Route(Step.PRESIGN, name="presign"),
    ("POST", "/api/v1/r2/get_upload_presigned_url"): Route(Step.PRESIGN, name="presign"),
    ("POST", "/api/v1/generation/quote"): Route(Step.QUOTE, name="quote"),
    ("GET", "/api/v1/user/remainingCoins"): Route(Step.ACCOUNT, name="balance"),
    ("GET", "/api/v1/transactionRecord/creditsHistory"): Route(Step.ACCOUNT, name="history"),
}

_OPERATIONS: Final = (
    (Step.START, "start"),
    (Step.LIST, "list"),
    (Step.PROCESSING, "processing"),
    (Step.BATCH_DETAIL, "batch_detail"),
    (Step.DETAIL, "detail"),
    (Step.DELETE, "delete"),
)


def _tables() -> tuple[dict[tuple[str, str], Route], dict[tuple[str, str], Route]]:
    exact, by_prefix = dict(_OWN), {}
    for kind in KINDS.values():
        for step, name in _OPERATIONS:
            operation: str | None = getattr(kind, name)
            if operation is None:
                continue
            method, path = operation.split(" ", 1)
            if path.endswith("/{id}"):
                by_prefix[method, path.removesuffix("/{id}")] = Route(step, kind)
            else:
                exact[method, path.partition("?")[0]] = Route(step, kind)
    return exact, by_prefix


_EXACT, _BY_PREFIX = _tables()


def find_route(method: str, path: str, query: Mapping[str, str]) -> Route | None:
    """Return the route of a request, or None for an unknown operation."""
    found = _EXACT.get((method, path))
    if found is not None:
        if found.step is Step.DETAIL:
            return Route(found.step, found.kind, query.get("video_id") or query.get("_id"))
        return found
    prefix, _, last = path.rpartition("/")
    found = _BY_PREFIX.get((method, prefix))
    return None if found is None else Route(found.step, found.kind, last)
