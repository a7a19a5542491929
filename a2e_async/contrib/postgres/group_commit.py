"""The transaction of a group of operations, and the entries that it changes (pure).

The entries are read and locked together, changed here, in order, by the rules that all journals
share, and written together: one transaction for all operations that are pending at one time.
"""

from collections.abc import Callable, Sequence

from attrs import define, evolve, field

from a2e_async._core.journal.protocol import BeginResult, Entry, EntryChanges, State
from a2e_async._core.journal.rules import apply_step, has_same_inputs, new_ids, without_ids


@define(eq=False)
class EntryTransaction:
    """The entries of some keys, as stored and as changed.

    ``now`` is the database's clock (seconds since 1970), ``is_alive`` returns whether an owner
    holds a valid lease, ``account`` is the client's.

    Created by the worker for one transaction, whose steps change it; dropped after the commit.
    """

    owner: str
    account: str | None
    now: float
    is_alive: Callable[[str], bool]
    stored: dict[str, tuple[int, Entry]]
    """Stored row number and entry, by key."""
    claimed_tasks: set[tuple[str, str, str]]
    """Tasks that entries claim, of those that the steps claim: (kind, id, account)."""
    unreadable_keys: set[str] = field(factory=set[str])
    """Keys whose entries cannot be decoded."""
    entries: dict[str, Entry] = field(init=False)
    new_keys: set[str] = field(factory=set[str])
    """Keys whose entries are new, including those that replace a stored one."""
    new_claims: list[tuple[str, str, str]] = field(factory=list[tuple[str, str, str]])
    """New claims: (id, key, account) of the claiming entry."""

    def __attrs_post_init__(self) -> None:
        self.entries = {key: entry for key, (_, entry) in self.stored.items()}

    def begin(self, entry: Entry) -> BeginResult:
        """Add an entry, or return the existing one of its key."""
        found = self.entries.get(entry.key)
        if found is None:
            account = self.account or ""
            if held_ids := self._ids_held_by_others(entry.kind, entry.ids, account):
                entry = without_ids(entry, held_ids)
            entry = evolve(
                entry,
                account=account,
                owner=self.owner,
                created_at=self.now,
                updated_at=self.now,
            )
            self.entries[entry.key] = entry
            self.new_keys.add(entry.key)
            self._insert_task_ids(entry, entry.ids)
            return BeginResult(entry, is_owner=True, created=True)
        # Only a start that was not accepted yet can be taken over and sent by this client.
        mine = (
            has_same_inputs(found, entry)
            and found.state <= State.INTENT
            and self.acquire(entry.key)
        )
        return BeginResult(self.entries[entry.key], is_owner=mine, created=False)

    def advance(self, key: str, state: State, values: EntryChanges) -> Entry | None:
        """Move an entry to a later state; raises `LeaseLost`."""
        entry = self.entries.get(key)
        held_ids: Sequence[str] = ()
        if entry is not None:
            held_ids = self._ids_held_by_others(entry.kind, new_ids(entry, values), entry.account)
        step = apply_step(
            entry, self.owner, state, values, self.now, account=self.account, held_ids=held_ids
        )
        if step is None:
            return None
        self.entries[key], new = step
        self._insert_task_ids(self.entries[key], new)
        return self.entries[key]

    def drop(self, key: str) -> bool:
        """Delete an entry of this client that was not accepted."""
        entry = self.entries.get(key)
        if entry is None or entry.owner != self.owner or entry.state > State.INTENT:
            return False
        del self.entries[key]
        self.new_keys.discard(key)
        return True

    def acquire(self, key: str) -> bool:
        """Become the owner of an open entry whose owner is dead."""
        entry = self.entries.get(key)
        if entry is None or not entry.open:
            return False
        if entry.owner != self.owner:
            if entry.owner is not None and self.is_alive(entry.owner):
                return False
            self.entries[key] = evolve(entry, owner=self.owner, updated_at=self.now)
        return True

    def record_event(self, key: str, hook: str) -> Entry | None:
        """Record a webhook event of an entry, unless the entry is closed."""
        entry = self.entries.get(key)
        if entry is None or entry.hook != hook or not entry.open:
            return entry if entry is not None and entry.hook == hook else None
        self.entries[key] = evolve(entry, event_at=self.now, updated_at=self.now)
        return self.entries[key]

    def _ids_held_by_others(self, kind: str, ids: Sequence[str], account: str) -> list[str]:
        """Return which of these tasks other entries claim."""
        return [
            id
            for id in ids
            if any(
                (kind, id) == (its_kind, its_id) and (not account or whose in (account, ""))
                for its_kind, its_id, whose in self.claimed_tasks
            )
        ]

    def _insert_task_ids(self, entry: Entry, ids: Sequence[str]) -> None:
        self.new_claims += [(id, entry.key, entry.account) for id in ids]
        self.claimed_tasks |= {(entry.kind, id, entry.account) for id in ids}

    @property
    def claims_with_new_account(self) -> list[tuple[str, list[str], int]]:
        """Claims of entries whose account has changed: (new account, ids, row number)."""
        return [
            (entry.account, list(self.stored[entry.key][1].ids), seq)
            for seq, entry in self.updated_entries
            if entry.account != self.stored[entry.key][1].account
        ]

    @property
    def deleted_rows(self) -> list[int]:
        """Row numbers to delete."""
        return [
            seq
            for key, (seq, _) in self.stored.items()
            if key not in self.entries or key in self.new_keys
        ]

    @property
    def updated_entries(self) -> list[tuple[int, Entry]]:
        """Row numbers and entries to update."""
        return [
            (seq, self.entries[key])
            for key, (seq, entry) in self.stored.items()
            if key in self.entries and key not in self.new_keys and self.entries[key] is not entry
        ]

    @property
    def changed_keys(self) -> list[str]:
        """Keys whose entries have changed."""
        keys = dict.fromkeys((*self.stored, *self.entries))
        before = {key: entry for key, (_, entry) in self.stored.items()}
        return [key for key in keys if self.entries.get(key) is not before.get(key)]
