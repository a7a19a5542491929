"""The result of one check of the doctor."""

from collections.abc import Iterable
from typing import Literal

from attrs import frozen

Level = Literal["ok", "warn", "bad"]


@frozen
class Finding:
    """The result of one check. ``fix`` says how to repair it."""

    level: Level
    what: str
    detail: str
    fix: str = ""

    def line(self) -> str:
        """Return the finding as one line of text."""
        fix = f" -> {self.fix}" if self.fix else ""
        return f"{self.level:<4}  {self.what}: {self.detail}{fix}"

    def to_json(self) -> dict[str, str]:
        """Return the finding as JSON values."""
        return {
            "level": self.level,
            "what": self.what,
            "detail": self.detail,
            "fix": self.fix,
        }


def has_bad(findings: Iterable[Finding]) -> bool:
    """Return whether any finding would make requests fail."""
    return any(finding.level == "bad" for finding in findings)
