"""What a start would cost, asked before any of its local media is uploaded."""

from typing import TYPE_CHECKING, Any, Final

from a2e_async.inputs import Media, TaskInput, clean_url, is_url
from a2e_async.models import Output

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    AskPrice = Callable[[str, Mapping[str, Any]], Awaitable[int | None]]
    """Asks for the price of a call by its path and body, in coins; None where none is told."""

NOT_UPLOADED: Final = "https://example.invalid/not-uploaded"
"""Stands in a quote for a file that has no address yet."""


def unsent_body(inputs: TaskInput) -> dict[str, Any]:
    """Return a start's body with placeholders for media that are not uploaded."""
    urls = {
        (f.name, place): clean_url(value, f.name)
        if isinstance(value, str) and is_url(value)
        else value.url
        if isinstance(value, Output)
        else NOT_UPLOADED
        for f, place, value in inputs.media()
    }
    return inputs.to_wire(urls)


def is_local(value: Any) -> bool:
    """Return whether a media input has to be uploaded."""
    return not isinstance(value, Output) and not (isinstance(value, str) and is_url(value))


def is_timed(inputs: TaskInput) -> bool:
    """Return whether local sound or video is among the inputs: its length may decide the price."""
    return any(
        is_local(value) and {"audio", "video"} & {*f.note(Media).types}
        for f, _, value in inputs.media()
    )
