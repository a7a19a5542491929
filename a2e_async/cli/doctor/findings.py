"""What the doctor finds."""

from collections.abc import Iterable
from typing import Literal

from attrs import frozen

Level = Literal["ok", "warn", "bad"]


@frozen
class Finding:
    """One thing that was looked at. ``mend`` says what to do about it."""

    level: Level
    what: str
    detail: str
    mend: str = ""

    def line(self) -> str:
        """Return it as a line for people."""
        mend = f" -> {self.mend}" if self.mend else ""
        return f"{self.level:<4}  {self.what}: {self.detail}{mend}"

    def to_json(self) -> dict[str, str]:
        """Return it as JSON values."""
        return {
            "level": self.level,
            "what": self.what,
            "detail": self.detail,
            "mend": self.mend,
        }


def has_bad(findings: Iterable[Finding]) -> bool:
    """Return whether anything would keep calls from working."""
    return any(finding.level == "bad" for finding in findings)
