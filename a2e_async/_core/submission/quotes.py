"""Price quotes for starts whose local files are not uploaded yet."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from a2e_async._core.schema.inputs import AcceptedMedia, TaskInput, clean_url, input_fields, is_url
from a2e_async._core.tasks.kind import TaskKind
from a2e_async.models import Output

FetchPrice = Callable[[str, Mapping[str, Any]], Awaitable[int | None]]
"""Requests the price of a call (coins) by its path and body; None if none is quoted."""

PLACEHOLDER_URL: Final = "https://example.invalid/not-uploaded"
"""Replaces the URL of a file that is not uploaded in a quote request.

The host is reserved and never resolves, so the service cannot mistake it for a real file.
"""


def body_before_upload(kind: TaskKind[..., Any], inputs: TaskInput) -> dict[str, Any]:
    """Return a start's body with placeholders for files that are not uploaded."""
    urls = {
        (f.name, index): clean_url(value, f.name)
        if isinstance(value, str) and is_url(value)
        else value.url
        if isinstance(value, Output)
        else PLACEHOLDER_URL
        for f, index, value in inputs.media()
    }
    return kind.request_body(inputs, urls)


def pricing_settings(kind: TaskKind[..., Any], inputs: TaskInput) -> dict[str, Any]:
    """Return a start's body without its texts and media, which rarely change its price."""
    left_out = {f.wire_name for f in input_fields(type(inputs)) if f.free_text}
    left_out |= {f.wire_name for f, _, _ in inputs.media()} | {kind.name_field or ""}
    body = body_before_upload(kind, inputs)
    return {name: value for name, value in body.items() if name not in left_out}


def needs_upload(value: Any) -> bool:
    """Return whether a media input has to be uploaded."""
    return not isinstance(value, Output) and not (isinstance(value, str) and is_url(value))


def price_may_depend_on_duration(inputs: TaskInput) -> bool:
    """Return whether a local audio or video file is among the inputs.

    Its duration may change the price, and the service only knows it after the upload.
    """
    return any(
        needs_upload(value) and {"audio", "video"} & {*f.find_metadata(AcceptedMedia).types}
        for f, _, value in inputs.media()
    )
