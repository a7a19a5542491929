"""What happened in a world, and what of it was wrong."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Violation:
    """One broken law. ``law`` names it shortly, such as "1 paid twice"."""

    law: str
    text: str

    def __str__(self) -> str:
        return f"[{self.law}] {self.text}"


@dataclass
class Story:
    """The record of one world, written by everybody in it and read by the laws' checks."""

    lines: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    results: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    """By job: the results that programs read, by output ref."""
    acknowledged: set[str] = field(default_factory=set)
    """Jobs whose results a program has and acknowledged."""
    failed: set[str] = field(default_factory=set)
    """Jobs whose failure a program was told of."""
    reported_unknown: set[str] = field(default_factory=set)
    """Jobs whose unknown outcome a program was told of."""
    candidates: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Ids of tasks that a program was offered as what a job of unknown outcome may be."""
    texts: list[str] = field(default_factory=list)
    """Everything that was raised or logged: searched for secrets."""
    calm: bool = False
    """The last life of the programs: no more faults."""
    over: bool = False
    """The world is being taken down: what happens now counts no more."""

    def say(self, text: str) -> None:
        """Write down what happened."""
        if not self.over:
            self.lines.append(f"{asyncio.get_running_loop().time():9.2f}  {text}")

    def violated(self, law: str, text: str) -> None:
        """Write down that a law was broken."""
        if not self.over:
            self.say(f"VIOLATION {law}: {text}")
            violation = Violation(law, text)
            if violation not in self.violations:
                self.violations.append(violation)
