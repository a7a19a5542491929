"""Route requests to operations: those of `kinds.json` and a few of the account."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

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
    "/api/v1/streaming-avatar/agora-token": "room",
    "/api/v1/streaming-avatar/ask": "ask",
    "/api/v1/streaming-avatar/speak": "speak",
    "/api/v1/userText2Image/quickAddAvatar": "make_avatar",
    "/api/v1/userText2image/start": "image_legacy",
    "/api/v1/userImage2Video/prompt_extension": "prompt",
    "/api/v1/userCaptionRemoval/retry": "retry",
    "/api/v1/userVideoTwin/retry": "retry_twin",
    "/api/v1/userVideoTwin/continueTraining": "train",
    "/api/v1/userVideoTwin/continueTranining": "train_legacy",
    "/api/v1/userVideoTwin/addVoiceClone": "clone_voice",
    "/api/v1/userVideoTwin/eyeContact": "eye_contact",
    "/api/v1/custom_avatar/add": "add_avatar",
    "/api/v1/custom_back/add": "add_background",
    "/api/v1/userFaceSwapImage/add": "add_face",
}
"""Paid calls that create no task, and calls that must not be repeated; most return a URL."""

CALL_DATA: Final[Mapping[str, Mapping[str, Any]]] = {
    "room": {"channel": "c", "appId": "a", "token": "t", "uid": 7},
    "prompt": {"prompt": "a harbour at dawn"},
    "add_background": {"_id": "66ea4dd87db10c73fa29b5ab", "img_url": "https://media.example/a.png"},
    "image_legacy": {"_id": "66ea4dd87db10c73fa29b5ad", "current_status": "initialized"},
    "add_face": {"_id": "66ea4dd87db10c73fa29b5ac", "face_url": "https://media.example/a.png"},
}
"""Data of the responses that are not a URL."""

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
    (Step.DETAIL, "detail_fallback"),
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
