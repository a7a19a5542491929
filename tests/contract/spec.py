"""The contract as data: operations, their inputs, and the exceptions with reasons."""

import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from attrs import frozen

EXCLUDED: Mapping[str, str] = {
    "POST /api/v1/token/generate": "needs a login token, which this package never holds, and "
    "answers with a secret; marked as deprecated by the service",
    "POST /api/v1/anchor/voice_list": "the GET form of the same operation is a2e.voices.public()",
    "POST /api/v1/userVideoTwin/training": "no input is documented; startTraining, which is "
    "a2e.video_twin.start(), is the documented form",
    "POST /api/v1/userVideoTwin/upload": "neither body nor content type is documented; "
    "a2e.video_twin.start() takes local files",
}
"""Operations without a method, each with its reason."""

_PRESIGN = "POST /api/v1/r2/upload-presigned-url"
_SPEECH = "POST /api/v1/video/send_tts"
_CAPTCHA = "only for users of the site; callers with an API token never need a captcha"
_STORAGE = "the service's own default is the place where its kinds look for their inputs"

EXCLUDED_INPUTS: Mapping[tuple[str, str], str] = {
    (_SPEECH, "type"): _CAPTCHA,
    (_SPEECH, "turnstile_token"): _CAPTCHA,
    (_SPEECH, "captchaVerifyParam"): _CAPTCHA,
    (_PRESIGN, "bucket"): _STORAGE,
    (_PRESIGN, "urlPrefix"): _STORAGE,
    (_PRESIGN, "cdnDomain"): _STORAGE,
    (_PRESIGN, "fileSize"): "contentLength, which is sent, wins over it",
}
"""Inputs without a parameter, by operation and wire name, each with its reason."""

WEBHOOK = frozenset({"webhook_url", "webhook_token"})
"""Inputs of most starts that the client fills in."""

NESTED: Mapping[str, set[str]] = {"wan30": {"input", "parameters"}}
"""Inputs on the wire that hold several parameters each."""

DIFFERENT: Mapping[str, str] = {"timeout": "processing_limit"}
"""Python names that are not the snake_case of the wire's."""


@frozen
class Operation:
    """One operation of the contract."""

    name: str
    """Method and path, as in ``GET /api/v1/userDubbing/{_id}``."""
    method: str
    path: str
    role: str
    kind: str
    body: Mapping[str, Any]
    """The schema of its body ({} without one)."""
    query: Mapping[str, Mapping[str, Any]]
    """The schema of each query parameter."""

    @property
    def inputs(self) -> frozenset[str]:
        """Wire names of all its inputs."""
        return frozenset({*self.body.get("properties", {}), *self.query})


def operations() -> Iterator[Operation]:
    """Yield every operation of the contract that is shipped."""
    text = resources.files("a2e_async.sandbox").joinpath("data/openapi.json").read_text("utf-8")
    for path, methods in json.loads(text)["paths"].items():
        for verb, entry in methods.items():
            content = entry.get("requestBody", {}).get("content", {})
            yield Operation(
                name=f"{verb.upper()} {path}",
                method=verb.upper(),
                path=path,
                role=entry["x-role"],
                kind=entry.get("x-kind") or "",
                body=content.get("application/json", {}).get("schema", {}),
                query={
                    item["name"]: item.get("schema", {})
                    for item in entry.get("parameters", ())
                    if item["in"] == "query"
                },
            )


CONTRACT: Mapping[str, Operation] = {item.name: item for item in operations()}


def find(method: str, path: str) -> Operation | None:
    """Return the operation that a request is for; None where the contract has none."""
    exact = CONTRACT.get(f"{method} {path}")
    given = path.split("/")
    fits = (item for item in CONTRACT.values() if item.method == method and _fits(item, given))
    return exact or next(fits, None)


def _fits(item: Operation, given: list[str]) -> bool:
    wanted = item.path.split("/")
    pairs = zip(wanted, given, strict=False)
    return len(wanted) == len(given) and all(w == g or w.startswith("{") for w, g in pairs)
