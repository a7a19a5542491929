"""A hostile stand-in of the service, for tests: it keeps a ledger and answers as badly as ordered.

Written from the service's documented operations (`kinds.json` holds the facts it needs), and on
purpose without anything of the package under test, so that a mistake of the package's own sandbox
cannot hide a mistake of the client.
"""

from .faults import Fault, Faults, OrderedFault, Step
from .kinds import KINDS, Kind
from .ledger import AcceptedStart, Ledger
from .reply import Reply
from .server import HostileServer
from .tasks import Behaviour, RemoteTask

__all__ = [
    "KINDS",
    "AcceptedStart",
    "Behaviour",
    "Fault",
    "Faults",
    "HostileServer",
    "Kind",
    "Ledger",
    "OrderedFault",
    "RemoteTask",
    "Reply",
    "Step",
]
