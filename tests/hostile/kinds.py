"""The service's kinds of task, as data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
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


def _load(path: Path) -> dict[str, Kind]:
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    for row in rows:
        row.update({name: tuple(value) for name, value in row.items() if isinstance(value, list)})
    return {row["kind"]: Kind(**row) for row in rows}


KINDS: Final[Mapping[str, Kind]] = _load(Path(__file__).with_name("kinds.json"))
