"""The log of a world and its violations."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Violation:
    """A record_violation invariant. ``law`` is its short name, such as "1 paid twice"."""

    law: str
    text: str

    def __str__(self) -> str:
        return f"[{self.law}] {self.text}"


@dataclass
class Story:
    """The log of one world: written by its programs and service, read by the checks."""

    lines: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    results: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    """Results that programs read, by job and output ref."""
    acknowledged: set[str] = field(default_factory=set)
    """Jobs whose results a program received and acknowledged."""
    failed: set[str] = field(default_factory=set)
    """Jobs whose failure was reported to a program."""
    reported_unknown: set[str] = field(default_factory=set)
    """Jobs whose unknown outcome was reported to a program."""
    candidates: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Ids of the candidate tasks for jobs of unknown outcome, as reported to programs."""
    texts: list[str] = field(default_factory=list)
    """Everything raised or logged; searched for secrets."""
    calm: bool = False
    """Whether this is the last run of the programs, without faults."""
    over: bool = False
    """Whether the world is being cleaned up: events are ignored from now on."""

    def say(self, text: str) -> None:
        """Log an event."""
        if not self.over:
            self.lines.append(f"{asyncio.get_running_loop().time():9.2f}  {text}")

    def record_violation(self, law: str, text: str) -> None:
        """Log a record_violation invariant."""
        if not self.over:
            self.say(f"VIOLATION {law}: {text}")
            violation = Violation(law, text)
            if violation not in self.violations:
                self.violations.append(violation)
