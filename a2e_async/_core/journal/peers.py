"""Protocols of a group of clients of one account, in which one leader polls for all.

A journal that is shared by several hosts may offer a `PeerGroup`, see `JournalCapabilities.peers`.
"""

from typing import Protocol


class PeerCallbacks(Protocol):
    """Callbacks of one client in its group. All are called on the client's loop."""

    def leader_changed(self, leader: str | None) -> None:
        """This client (by its own name), another one, or no reachable one (None) leads from now on.

        Messages sent before this call may be lost, even if the leader is the same as before.
        """
        ...

    def message_received(self, sender: str, message: str) -> None:
        """Handle a message of another client. Untrusted: whatever it causes must be checked."""
        ...

    def peer_left(self, name: str) -> None:
        """Another client that sent messages has gone."""
        ...

    def take_outbox(self) -> list[tuple[str, str]]:
        """Return and clear the messages to send, as (recipient, message), in order."""
        ...


class PeerGroup(Protocol):
    """The clients of one account, from the view of one of them.

    A leader stays until it closes, resigns, or its lease
    (`a2e_async._core.journal.protocol.LEASE_DURATION`) expires.
    """

    @property
    def name(self) -> str:
        """This client's name in the group."""
        ...

    def join(self, callbacks: PeerCallbacks) -> None:
        """Join the group. Raises `JournalError`."""
        ...

    def request_flush(self) -> None:
        """Schedule a flush of the outbox."""
        ...

    def resign(self) -> None:
        """Give up leadership, and do not lead again for a while."""
        ...
