"""The clients of one account that know of each other: one of them leads, and looks for all.

A journal that is shared by hosts may offer a `Crew` (``journal.crew(account)``).
"""

from typing import Protocol


class Member(Protocol):
    """What a crew tells a client. All is called on the client's loop."""

    def led_by(self, leader: str | None) -> None:
        """This client now leads, or another does, or (None) nobody that can be reached.

        What was said before may be lost, also when the leader is the same.
        """
        ...

    def heard(self, sender: str, message: str) -> None:
        """Another client says this. Not to be trusted further than what it leads to is checked."""
        ...

    def left(self, name: str) -> None:
        """Another client that had said something is gone."""
        ...

    def outbox(self) -> list[tuple[str, str]]:
        """Give what is to be said, and to whom, in order."""
        ...


class Crew(Protocol):
    """The clients of one account, as one of them sees them.

    A leader stays until it closes, resigns, or its lease (`a2e_async.tasks.journal.LEASE`) is over.
    """

    @property
    def name(self) -> str:
        """This client's name among them."""
        ...

    def join(self, member: Member) -> None:
        """Take part from now on. Raises `JournalError`."""
        ...

    def stir(self) -> None:
        """There is something in the outbox."""
        ...

    def resign(self) -> None:
        """Do not lead, now and for a while."""
        ...
