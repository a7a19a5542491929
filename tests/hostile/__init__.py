"""A hostile simulator of the service for tests: it keeps a ledger and injects faults on request.

Written from the service's documented operations: it reads the contract's table of kinds, and adds
kinds that the package does not have. It deliberately imports nothing from the package under test,
so that a mistake in the package's own sandbox cannot hide a mistake in the client.
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
