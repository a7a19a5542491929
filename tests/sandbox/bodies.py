"""A valid start body for every kind of task."""

from __future__ import annotations

from typing import Any, Final

from a2e_async.kinds.registry import kind_named
from a2e_async.sandbox._core.api_spec import find_operation
from a2e_async.sandbox._core.kinds.registry import KINDS
from tests.samples import CLIP, FACE, LEAST, OTHER, TALK

SOUND: Final = TALK
IMAGE: Final = FACE
OTHER_IMAGE: Final = OTHER
VIDEO: Final = CLIP


def _body(name: str) -> dict[str, Any]:
    kind = kind_named(name)
    inputs = kind.build_input(LEAST[name])
    body = inputs.to_wire({(f.name, place): str(value) for f, place, value in inputs.media()})
    known = (find_operation(kind.start.method, kind.start.path).body_schema or {})["properties"]
    if kind.name_field:
        body[kind.name_field] = "mine"
    return {name: value for name, value in body.items() if name in known}


BODIES: Final = {name: _body(name) for name in LEAST}

STARTS: Final = {kind.name: kind.start_path for kind in KINDS.values()}
