"""The service's kinds of task, as data."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of task: its operations ("METHOD /path") and the status words of its records."""

    kind: str
    start: str
    status_field: str
    waiting: tuple[str, ...]
    succeeded: str
    failed: str
    result_field: str
    failure_field: str
    detail: str | None = None
    detail_fallback: str | None = None
    list: str | None = None
    processing: str | None = None
    batch_detail: str | None = None
    delete: str | None = None
    paging: tuple[str, str] | None = None
    """Names of the inputs for page number and page size."""
    rows_key: str = "rows"
    name_input: str | None = None
    count_input: str | None = None
    """The input that requests several tasks with one start."""
    start_answers_list: bool = False
    progress_field: str | None = None
    webhook: bool = True
    media: str | None = "video"

    def ordered(self, body: Mapping[str, Any]) -> int:
        """Return how many tasks a start with this body creates."""
        count = body.get(self.count_input) if self.count_input else None
        return count if isinstance(count, int) and count > 0 else 1


_DIFFERENT: Final[Mapping[str, Mapping[str, Any]]] = {
    "image_to_video": {"count_input": "number_of_images"},
    "text_to_image": {"count_input": "max_images", "start_answers_list": True},
    "kling_image": {"count_input": "n"},
    "image_edit": {"media": "image"},
    "photobook": {"media": "image"},
    "dubbing": {"media": "audio"},
    "video_twin": {"media": None},
    "voice_clone": {"media": None},
}
"""What the contract's table of kinds does not say."""


_OPERATIONS: Final = (
    *("start", "detail", "detail_fallback", "list", "processing", "batch_detail", "delete"),
)


def _kind(row: Mapping[str, Any]) -> Kind:
    """Return a kind from its row in the contract's table."""
    result = row["result_fields"][0]
    operations = {name: row[name].replace("{_id}", "{id}") for name in _OPERATIONS if name in row}
    facts = {
        **operations,
        "kind": row["kind"],
        "status_field": row["status_field"],
        "waiting": tuple(row["waiting"]),
        "succeeded": row["succeeded"][0],
        "failed": row["failed"][0],
        "result_field": result,
        "failure_field": row["failure_fields"][0],
        "rows_key": row.get("list_key", "rows"),
        "name_input": row["name_input"] or None,
        "progress_field": row.get("progress_field"),
        "webhook": row["webhook"],
        "media": "image" if "image" in result else "video",
    }
    if "paging" in row:
        page, size = (said.partition("=")[0].split()[0] for said in row["paging"][:2])
        facts["paging"] = (page, size)
    return Kind(**{**facts, **_DIFFERENT.get(row["kind"], {})})


def _load() -> Iterator[Kind]:
    # Found without an import: nothing of the package is run by this server.
    package = find_spec("a2e_async")
    assert package is not None
    assert package.origin is not None
    contract = Path(package.origin).parent / "sandbox" / "data" / "kinds.json"
    yield from map(_kind, json.loads(contract.read_text(encoding="utf-8")))


KINDS: Final[Mapping[str, Kind]] = {kind.kind: kind for kind in _load()}
