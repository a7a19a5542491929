"""The ten invariants, one function each, checked at the end of a world."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from a2e_async._core.journal.protocol import Entry, State
from tests.hostile import KINDS, AcceptedStart, RemoteTask

from .jobs import Job
from .service import SimulatedService
from .story import Story, Violation

SECRETS: Final = ("X-Amz-Signature", "signature-")


def key_of(entry: Entry) -> str:
    """Return the key of an entry's job. Entries of tasks found later have keys of their own."""
    return str((entry.meta or {}).get("key", entry.key))


@dataclass(frozen=True)
class FinalState:
    """The final state of a world, for the checks."""

    story: Story
    service: SimulatedService
    jobs: Sequence[Job]
    entries: Sequence[Entry]
    api_keys: Sequence[str]
    directory: Path
    clocks_jumped: bool

    def keys(self, tag: str) -> set[str]:
        """Return the keys of the jobs with this tag."""
        return {job.key for job in self.jobs if job.tag == tag}

    def accepted(self, tag: str) -> list[AcceptedStart]:
        """Return the accepted starts of jobs with this tag."""
        return self.service.server.ledger.mentioning(tag)

    def entries_of(self, tag: str) -> list[Entry]:
        """Return the journal's entries of jobs with this tag."""
        keys = self.keys(tag)
        return [entry for entry in self.entries if key_of(entry) in keys]

    def task(self, id: str) -> RemoteTask:
        """Return a task of the service."""
        return self.service.server.tasks[id]

    @property
    def tags(self) -> list[str]:
        """The distinct tags of the jobs. Twins share a tag."""
        return list(dict.fromkeys(job.tag for job in self.jobs))


Broken = Iterator[Violation]


def paid_once(end: FinalState) -> Broken:
    """1. A logical start causes at most one accepted POST."""
    for tag in end.tags:
        paid, keys = len(end.accepted(tag)), end.keys(tag)
        if paid > len(keys):
            yield Violation("1 paid twice", f"{sorted(keys)}: {paid} accepted starts")


def accepted_starts_are_journaled(end: FinalState) -> Broken:
    """2. Only the API can refuse: every accepted start has a journal entry."""
    for tag in end.tags:
        paid, entries = end.accepted(tag), end.entries_of(tag)
        if len(paid) > len(entries):
            text = f"{sorted(end.keys(tag))}: {len(paid)} accepted, {len(entries)} entries"
            yield Violation("2 forgotten", text)


def ids_on_disk(end: FinalState) -> Broken:
    """3. All tasks of a start are in its entry, or its outcome is recorded as unknown."""
    for tag in end.tags:
        entries = end.entries_of(tag)
        known = {id for entry in entries for id in entry.ids}
        missing = [id for start in end.accepted(tag) for id in start.ids if id not in known]
        if not missing:
            continue
        keys = end.keys(tag)
        what = (
            f"{sorted(keys)} ({entries[0].kind if entries else '?'}): {[i[-4:] for i in missing]}"
        )
        unknown = [entry for entry in entries if entry.state is State.INTENT]
        if not unknown:
            yield Violation("3 ids", f"{what} are in no entry")
        elif not keys & end.story.reported_unknown:
            yield Violation("3 silent", f"{what} stay unknown, and nobody was told")
        elif findable(end, tag) and not set(missing) <= offered(end, tag):
            yield Violation("3 findable", f"{what} are in the list and were not found")


def offered(end: FinalState, tag: str) -> set[str]:
    """Return the tasks that users got as candidates for a lost start."""
    return {id for key in end.keys(tag) for id in end.story.candidates[key]}


def findable(end: FinalState, tag: str) -> bool:
    """Return whether a search must find a lost start: listed unchanged, and unambiguous."""
    job = next(job for job in end.jobs if job.tag == tag)
    kind = KINDS[job.kind]
    if kind.list is None or kind.name_input is None or not end.service.lists_are_faithful:
        return False
    if len(end.keys(tag)) > 1 or len(end.accepted(tag)) > 1:
        return False  # equal starts must not be confused
    by_time = job.name is not None
    behaviour = end.service.server.behaviour
    clocks_agree = not end.clocks_jumped and (behaviour.sends_date or not behaviour.clock_skew)
    return clocks_agree or not by_time


def one_id_one_start(end: FinalState) -> Broken:
    """4. A remote id belongs to exactly one start."""
    holders: dict[str, str] = {}
    for entry in end.entries:
        for id in entry.ids:
            if id in holders:
                text = f"{id[-4:]} under {holders[id]} and {entry.key}"
                yield Violation("4 shared id", text)
            holders[id] = entry.key
    for tag in end.tags:
        own = {id for start in end.accepted(tag) for id in start.ids}
        for entry in end.entries_of(tag):
            foreign = [id[-4:] for id in entry.ids if id not in own]
            if foreign:
                yield Violation("4 foreign id", f"{entry.key} holds {foreign}")


def entries_closed_correctly(end: FinalState) -> Broken:
    """5. An entry closes only by saved files, acknowledgement, failure or the user's decision."""
    for entry in end.entries:
        tasks = [end.task(id) for id in entry.ids if id in end.service.server.tasks]
        failed = any(task.fails for task in tasks)
        if not tasks:
            continue
        if entry.succeeded is False and not failed:
            text = f"{entry.key}: closed as failed ({entry.failure}), and it did not fail"
            yield Violation("5 closed", text)
        acknowledged = key_of(entry) in end.story.acknowledged or not KINDS[entry.kind].media
        if entry.state is State.SAVED and not acknowledged and not saved(end, tasks):
            text = f"{entry.key}: closed as saved, and nobody has its results"
            yield Violation("5 closed", text)


def saved(end: FinalState, tasks: Sequence[RemoteTask]) -> bool:
    """Return whether the results of those of these tasks that have one are saved as files."""
    contents = {path.read_bytes() for path in result_files(end)}
    return all(task.content() in contents for task in tasks if not task.fails)


def results_arrive(end: FinalState) -> Broken:
    """5. In the end the user has the results of every paid task that succeeded."""
    for tag in end.tags:
        for entry in end.entries_of(tag):
            tasks = [end.task(id) for id in entry.ids if id in end.service.server.tasks]
            if not tasks or any(task.fails for task in tasks):
                continue
            if key_of(entry) not in end.story.acknowledged:
                text = f"{entry.key} ({entry.kind}): its results never came ({entry.state.name})"
                yield Violation("5 result", text)
                continue
            got = end.story.results[key_of(entry)]
            lacking = [
                t.id[-4:] for t in tasks if t.kind.media and f"{entry.kind}:{t.id}" not in got
            ]
            if lacking:
                yield Violation("5 result", f"{entry.key}: results of {lacking} never came")


def result_files(end: FinalState) -> list[Path]:
    """Return the files with final names (without .part files)."""
    return [
        path
        for path in sorted(end.directory.rglob("results/*/*"))
        if path.is_file() and not path.name.endswith((".part", ".json"))
    ]


def files_complete(end: FinalState) -> Broken:
    """6. A file with a final name is complete and has the claimed content."""
    true = {task.content() for task in end.service.server.tasks.values()}
    for path in result_files(end):
        content = path.read_bytes()
        if content not in true:
            yield Violation("6 file", f"{path.name} holds {len(content)} B: {content[:30]!r}")


def entries_of_one_account(end: FinalState) -> Broken:
    """9. All tasks of an entry belong to one account."""
    for entry in end.entries:
        accounts = {end.task(id).account for id in entry.ids if id in end.service.server.tasks}
        if len(accounts) > 1:
            yield Violation("9 account", f"{entry.key} holds tasks of {sorted(accounts)}")


def no_secrets(end: FinalState) -> Broken:
    """10. Nothing raised, logged, emitted or stored contains a secret."""
    secrets = (*end.api_keys, *SECRETS)
    for secret in secrets:
        text = next((text for text in end.story.texts if secret in text), None)
        if text is not None:
            where = text.index(secret)
            yield Violation("10 secret", f"{secret} in {text[max(0, where - 80) : where + 20]!r}")
    for path in sorted(end.directory.rglob("*")):
        if path.is_file() and path.suffix in (".db", ".db-wal", ".json", ".part"):
            content = path.read_bytes()
            for secret in secrets:
                if secret.encode() in content:
                    yield Violation("10 secret", f"{secret} in the file {path.name}")
    if end.service.server.keys_at_storage:
        yield Violation("10 secret", f"the key was sent to {end.service.server.keys_at_storage}")


CHECKS: Final[Sequence[Callable[[FinalState], Broken]]] = (
    paid_once,
    accepted_starts_are_journaled,
    ids_on_disk,
    one_id_one_start,
    entries_closed_correctly,
    results_arrive,
    files_complete,
    entries_of_one_account,
    no_secrets,
)
"""The invariants checked at the end. Programs check those of waits (7) while they run."""


def check(end: FinalState) -> Counter[str]:
    """Record every violation in the log; return the number of violations by invariant."""
    for law in CHECKS:
        for violation in law(end):
            end.story.record_violation(violation.law, violation.text)
    return Counter(violation.law for violation in end.story.violations)
