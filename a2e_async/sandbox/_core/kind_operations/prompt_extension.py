"""Replaces the service's language model: extends a prompt, and streams it as events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def extend_prompt(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the extended prompts for the body of a prompt extension request."""
    prompt = body["prompt"].strip()
    if body.get("template") == "cinematic":
        shots = min(4, max(1, int(body.get("shot_count", 2))))
        lines = [f"Scene: {prompt}"]
        lines += [f"SHOT {number}: {prompt}, angle {number}." for number in range(1, shots + 1)]
        if body.get("with_audio", True):
            lines.append("Audio: quiet room tone.")
        longer = "\n".join(lines)
    else:
        ending = ", ending on the last frame" if "end_image_url" in body else ""
        longer = f"{prompt}, steady camera, soft light, natural motion{ending}"
    negative = ", ".join(filter(None, (body["negative_prompt"].strip(), "jitter", "artifacts")))
    limit = body.get("max_length")
    if isinstance(limit, int):
        longer, negative = longer[: max(0, limit)], negative[: max(0, limit)]
    return {"prompt": longer, "negative_prompt": negative}


def event_stream(envelope: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the envelope of a prompt extension as Server-Sent Events.

    A success yields several ``delta``, one ``result`` and one ``done``; a failure one ``error``.
    """
    if envelope.get("code") != 0:
        yield _format_event("error", envelope)
        return
    data = envelope["data"]
    for word in data["prompt"].split(" "):
        yield _format_event("delta", {"text": f"{word} "})
    yield _format_event("result", data)
    yield _format_event("done", {})


def _format_event(name: str, data: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
