"""Makes the data files that the sandbox ships, from the fact files of the API.

Usage: ``python tests/sandbox/make_data.py DIRECTORY`` where the directory holds ``openapi.json``
and ``kinds.json``. Prose and examples are left out; paths, schemas, roles and the record fields
that were seen stay. The output is deterministic.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[2] / "a2e_async" / "sandbox" / "data"

PROSE = frozenset(
    {"description", "examples", "summary", "x-notes", "x-evidence", "x-status-codes", "tags"}
)
"""Keys that are only for human readers."""


def strip(node: Any, *, names: bool = False) -> Any:
    """Return the node without prose; keys inside ``properties`` are names and are kept."""
    if isinstance(node, dict):
        return {
            key: strip(value, names=key in {"properties", "record_fields", "paths"})
            for key, value in node.items()
            if names or (key not in PROSE and key != "responses")
        }
    if isinstance(node, list):
        return [strip(item) for item in node]
    return node


def main(source: Path) -> None:
    """Write both files."""
    spec = json.loads((source / "openapi.json").read_text("utf-8"))
    spec = strip({**spec, "paths": dict(spec["paths"])})
    kinds = json.loads((source / "kinds.json").read_text("utf-8"))
    for name, value in (("openapi.json", spec), ("kinds.json", kinds)):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        (TARGET / name).write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
